import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.archives.base import LISTING_SCHEMA
from distspec.core.errors import QuarantineReason
from distspec.ingest.commit import Committer, LocalWriter
from distspec.ingest.diff import MAX_ID_LENGTH, clean_listing, compare_listing
from distspec.ingest.read import make_store_config
from distspec.store.store import create_store
from tests.conftest import power_law
from tests.helpers.fake_model import GRID_CONFIG, NAMES, NORM, Fake, ingest


def listing(*ids, **changed):
    row = {"source_key": "", "version": "v1", "uri": "file:///x", "ra": 1.0, "dec": 2.0, "z": 5.0}
    row |= {"root": "", "srcid": "", "grating": "", "filter": "", "grade": 3} | changed
    return pa.Table.from_pylist([row | {"object_id": name} for name in ids], schema=LISTING_SCHEMA)


@pytest.set_withdrawn.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a\\b", "a\0b", "a\nb", "x" * (MAX_ID_LENGTH + 1), "x" * 10_240],
)
def test_keys_that_cannot_be_names_are_refused(name):
    kept, rejected = clean_listing(listing("good", name))
    assert kept["object_id"].to_pylist() == ["good"]
    assert [row.reason for row in rejected] == [QuarantineReason.BAD_ID]
    assert 0 < len(rejected[0].object_id) <= MAX_ID_LENGTH
    assert rejected[0].object_id.isprintable()


@pytest.set_withdrawn.parametrize("name", ["<script>", "O'Hara; DROP TABLE objects", '"', "Å λ", "a..b"])
def test_keys_that_are_only_odd_are_kept(name):
    kept, rejected = clean_listing(listing(name))
    assert kept["object_id"].to_pylist() == [name]
    assert not rejected


@given(st.lists(st.text(max_size=12), max_size=8))
def test_every_key_is_kept_once_or_refused_once(names):
    kept, rejected = clean_listing(listing(*names))
    assert len(kept) == len(set(kept["object_id"].to_pylist()))
    assert set(kept["object_id"].to_pylist()) <= set(names)
    assert len(kept) + len(rejected) == len(set(names))


def test_listed_twice_alike_is_listed_once():
    kept, rejected = clean_listing(listing("a", "b", "a"))
    assert kept["object_id"].to_pylist() == ["a", "b"]
    assert not rejected


def test_listed_twice_and_differing_nobody_can_tell():
    both = pa.concat_tables([listing("a", "b"), listing("a", version="v2")])
    kept, rejected = clean_listing(both)
    assert kept["object_id"].to_pylist() == ["b"]
    assert [(row.object_id, row.reason) for row in rejected] == [("a", QuarantineReason.AMBIGUOUS)]
    assert "2 times" in rejected[0].detail


def test_before_there_is_a_store_everything_is_to_do():
    todo = compare_listing(listing("a", "b"), None)
    assert todo.to_read["object_id"].to_pylist() == ["a", "b"]
    assert not todo.is_empty
    assert compare_listing(listing(), None).is_empty


@pytest.fixture
def store(tmp_path):
    return create_store(
        str(tmp_path / "store"), make_store_config([power_law()], np.array([5.0]), GRID_CONFIG, NORM)
    )


def test_only_the_difference_is_to_do(store):
    store = ingest(store, Fake(NAMES), 7)
    grown = Fake((*NAMES, "good99"), versions={"good00": "v2", "bad00": "v2"})
    assert compare_listing(grown.list(), store).to_read["object_id"].to_pylist() == [
        "bad00",
        "good00",
        "good99",
    ]


def test_what_the_listing_disqualifies_is_told_once(store):
    wrong = listing("a/b", "x" * 999)
    committer = Committer(store, 10, LocalWriter())
    committer.finish(compare_listing(wrong, store))
    assert sorted(committer.store.read_quarantine()["reason"].to_pylist()) == ["bad_id", "bad_id"]
    assert compare_listing(wrong, committer.store).is_empty
    todo = compare_listing(listing("good"), committer.store)
    assert len(todo.released) == 2, "not listed any more"


def test_a_key_that_the_listing_spoils_stands_as_it_was(store):
    store = ingest(store, Fake(("good00", "good01")), 7)
    listed = Fake(("good00", "good01")).list()
    twice = pa.concat_tables([listed, Fake(("good00",), versions={"good00": "v2"}).list()])
    todo = compare_listing(twice, store)
    assert [(row.object_id, row.reason) for row in todo.rejected] == [("good00", QuarantineReason.AMBIGUOUS)]
    assert len(todo.withdrawn_rows) == len(todo.to_read) == 0
