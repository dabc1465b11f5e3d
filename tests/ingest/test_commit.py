from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.ingest.commit import BlockSlice, Committer, LocalWriter, slice_blocks
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import make_store_config
from distspec.store.sources import MATCH_RADIUS
from distspec.store.store import create_store, open_store
from tests.conftest import power_law
from tests.helpers.fake_model import GRID_CONFIG, NAMES, NORM, Fake, ingest


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make an empty store of chunks of four rows."""
    monkeypatch.setattr("distspec.store.store.CHUNK_BYTES", 4 * 32 * 4)

    def made(name="store"):
        frozen = make_store_config([power_law()], np.array([5.0]), GRID_CONFIG, NORM, MATCH_RADIUS, "fake")
        store = create_store(str(tmp_path / name), frozen)
        assert store.chunk_rows == 4
        return store

    return made


def names_of(store):
    return store.ledger(["object_id"])["object_id"].to_pylist()


def test_every_entry_ends_as_one_row_or_one_rejection(make):
    store = ingest(make(), Fake(NAMES), 7)
    assert names_of(store) == [f"good{i:02d}" for i in range(12)]
    rejected = store.read_quarantine().to_pylist()
    assert {row["object_id"] for row in rejected} == {name for name in NAMES if not name.startswith("good")}
    reasons = {row["object_id"][:3]: row["reason"] for row in rejected}
    assert reasons == {"bad": "unreadable", "dar": "no_normalisation"}
    assert all(row["uri"].endswith(f"/{row['object_id']}") for row in rejected)


def test_a_second_run_finds_nothing_to_do(make):
    store = ingest(make(), Fake(NAMES), 7)
    assert compare_listing(Fake(NAMES).list(), store).is_empty


@pytest.set_withdrawn.parametrize("size", [1, 4, 36])
@pytest.set_withdrawn.parametrize("commit_rows", [1, 3, 8, 100])
def test_rows_do_not_depend_on_batches_or_commits(make, size, commit_rows):
    reference = ingest(make(), Fake(NAMES), 7)
    other = ingest(make("other"), Fake(NAMES), size, commit_rows=commit_rows)
    columns = [name for name in reference.ledger().column_names if name != "batch"]
    assert other.ledger(columns).equals(reference.ledger(columns))
    assert np.array_equal(other.read_spectra(slice(None))[0], reference.read_spectra(slice(None))[0])
    assert other.dataset_checksum() == reference.dataset_checksum()
    assert other.content_checksum() == reference.content_checksum()


@pytest.set_withdrawn.parametrize("stop_after", [0, 1, 3, 5])
def test_a_run_cut_short_is_finished_by_the_next(make, stop_after):
    undisturbed = ingest(make("other"), Fake(NAMES), 7)
    store = ingest(make(), Fake(NAMES), 7, stop_after=stop_after)
    store = ingest(store, Fake(NAMES), 7)
    assert store.content_checksum() == undisturbed.content_checksum()
    assert sorted(store.read_quarantine()["object_id"].to_pylist()) == sorted(
        undisturbed.read_quarantine()["object_id"].to_pylist()
    )


def test_commits_end_with_a_chunk_while_there_is_more(make):
    store = ingest(make(), Fake(tuple(f"good{i:02d}" for i in range(23))), 3, commit_rows=5)
    batch = store.ledger(["batch"])["batch"].to_numpy()
    ends = np.searchsorted(batch, np.unique(batch), side="right")
    assert len(ends) > 2
    assert all(end % 4 == 0 for end in ends[:-1])
    assert ends[-1] == 23


def test_the_newest_version_of_a_spectrum_stands(make):
    store = ingest(make(), Fake(("good00", "good01")), 7)
    store = ingest(store, Fake(("good00", "good01"), versions={"good00": "v2"}), 7)
    assert names_of(store) == ["good00", "good01", "good00"]
    assert store.current_rows().tolist() == [1, 2]
    store = ingest(store, Fake(("good00", "good01")), 7)
    assert store.ledger(["version"])["version"].to_pylist() == ["v1", "v1", "v2", "v1"]
    assert store.current_rows().tolist() == [1, 3], "a version that comes back stands again"
    assert compare_listing(Fake(("good00", "good01")).list(), store).is_empty


def test_what_the_archive_withdraws_is_marked_and_may_return(make):
    whole, part = Fake(("good00", "good01", "bad00")), Fake(("good01",))
    store = ingest(make(), whole, 7)
    store = ingest(store, part, 7)
    assert store.n_rows == 2
    assert store.current_rows().tolist() == [1]
    assert len(store.read_quarantine()) == 0, "what is not listed is not in quarantine either"
    assert compare_listing(part.list(), store).is_empty
    store = ingest(store, whole, 7)
    assert store.n_rows == 2, "its row is there already"
    assert store.current_rows().tolist() == [0, 1]
    assert store.read_quarantine()["object_id"].to_pylist() == ["bad00"]


def test_a_bad_new_version_leaves_the_good_old_one_standing(make):
    class Broken(Fake):
        async def read(self, entry, file):
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, "cut short")

    store = ingest(make(), Fake(("good00",)), 7)
    broken = Broken(("good00",), versions={"good00": "v2"})
    store = ingest(store, broken, 7)
    assert store.current_rows().tolist() == [0]
    assert store.read_quarantine()["version"].to_pylist() == ["v2"]
    assert compare_listing(broken.list(), store).is_empty
    store = ingest(store, Fake(("good00",)), 7)
    assert store.n_rows == 1
    assert len(store.read_quarantine()) == 0, "the version that is in the store is listed again"


def test_retry_reads_passing_causes_again_and_settles_them(make):
    away, back = Fake(("good00", "away00", "bad00")), Fake(("good00", "away00", "bad00"), back=True)
    store = ingest(make(), away, 7)
    assert {r["object_id"]: r["reason"] for r in store.read_quarantine().to_pylist()} == {
        "away00": "unreachable",
        "bad00": "unreadable",
    }
    assert compare_listing(back.list(), store).is_empty, "only a retry reads them again"
    assert compare_listing(back.list(), store, retry_transient=True).to_read["object_id"].to_pylist() == [
        "away00"
    ]
    store = ingest(store, back, 7, retry=True)
    assert names_of(store) == ["good00", "away00"]
    assert store.read_quarantine()["object_id"].to_pylist() == ["bad00"]


def test_nobody_who_may_not_commit_does(make):
    def lost():
        raise RuntimeError("lease lost")

    store = make()
    todo = replace(
        compare_listing(Fake(()).list(), store),
        rejected=[QuarantineRecord("x", "", "", QuarantineReason.BAD_ID, "")],
    )
    with pytest.raises(RuntimeError, match="lease lost"):
        Committer(store, 5, LocalWriter(), check_lease=lost).finish(todo)
    assert len(open_store(store.url).read_quarantine()) == 0


@given(
    st.lists(st.lists_to_tuples(st.integers(0, 5), st.integers(0, 6)), max_size=6),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_cut_pieces_are_the_rows_asked_for(sizes, start, stop):
    pieces = [BlockSlice(i, first, first + n) for i, (first, n) in enumerate(sizes)]
    rows = [(p.block, row) for p in pieces for row in range(p.start, p.stop)]
    found = [(p.block, row) for p in slice_blocks(pieces, start, stop) for row in range(p.start, p.stop)]
    assert found == rows[start:stop]
