import icechunk
import numpy as np
import pytest

from distspec.core.errors import QuarantineReason, QuarantineRecord, StoreError
from distspec.store.store import open_store
from distspec.store.transactions import (
    CommitOrigin,
    Transaction,
    parse_commit_record,
    split_at_chunks,
    write_chunks_to_fork,
)
from tests.conftest import append, batch_of, identity_of

REJECTED = [QuarantineRecord("bad", "v1", "file:///bad", QuarantineReason.NO_OVERLAP, "5–6 Å")]


def test_appending_leaves_existing_rows_unchanged(small_store, rng):
    before, _ = small_store.read_spectra(slice(None))
    grown = append(small_store, batch_of(7, 32, rng, "p"), identity_of(7))
    after, _ = grown.read_spectra(slice(None))
    assert grown.n_rows == 67
    assert np.array_equal(after[:60], before)
    assert small_store.n_rows == 60, "the earlier snapshot is still open"


def test_forks_and_committer_make_one_commit(small_store, rng):
    """Forks write whole chunks and the committer the others; nothing is visible before the commit."""
    chunk_rows = small_store.chunk_rows
    batch = batch_of(2 * chunk_rows + 5, 32, rng, "p")
    n_total_rows = 60 + len(batch)
    transaction = Transaction(small_store)
    forks, first = [], chunk_rows - 60
    for k in range(2):
        part = slice(first + k * chunk_rows, first + (k + 1) * chunk_rows)
        if part.stop <= len(batch):
            fork = transaction.session.fork()
            flux, ivar = batch.flux[part], batch.ivar[part]
            forks.append(write_chunks_to_fork(fork, 60 + part.start, n_total_rows, flux, ivar))
    transaction.session.merge(*forks)
    last = first + len(forks) * chunk_rows
    transaction.write_spectra(60, batch.flux[:first], batch.ivar[:first])
    transaction.write_spectra(60 + last, batch.flux[last:], batch.ivar[last:])
    assert open_store(small_store.url).n_rows == 60
    transaction.commit("forks")
    flux, ivar = open_store(small_store.url).read_spectra(slice(60, None))
    assert np.array_equal(flux, batch.flux)
    assert np.array_equal(ivar, batch.ivar)


def test_a_commit_is_recorded_in_the_history(small_store, rng):
    store = append(small_store, batch_of(7, 32, rng, "p"), identity_of(7), REJECTED)
    Transaction(store).commit("nothing", CommitOrigin("dja", 4))
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(small_store.url))
    history = list(repository.ancestry(branch="main"))
    newest, second, first = (parse_commit_record(info.metadata) for info in history[:3])
    assert (first.ingest_commit, first.n_new, first.n_rows) == (0, 60, 60)
    assert (second.ingest_commit, second.n_new, second.n_rows) == (1, 7, 67)
    assert (newest.n_new, newest.n_rows, newest.archive, newest.lease_token) == (0, 67, "dja", 4)
    assert parse_commit_record(history[3].metadata) is None, "the creation of the store"
    store = open_store(small_store.url)
    assert store.ledger(["ingest_commit"])["ingest_commit"].to_pylist() == [0] * 60 + [1] * 7
    assert store.read_quarantine()["ingest_commit"].to_pylist() == [1]


def test_withdrawals_and_releases_are_logs(small_store):
    transaction = Transaction(small_store)
    transaction.set_withdrawn(np.array([3, 5]), True)
    transaction.append_quarantine(REJECTED)
    store = transaction.commit("withdrawn")
    assert np.flatnonzero(store.withdrawn_mask()).tolist() == [3, 5]
    assert store.current_rows().tolist() == [row for row in range(60) if row not in (3, 5)]
    transaction = Transaction(store)
    transaction.set_withdrawn(np.array([3]), False)
    transaction.release_from_quarantine(["bad"])
    store = transaction.commit("restored")
    assert np.flatnonzero(store.withdrawn_mask()).tolist() == [5]
    assert len(store.read_quarantine()) == 0
    assert store.read_log("quarantine", {"object_id": "str", "reason": "str"}).to_pylist() == [
        {"object_id": "bad", "reason": "no_overlap"},
        {"object_id": "bad", "reason": ""},
    ]


def test_a_run_with_an_outdated_snapshot_appends_nothing(small_store, rng):
    append(small_store, batch_of(5, 32, rng, "early"), identity_of(5))
    with pytest.raises(StoreError, match="another run committed"):
        append(small_store, batch_of(5, 32, rng, "late"), identity_of(5))
    assert open_store(small_store.url).n_rows == 65


def test_a_commit_that_loses_a_race_fails_and_changes_nothing(small_store, rng, monkeypatch):
    late = batch_of(3, 32, rng, "late")
    original = icechunk.Session.commit

    def commit_after_another(session, message, **kwargs):
        monkeypatch.setattr(icechunk.Session, "commit", original)
        append(small_store, batch_of(5, 32, rng, "early"), identity_of(5))
        return original(session, message, **kwargs)

    monkeypatch.setattr(icechunk.Session, "commit", commit_after_another)
    with pytest.raises(StoreError, match="another run committed"):
        append(small_store, late, identity_of(3))
    names = open_store(small_store.url).ledger(["object_id"])["object_id"].to_pylist()
    assert len(names) == 65
    assert not any(name.startswith("late") for name in names)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (0, 1), (0, 4096), (4095, 4097), (100, 20_000)])
def test_spans_cover_the_rows_and_share_no_chunk(start, stop):
    spans = split_at_chunks(start, stop, 4096)
    assert [row for first, last in spans for row in range(first, last)] == list(range(start, stop))
    chunks = [{row // 4096 for row in (first, last - 1)} for first, last in spans]
    assert all(len(chunk) == 1 for chunk in chunks)
    assert len({*map(frozenset, chunks)}) == len(chunks)
