from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.ingest.commit import BlockSlice, Committer, slice_blocks
from distspec.ingest.diff import compare_listing
from distspec.ingest.store_config import make_store_config
from distspec.store.store import create_store, open_store
from tests.conftest import power_law
from tests.helpers.content import content_checksum
from tests.helpers.fake_archive import NAMES, SOURCE, FakeArchive, fake, ingest
from tests.helpers.local_writer import LocalWriter


@pytest.fixture(scope="module")
def small_chunks():
    """New stores have four rows in a chunk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distspec.store.store.CHUNK_BYTES", 4 * 32 * 4)
        yield


@pytest.fixture(scope="module")
def make_store(small_chunks, tmp_path_factory):
    """A function that creates an empty store."""

    def make():
        config = make_store_config([power_law()], np.array([5.0]), SOURCE)
        store = create_store(str(tmp_path_factory.mktemp("root") / "store"), config)
        assert store.chunk_rows == 4
        return store

    return make


@pytest.fixture(scope="module")
def uninterrupted(make_store):
    """The store after one undisturbed run in batches of seven."""
    return ingest(make_store(), fake(*NAMES), 7)


def object_ids(store):
    return store.ledger(["object_id"])["object_id"].to_pylist()


def test_each_entry_becomes_one_row_or_one_rejection(uninterrupted):
    assert object_ids(uninterrupted) == [f"good{i:02d}" for i in range(12)]
    rejected = uninterrupted.read_quarantine().to_pylist()
    assert {row["object_id"] for row in rejected} == {name for name in NAMES if not name.startswith("good")}
    reasons = {row["object_id"][:3]: row["reason"] for row in rejected}
    assert reasons == {"bad": "unreadable", "dar": "no_normalisation"}
    assert all(row["uri"].endswith(f"/{row['object_id']}") for row in rejected)


def test_a_second_run_finds_nothing_to_do(uninterrupted):
    assert compare_listing(fake(*NAMES).list_spectra(), uninterrupted).is_empty


@pytest.mark.parametrize("batch_size", [1, 4, 36])
@pytest.mark.parametrize("commit_rows", [1, 3, 8, 100])
def test_rows_do_not_depend_on_batches_or_commits(make_store, uninterrupted, batch_size, commit_rows):
    other = ingest(make_store(), fake(*NAMES), batch_size, commit_rows=commit_rows)
    columns = [name for name in uninterrupted.ledger().column_names if name != "ingest_commit"]
    assert other.ledger(columns).equals(uninterrupted.ledger(columns))
    assert np.array_equal(other.read_spectra(slice(None))[0], uninterrupted.read_spectra(slice(None))[0])
    assert other.dataset_checksum() == uninterrupted.dataset_checksum()
    assert content_checksum(other) == content_checksum(uninterrupted)


@pytest.mark.parametrize("stop_after", [0, 1, 3, 5])
def test_an_interrupted_run_is_completed_by_the_next(make_store, uninterrupted, stop_after):
    store = ingest(make_store(), fake(*NAMES), 7, stop_after=stop_after)
    store = ingest(store, fake(*NAMES), 7)
    assert content_checksum(store) == content_checksum(uninterrupted)
    assert sorted(store.read_quarantine()["object_id"].to_pylist()) == sorted(
        uninterrupted.read_quarantine()["object_id"].to_pylist()
    )


def test_commits_before_the_last_end_at_the_end_of_a_chunk(make_store):
    store = ingest(make_store(), fake(*(f"good{i:02d}" for i in range(23))), 3, commit_rows=5)
    commits = store.ledger(["ingest_commit"])["ingest_commit"].to_numpy()
    ends = np.searchsorted(commits, np.unique(commits), side="right")
    assert len(ends) > 2
    assert all(end % 4 == 0 for end in ends[:-1])
    assert ends[-1] == 23


def test_the_newest_version_of_a_spectrum_is_current(make_store):
    store = ingest(make_store(), fake("good00", "good01"), 7)
    store = ingest(store, fake("good00", "good01", versions={"good00": "v2"}), 7)
    assert object_ids(store) == ["good00", "good01", "good00"]
    assert store.current_rows().tolist() == [1, 2]
    store = ingest(store, fake("good00", "good01"), 7)
    assert store.ledger(["version"])["version"].to_pylist() == ["v1", "v1", "v2", "v1"]
    assert store.current_rows().tolist() == [1, 3], "an earlier version that is listed again is current again"
    assert compare_listing(fake("good00", "good01").list_spectra(), store).is_empty


def test_rows_that_are_not_listed_are_withdrawn_and_can_be_restored(make_store):
    whole, part = fake("good00", "good01", "bad00"), fake("good01")
    store = ingest(make_store(), whole, 7)
    store = ingest(store, part, 7)
    assert store.n_rows == 2
    assert store.current_rows().tolist() == [1]
    assert len(store.read_quarantine()) == 0, "objects that are not listed are released from quarantine"
    assert compare_listing(part.list_spectra(), store).is_empty
    store = ingest(store, whole, 7)
    assert store.n_rows == 2, "the row exists already"
    assert store.current_rows().tolist() == [0, 1]
    assert store.read_quarantine()["object_id"].to_pylist() == ["bad00"]


def test_a_bad_new_version_leaves_the_old_one_current(make_store):
    class UnreadableArchive(FakeArchive):
        async def read(self, entry, file):
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, "cut short")

    store = ingest(make_store(), fake("good00"), 7)
    unreadable = UnreadableArchive(names=("good00",), versions={"good00": "v2"})
    store = ingest(store, unreadable, 7)
    assert store.current_rows().tolist() == [0]
    assert store.read_quarantine()["version"].to_pylist() == ["v2"]
    assert compare_listing(unreadable.list_spectra(), store).is_empty
    store = ingest(store, fake("good00"), 7)
    assert store.n_rows == 1
    assert len(store.read_quarantine()) == 0, "the version in the store is listed again"


def test_retry_reads_transient_failures_again_and_releases_them(make_store):
    down, up = fake("good00", "away00", "bad00"), fake("good00", "away00", "bad00", is_up=True)
    store = ingest(make_store(), down, 7)
    assert {r["object_id"]: r["reason"] for r in store.read_quarantine().to_pylist()} == {
        "away00": "unreachable",
        "bad00": "unreadable",
    }
    listing = up.list_spectra()
    assert compare_listing(listing, store).is_empty, "only a retry reads them again"
    retried = compare_listing(listing, store, retry_transient=True).to_read
    assert retried["object_id"].to_pylist() == ["away00"]
    store = ingest(store, up, 7, retry_transient=True)
    assert object_ids(store) == ["good00", "away00"]
    assert store.read_quarantine()["object_id"].to_pylist() == ["bad00"]


def test_nothing_is_committed_once_the_lease_is_lost(make_store):
    def fail():
        raise RuntimeError("lease lost")

    store = make_store()
    diff = replace(
        compare_listing(fake().list_spectra(), store),
        rejected=[QuarantineRecord("x", "", "", QuarantineReason.BAD_ID, "")],
    )
    with pytest.raises(RuntimeError, match="lease lost"):
        Committer(store, 5, LocalWriter(), check_lease=fail).finish(diff)
    assert len(open_store(store.url).read_quarantine()) == 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=6),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_slices_hold_the_requested_rows(sizes, start, stop):
    slices = [BlockSlice(i, first, first + n) for i, (first, n) in enumerate(sizes)]
    rows = [(piece.block, row) for piece in slices for row in range(piece.start, piece.stop)]
    found = [
        (piece.block, row)
        for piece in slice_blocks(slices, start, stop)
        for row in range(piece.start, piece.stop)
    ]
    assert found == rows[start:stop]
