import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.archives.base import LISTING_SCHEMA
from distspec.core.errors import ArchiveError, QuarantineReason
from distspec.core.listing import RowCounts
from distspec.ingest.commit import Committer
from distspec.ingest.diff import (
    MAX_ID_LENGTH,
    check_withdrawn_fraction,
    clean_listing,
    compare_listing,
    count_rows,
)
from distspec.ingest.store_config import make_store_config
from distspec.store.store import create_store
from tests.conftest import power_law
from tests.helpers.fake_archive import NAMES, SOURCE, fake, ingest
from tests.helpers.local_writer import LocalWriter


def make_listing(*ids, **changes):
    row = {"source_key": "", "version": "v1", "uri": "file:///x", "ra": 1.0, "dec": 2.0, "z": 5.0}
    row |= {"root": "", "srcid": "", "grating": "", "filter": "", "grade": 3} | changes
    return pa.Table.from_pylist([row | {"object_id": name} for name in ids], schema=LISTING_SCHEMA)


@pytest.mark.parametrize(
    "object_id",
    ["", ".", "..", "../x", "/etc/passwd", "a\\b", "a\0b", "a\nb", "x" * (MAX_ID_LENGTH + 1), "x" * 10_240],
)
def test_identifiers_that_cannot_be_names_are_rejected(object_id):
    cleaned, rejected = clean_listing(make_listing("good", object_id))
    assert cleaned["object_id"].to_pylist() == ["good"]
    assert [record.reason for record in rejected] == [QuarantineReason.BAD_ID]
    assert 0 < len(rejected[0].object_id) <= MAX_ID_LENGTH
    assert rejected[0].object_id.isprintable()


@pytest.mark.parametrize("object_id", ["<script>", "O'Hara; DROP TABLE objects", '"', "Å λ", "a..b"])
def test_unusual_but_printable_identifiers_are_kept(object_id):
    cleaned, rejected = clean_listing(make_listing(object_id))
    assert cleaned["object_id"].to_pylist() == [object_id]
    assert not rejected


@given(st.lists(st.text(max_size=12), max_size=8))
def test_each_identifier_is_kept_once_or_rejected_once(names):
    cleaned, rejected = clean_listing(make_listing(*names))
    assert len(cleaned) == len(set(cleaned["object_id"].to_pylist()))
    assert set(cleaned["object_id"].to_pylist()) <= set(names)
    assert len(cleaned) + len(rejected) == len(set(names))


def test_identical_rows_count_as_one():
    cleaned, rejected = clean_listing(make_listing("a", "b", "a"))
    assert cleaned["object_id"].to_pylist() == ["a", "b"]
    assert not rejected


def test_differing_rows_of_an_identifier_are_ambiguous():
    both = pa.concat_tables([make_listing("a", "b"), make_listing("a", version="v2")])
    cleaned, rejected = clean_listing(both)
    assert cleaned["object_id"].to_pylist() == ["b"]
    assert [(record.object_id, record.reason) for record in rejected] == [("a", QuarantineReason.AMBIGUOUS)]
    assert "2 times" in rejected[0].detail


def test_without_a_store_everything_is_read():
    diff = compare_listing(make_listing("a", "b"), None)
    assert diff.to_read["object_id"].to_pylist() == ["a", "b"]
    assert not diff.is_empty
    assert compare_listing(make_listing(), None).is_empty


@pytest.fixture
def store(tmp_path):
    config = make_store_config([power_law()], np.array([5.0]), SOURCE)
    return create_store(str(tmp_path / "store"), config)


def test_only_new_objects_and_versions_are_read(store):
    store = ingest(store, fake(*NAMES), 7)
    grown = fake(*NAMES, "good99", versions={"good00": "v2", "bad00": "v2"})
    to_read = compare_listing(grown.list_spectra(), store).to_read
    assert to_read["object_id"].to_pylist() == ["bad00", "good00", "good99"]


def test_objects_that_the_listing_disqualifies_are_rejected_once(store):
    unusable = make_listing("a/b", "x" * 999)
    committer = Committer(store, 10, LocalWriter())
    committer.finish(compare_listing(unusable, store))
    assert sorted(committer.store.read_quarantine()["reason"].to_pylist()) == ["bad_id", "bad_id"]
    assert compare_listing(unusable, committer.store).is_empty
    diff = compare_listing(make_listing("good"), committer.store)
    assert len(diff.released) == 2, "they are no longer listed"


def test_the_row_of_an_ambiguous_object_stays_current(store):
    store = ingest(store, fake("good00", "good01"), 7)
    listing = fake("good00", "good01").list_spectra()
    both = pa.concat_tables([listing, fake("good00", versions={"good00": "v2"}).list_spectra()])
    diff = compare_listing(both, store)
    assert [(record.object_id, record.reason) for record in diff.rejected] == [
        ("good00", QuarantineReason.AMBIGUOUS)
    ]
    assert len(diff.withdrawn_rows) == len(diff.to_read) == 0


def test_nothing_is_read_again_if_only_the_spelling_of_the_version_changes(store):
    old, new = "2024-05-01T10:00:00.000 0.10 z=5.00000", "1714557600.0 0.1 z=5.00000"
    store = ingest(store, fake(*NAMES, versions=dict.fromkeys(NAMES, old)), 7)
    respelt = fake(*NAMES, versions=dict.fromkeys(NAMES, new))
    assert compare_listing(respelt.list_spectra(), store).is_empty
    newer = fake(*NAMES, versions={**dict.fromkeys(NAMES, new), "good00": new.replace(".0 ", ".5 ")})
    assert compare_listing(newer.list_spectra(), store).to_read["object_id"].to_pylist() == ["good00"]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "a/b", ""]), st.sampled_from(["v1", "v2"])), max_size=8))
@settings(max_examples=30)
def test_every_row_is_counted_once(rows):
    tables = [make_listing(), *(make_listing(name, version=version) for name, version in rows)]
    listing = pa.concat_tables(tables)
    counts = count_rows(RowCounts(len(listing)), listing)
    assert counts.read == len(rows)
    assert counts.selected == len(clean_listing(listing)[0])
    assert counts.quarantined.get("bad_id", 0) == sum(name in ("a/b", "") for name, _ in rows)
    assert min([0, *counts.deselected.values(), *counts.quarantined.values()]) == 0


@pytest.mark.parametrize(
    ("n_gone", "n_current", "share"), [(1, 2, None), (2, 10, None), (3, 10, "0.3"), (2, 2, "1")]
)
def test_a_listing_that_lacks_many_spectra_stops_the_run(n_gone, n_current, share):
    if share is None:
        check_withdrawn_fraction(n_gone, n_current, 0.2)
        return
    with pytest.raises(ArchiveError, match=f"nothing was changed.*--ingest.max-withdrawn {share}$"):
        check_withdrawn_fraction(n_gone, n_current, 0.2)
    check_withdrawn_fraction(n_gone, n_current, float(share))
