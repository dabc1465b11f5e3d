"""Integrity check: each kind of damage is reported with the rows and objects concerned."""

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
import pyarrow as pa
import pytest
import zarr

from distspec.cli.main import main
from distspec.core.errors import NotFoundError, QuarantineReason, QuarantineRecord
from distspec.io.files import write_json
from distspec.io.paths import model_url, store_url
from distspec.store import store as store_module
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.snapshots import model_tag, tag_snapshot
from distspec.store.sources import format_position_names
from distspec.store.store import Store, open_repository, open_store
from distspec.store.transactions import CommitRecord, Transaction, commit_session
from distspec.store.verify import verify_store
from tests.helpers.small_stores import grow, make_pixels, make_rows, names, new_store

REJECTED = [QuarantineRecord("bad", "v1", "file:///bad", QuarantineReason.NO_OVERLAP, "5–6 Å")]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with forty rows in three commits and chunks of sixteen."""
    root = tmp_path_factory.mktemp("intact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "CHUNK_BYTES", 4 * 32 * 16)
        store = grow(new_store(root), names(0, 16), REJECTED)
    grow(grow(store, names(16, 16)), names(32, 8))
    return root


@pytest.fixture
def store(intact: Path, tmp_path: Path) -> Store:
    return open_store(store_url(str(shutil.copytree(intact, tmp_path / "root"))))


def find_problems(store: Store) -> list[str]:
    return verify_store(store.url.removesuffix("/store"))[1]


def alter(store: Store, change: Callable[[zarr.Group], None], metadata: dict[str, object]) -> Store:
    """Commit a change that distspec would not make."""
    session = open_repository(store.url).writable_session("main")
    change(zarr.open_group(session.store, mode="r+"))
    return commit_session(store.url, session, "by hand", metadata)


def test_an_intact_store_has_no_problems(store):
    checked, problems = verify_store(store.url.removesuffix("/store"))
    assert problems == []
    assert checked.n_rows == 40
    assert checked.chunk_rows == 16


def test_an_earlier_snapshot_can_be_checked(store):
    root = store.url.removesuffix("/store")
    tag_snapshot(root, "before", store.snapshot_id)
    grow(store, names(40, 3))
    assert verify_store(root, "before")[0].n_rows == 40
    assert verify_store(root, store.snapshot_id)[1] == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, truncate, flip_bit], ids=["deleted", "truncated", "altered"])
def test_a_damaged_chunk_of_pixels_is_reported(store, damage):
    folder = Path(store.url) / "chunks"
    before = set(folder.iterdir())
    store = grow(store, names(40, 8))
    (chunk,) = [path for path in folder.iterdir() if path not in before and path.stat().st_size > 1000]
    damage(chunk)
    (problem,) = find_problems(store)
    rows = [int(row) for row in re.findall(r"row (\d+) \(o00\d\d\)", problem)]
    assert rows == list(range(32, 37)) if damage is not flip_bit else set(rows) <= set(range(32, 48))


def test_every_damaged_file_of_chunks_is_reported(tmp_path):
    """A ledger that cannot be read is a problem too, and not a traceback."""
    rejected = [replace(REJECTED[0], object_id=name) for name in names(0, 600)]
    store = grow(new_store(tmp_path), names(0, 2000), rejected)
    paths = sorted((Path(store.url) / "chunks").iterdir())
    assert len(paths) > 4, "pixels, positions, names, checksums"
    for path, damage in product(paths, (Path.unlink, truncate)):
        content = path.read_bytes()
        damage(path)
        assert find_problems(store), path.name
        path.write_bytes(content)
    assert find_problems(store) == []


def test_a_missing_chunk_is_not_read_as_zeros(store):
    def change(group: zarr.Group) -> None:
        for name in ("flux", "ivar"):
            group[name][16:32] = 0.0

    problems = find_problems(alter(store, change, {}))
    assert len(problems) == 3
    assert problems[0].startswith("a chunk of flux is missing: row 16 (o0016)")
    assert "pixels differ from what was stored: row 16 (o0016)" in problems[2]


def test_altered_pixels_are_reported(store):
    def change(group: zarr.Group) -> None:
        group["flux"][5, 3] += 1e-3
        group["ivar"][33, 3] = 0.0

    assert find_problems(alter(store, change, {})) == [
        "pixels differ from what was stored: row 5 (o0005)",
        "pixels differ from what was stored: row 33 (o0033)",
    ]


OTHER_VALUE = {"str": "another", "int8": 7, "int32": 1, "float32": 2.5, "float64": 2.5, "uint64": 5}
N_LISTED = 5
"""Number of rows that a problem lists."""


@pytest.mark.parametrize("first", range(0, len(METADATA_COLUMNS), N_LISTED))
def test_an_altered_value_of_the_ledger_is_reported(store, first):
    """Each value is in a row of its own."""
    columns = dict(enumerate([*METADATA_COLUMNS][first : first + N_LISTED], start=7))

    def change(group: zarr.Group) -> None:
        for row, name in columns.items():
            group[name][row] = OTHER_VALUE[METADATA_COLUMNS[name]]

    problems = " ".join(find_problems(alter(store, change, {})))
    objects = {row: "another" if name == "object_id" else f"o{row:04d}" for row, name in columns.items()}
    rows = ", ".join(f"row {row} ({object_id})" for row, object_id in objects.items())
    assert f"ledger differs from what was stored: {rows}" in problems


def append_with_program(store: Store) -> Store:
    rows = make_rows(names(40, 3))
    transaction = Transaction(store)
    transaction.write_spectra(store.n_rows, *make_pixels(names(40, 3)))
    transaction.append_rows(rows.append_column("observation/program", pa.array(["7", "", "9"])))
    return transaction.commit("3 spectra")


def test_a_store_made_before_observations_were_read_takes_rows_with_them(store):
    assert store.read_observations().column_names == []
    grown = append_with_program(store)
    assert grown.read_observations()["program"].to_pylist() == [None] * 40 + ["7", None, "9"]
    grown = grow(grown, names(43, 2))
    assert grown.read_observations()["program"].to_pylist()[-3:] == ["9", None, None]
    assert find_problems(grown) == []
    assert find_problems(open_store(grown.url, store.snapshot_id)) == []


def test_altered_observations_are_reported(store):
    def change(group: zarr.Group) -> None:
        group["observation/program"][42] = "8"

    problems = find_problems(alter(append_with_program(store), change, {}))
    assert problems == ["ledger differs from what was stored: row 42 (o0042)"]


def test_a_ledger_column_of_another_length_is_reported(store):
    problems = find_problems(alter(store, lambda group: group["z"].resize((39,)), {}))
    assert problems == ["z has 39 rows, flux 40"]


def test_rows_that_were_appended_twice_are_reported(store):
    repetition = Transaction(store)
    repetition.write_spectra(store.n_rows, *make_pixels(names(32, 8)))
    repetition.append_rows(make_rows(names(32, 8)))
    assert find_problems(repetition.commit("8 spectra")) == [
        "the same version of an object again: row 40 (o0032), row 41 (o0033), row 42 (o0034), "
        "row 43 (o0035), row 44 (o0036) and 3 more"
    ]


def test_an_earlier_version_that_is_listed_again_is_no_problem(store):
    store = grow(grow(store, names(3, 1), version="v2"), names(3, 1), version="v1")
    assert find_problems(store) == []


def set_n_ingest_commits(n: int) -> Callable[[zarr.Group], None]:
    return lambda group: group.attrs.update({"n_ingest_commits": n})


def test_missing_commits_are_reported(store):
    assert find_problems(alter(store, set_n_ingest_commits(9), {})) == [
        "ingest commits [2, 1, 0] … where [8, 7, 6] … are expected"
    ]


def test_a_commit_that_is_not_in_the_history_is_reported(store):
    """The branch is reset to an earlier snapshot, and numbers of commits are used again."""
    repository = open_repository(store.url)
    history = [info.id for info in repository.ancestry(branch="main")]
    repository.reset_branch("main", history[1])
    store = open_store(store.url)
    assert find_problems(store) == [], "the earlier snapshot is intact"
    store = grow(alter(store, set_n_ingest_commits(3), {}), names(50, 2))
    assert find_problems(store) == ["ingest commits [3, 1, 0] … where [3, 2, 1] … are expected"]


def test_a_commit_that_records_another_number_of_rows_is_reported(store):
    def change(group: zarr.Group) -> None:
        group.attrs["note"] = "by hand"

    store = alter(store, change, CommitRecord(1, 1, 17, "", 0).to_json())
    problems = find_problems(store)
    assert f"commit {store.snapshot_id} left 17 rows, the ledger has 32 up to it" in problems


def test_impossible_log_entries_are_reported(store):
    transaction = Transaction(store)
    transaction.set_withdrawn(np.array([3, 99]), True)
    transaction.append_quarantine([QuarantineRecord("odd", "v1", "file:///odd", "no_such_reason", "")])
    assert find_problems(transaction.commit("logs")) == [
        "withdrawals of rows up to 99, where there are 40",
        "quarantine with unknown reasons ['no_such_reason']",
    ]


def test_a_spectrum_far_from_its_source_is_reported(tmp_path):
    store = new_store(tmp_path)
    rows = make_rows(names(0, 3))
    ra = np.array([10.0, 10.0 + 0.4 / 3600, 10.0 + 0.6 / 3600])
    source_id = format_position_names(ra[:1], np.zeros(1)) * 3
    rows = rows.set_column(rows.column_names.index("ra"), "ra", [ra])
    rows = rows.set_column(rows.column_names.index("source_id"), "source_id", [source_id])
    transaction = Transaction(store)
    transaction.write_spectra(0, *make_pixels(names(0, 3)))
    transaction.append_rows(rows)
    assert find_problems(transaction.commit("3 spectra")) == [
        "rows further than 0.5″ from their source: row 2 (o0002)"
    ]


def test_a_model_and_the_tag_of_its_snapshot_must_agree(store):
    root = store.url.removesuffix("/store")
    tag_snapshot(root, model_tag("m-1"), store.snapshot_id)
    url = f"{model_url(root, 'm-1')}/model.json"
    write_json(url, {"model_id": "m-1", "snapshot_id": store.snapshot_id})
    assert find_problems(store) == []
    write_json(url, {"model_id": "m-1", "snapshot_id": "ABC"})
    (problem,) = find_problems(store)
    assert f"names snapshot ABC, its tag {store.snapshot_id}" in problem


def test_the_command_lists_problems_and_exits_with_1(store, monkeypatch, capsys):
    root = store.url.removesuffix("/store")
    monkeypatch.setattr(sys, "argv", ["distspec", "verify", "--root", root])
    main()
    assert "40 rows in 3 " in capsys.readouterr().out

    def change(group: zarr.Group) -> None:
        group["flux"][5, 3] += 1e-3

    alter(store, change, {})
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code not in (0, None)
    assert "row 5 (o0005)" in capsys.readouterr().out


def test_a_missing_store_is_an_error_and_nothing_is_created(tmp_path):
    with pytest.raises(NotFoundError, match="no store"):
        verify_store(str(tmp_path))
    assert not [*tmp_path.iterdir()]
    icechunk.Repository.create(icechunk.local_filesystem_storage(store_url(str(tmp_path))))
    with pytest.raises(NotFoundError, match="no store"):
        verify_store(str(tmp_path))
