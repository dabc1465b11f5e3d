"""Every kind of damage is found, and said of which rows and objects."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import icechunk
import numpy as np
import pytest
import zarr

from distspec.cli.main import main
from distspec.core.errors import QuarantineReason, QuarantineRecord
from distspec.io.files import write_json
from distspec.io.paths import model_url, store_url
from distspec.store import store as stores
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.snapshots import model_tag, tag_snapshot
from distspec.store.sources import format_position_names
from distspec.store.store import Store, open_repository, open_store
from distspec.store.transactions import Transaction, commit_session
from distspec.store.verify import verify_store
from tests.growth.build_archive import grow, names, new_store, pixels, rows_of

REJECTED = [QuarantineRecord("bad", "v1", "file:///bad", QuarantineReason.NO_OVERLAP, "5–6 Å")]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty rows in three batches and chunks of sixteen."""
    root = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "CHUNK_BYTES", 4 * 32 * 16)
        store = grow(new_store(root), names(0, 16), REJECTED)
    grow(grow(store, names(16, 16)), names(32, 8))
    return root


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Store:
    return open_store(store_url(str(shutil.copytree(sound, tmp_path / "root"))))


def problems(store: Store) -> list[str]:
    return verify_store(store.url.removesuffix("/store"))[1]


def alter(store: Store, change: Callable[[zarr.Group], None], metadata: dict[str, object]) -> Store:
    """Commit what nothing of distspec would."""
    session = open_repository(store.url).writable_session("main")
    change(zarr.open_group(session.store, mode="r+"))
    return commit_session(store.url, session, "by hand", metadata)


def test_a_sound_store_has_nothing_wrong(store):
    checked, found = verify_store(store.url.removesuffix("/store"))
    assert found == []
    assert checked.n_rows == 40
    assert checked.chunk_rows == 16


def test_an_earlier_state_can_be_checked(store):
    root = store.url.removesuffix("/store")
    tag_snapshot(root, "before", store.snapshot_id)
    grow(store, names(40, 3))
    assert verify_store(root, "before")[0].n_rows == 40
    assert verify_store(root, store.snapshot_id)[1] == []


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, cut_short, flip], ids=["deleted", "cut short", "altered"])
def test_a_damaged_chunk_of_pixels_is_named(store, damage):
    folder = Path(store.url) / "chunks"
    before = set(folder.iterdir())
    store = grow(store, names(40, 8))
    (chunk,) = [path for path in folder.iterdir() if path not in before and path.stat().st_size > 1000]
    damage(chunk)
    (found,) = problems(store)
    named = [int(row) for row in re.findall(r"row (\d+) \(o00\d\d\)", found)]
    assert named == list(range(32, 37)) if damage is not flip else set(named) <= set(range(32, 48))


def test_every_file_of_chunks_is_looked_into(tmp_path):
    """A ledger that cannot be read is a finding, too, and no traceback."""
    store = grow(
        new_store(tmp_path), names(0, 2000), [replace(REJECTED[0], object_id=n) for n in names(0, 600)]
    )
    paths = sorted((Path(store.url) / "chunks").iterdir())
    assert len(paths) > 4, "pixels, positions, names, checksums"
    for path, damage in product(paths, (Path.unlink, cut_short)):
        content = path.read_bytes()
        damage(path)
        assert problems(store), path.name
        path.write_bytes(content)
    assert problems(store) == []


def test_a_chunk_that_is_not_there_is_no_row_of_zeros(store):
    def change(group: zarr.Group) -> None:
        for name in ("flux", "ivar"):
            group[name][16:32] = 0.0

    found = problems(alter(store, change, {}))
    assert len(found) == 3
    assert found[0].startswith("a chunk of flux is missing: row 16 (o0016)")
    assert "pixels are not those that were stored: row 16 (o0016)" in found[2]


def test_altered_pixels_are_named(store):
    def change(group: zarr.Group) -> None:
        group["flux"][5, 3] += 1e-3
        group["ivar"][33, 3] = 0.0

    assert problems(alter(store, change, {})) == [
        "pixels are not those that were stored: row 5 (o0005)",
        "pixels are not those that were stored: row 33 (o0033)",
    ]


OTHER = {"str": "another", "int8": 7, "int32": 1, "float32": 2.5, "float64": 2.5, "uint64": 5}


@pytest.mark.parametrize("name", [*METADATA_COLUMNS])
def test_an_altered_value_of_the_ledger_is_named(store, name):
    def change(group: zarr.Group) -> None:
        group[name][7] = OTHER[METADATA_COLUMNS[name]]

    found = " ".join(problems(alter(store, change, {})))
    assert f"ledger is not what was stored: row 7 ({'another' if name == 'object_id' else 'o0007'})" in found


def test_a_ledger_of_another_length_is_told(store):
    found = problems(alter(store, lambda group: group["z"].resize((39,)), {}))
    assert found == ["z has 39 rows, flux 40"]


def test_rows_appended_twice_are_named(store):
    again = Transaction(store)
    again.write_spectra(store.n_rows, *pixels(names(32, 8)))
    again.append_rows(rows_of(names(32, 8)))
    found = problems(again.commit("8 spectra", {}))
    assert found == [
        "the same version of an object again: row 40 (o0032), row 41 (o0033), row 42 (o0034), "
        "row 43 (o0035), row 44 (o0036) and 3 more"
    ]


def test_a_version_that_comes_back_is_no_repeat(store):
    store = grow(grow(store, names(3, 1), version="v2"), names(3, 1), version="v1")
    assert problems(store) == []


def test_rows_without_their_commit_are_found(store):
    def change(group: zarr.Group) -> None:
        group.attrs["n_batches"] = 9

    assert problems(alter(store, change, {})) == [
        "commits of batches [2, 1, 0] … where [8, 7, 6] … should be"
    ]


def test_a_commit_left_out_of_the_history_is_found(store):
    """A branch set back to an earlier state, and grown from there, under numbers that were given before."""
    repo = open_repository(store.url)
    history = [info.id for info in repo.ancestry(branch="main")]
    repo.reset_branch("main", history[1])
    store = open_store(store.url)
    assert problems(store) == [], "an earlier state is whole in itself"

    def change(group: zarr.Group) -> None:
        group.attrs["n_batches"] = 3

    store = grow(alter(store, change, {}), names(50, 2))
    assert problems(store) == ["commits of batches [3, 1, 0] … where [3, 2, 1] … should be"]


def test_a_commit_that_left_other_rows_is_found(store):
    def change(group: zarr.Group) -> None:
        group.attrs["note"] = "by hand"

    store = alter(store, change, {"batch": 1, "n_rows": 17})
    found = problems(store)
    assert f"commit {store.snapshot_id} left 17 rows, the ledger has 32 up to it" in found


def test_marks_and_reasons_are_checked(store):
    transaction = Transaction(store)
    transaction.set_withdrawn(np.array([3, 99]), True)
    transaction.append_quarantine([QuarantineRecord("odd", "v1", "file:///odd", "no_such_reason", "")])
    found = problems(transaction.commit("marks", {}))
    assert found == [
        "marks of rows up to 99, where there are 40",
        "quarantine with unknown reasons ['no_such_reason']",
    ]


def test_a_spectrum_far_from_its_source_is_named(tmp_path):
    store = new_store(tmp_path)
    rows = rows_of(names(0, 3))
    ra = np.array([10.0, 10.0 + 0.4 / 3600, 10.0 + 0.6 / 3600])
    name = format_position_names(ra[:1], np.zeros(1)) * 3
    rows = rows.set_column(rows.column_names.index("ra"), "ra", [ra])
    rows = rows.set_column(rows.column_names.index("source_id"), "source_id", [name])
    transaction = Transaction(store)
    transaction.write_spectra(0, *pixels(names(0, 3)))
    transaction.append_rows(rows)
    assert problems(transaction.commit("3 spectra", {})) == [
        "rows further than 0.5″ from their source: row 2 (o0002)"
    ]


def test_a_model_and_the_name_of_its_snapshot_must_agree(store):
    root = store.url.removesuffix("/store")
    tag_snapshot(root, model_tag("m-1"), store.snapshot_id)
    write_json(f"{model_url(root, 'm-1')}/model.json", {"model_id": "m-1", "snapshot_id": store.snapshot_id})
    assert problems(store) == []
    write_json(f"{model_url(root, 'm-1')}/model.json", {"model_id": "m-1", "snapshot_id": "ABC"})
    (found,) = problems(store)
    assert f"names snapshot ABC, its tag {store.snapshot_id}" in found


def test_the_command_says_what_is_wrong_and_ends_with_1(store, monkeypatch, capsys):
    root = store.url.removesuffix("/store")
    monkeypatch.setattr(sys, "argv", ["distspec", "verify", "--root", root])
    main()
    assert "40 rows in 3 batches" in capsys.readouterr().out

    def change(group: zarr.Group) -> None:
        group["flux"][5, 3] += 1e-3

    alter(store, change, {})
    with pytest.raises(SystemExit, match="1 problems in 40 rows"):
        main()
    assert "row 5 (o0005)" in capsys.readouterr().out


def test_a_store_that_is_none_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no store"):
        verify_store(str(tmp_path))
    assert not [*tmp_path.iterdir()], "looking makes nothing"
    icechunk.Repository.create(icechunk.local_filesystem_storage(store_url(str(tmp_path))))
    with pytest.raises(FileNotFoundError, match="no store"):
        verify_store(str(tmp_path))
