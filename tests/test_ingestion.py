from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from distspec.archives.protocol import LISTING, Entry
from distspec.ingestion import (
    Committer,
    IngestConfig,
    check_settings,
    concatenate,
    entries,
    freeze,
    load,
    missing,
    pilot,
    split,
)
from distspec.preprocessing import GridConfig, NormConfig
from distspec.spectrum import BadSpectrumError, Reason, Spectrum
from distspec.store import Store, create_store
from tests.conftest import power_law

NORM = NormConfig()
GRID_CONFIG = GridConfig(n_pixels=32)
GRID = GRID_CONFIG.resolve(np.array([5.0]))


@dataclass(frozen=True)
class Fake:
    """An archive in memory: names that begin with "bad" cannot be read, "dark" ones have no flux."""

    names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    lines: ClassVar[Mapping[str, float]] = {}

    def list(self) -> pa.Table:
        names = sorted(self.names)
        row = {"source_key": "", "root": "r", "srcid": "1", "grating": "PRISM", "filter": "CLEAR", "grade": 3}
        rows = [
            row
            | {"object_id": name, "version": self.versions.get(name, "v1"), "uri": f"mem://{name}"}
            | {"ra": float(hash_of(name)), "dec": 0.0, "z": 5.0}
            for name in names
        ]
        return pa.Table.from_pylist(rows, schema=LISTING)

    def read(self, entry: Entry) -> Spectrum:
        if entry.object_id.startswith("bad"):
            raise BadSpectrumError(Reason.UNREADABLE, "no SIMPLE card")
        spectrum = power_law(entry.object_id, z=entry.z)
        if entry.object_id.startswith("dark"):
            return Spectrum(
                spectrum.object_id, spectrum.wave, -spectrum.flux, spectrum.ivar, spectrum.unit, 5.0
            )
        return spectrum

    def truth(self) -> pa.Table | None:
        return None


def hash_of(name: str) -> int:
    return sum(ord(letter) * (i + 1) for i, letter in enumerate(name)) % 360


NAMES = tuple(f"{kind}{i:02d}" for i in range(12) for kind in ("good", "bad", "dark"))


@pytest.fixture
def store(tmp_path) -> Store:
    return create_store(str(tmp_path / "store"), freeze([power_law()], np.array([5.0]), GRID_CONFIG, NORM))


def ingest(
    store: Store, archive: Fake, size: int, stop_after: int | None = None, commit_rows: int = 5
) -> Store:
    """The whole of ingest without Ray; stops without a last commit after some batches."""
    todo = missing(archive.list(), store)
    committer = Committer(store, todo, commit_rows)
    for i, batch in enumerate(split(entries(todo), size)):
        if i == stop_after:
            return committer.store
        committer.add(load(archive, batch, GRID, NORM, -2.0))
    committer.commit()
    return committer.store


def test_every_entry_ends_as_one_row_or_one_rejection(store):
    store = ingest(store, Fake(NAMES), 7)
    assert store.ledger()["object_id"].to_pylist() == [f"good{i:02d}" for i in range(12)]
    rejected = store.quarantine().to_pylist()
    assert {row["object_id"] for row in rejected} == {name for name in NAMES if not name.startswith("good")}
    reasons = {row["object_id"][:3]: row["reason"] for row in rejected}
    assert reasons == {"bad": "unreadable", "dar": "no_normalisation"}
    assert all(row["uri"] == f"mem://{row['object_id']}" for row in rejected)


def test_a_second_run_finds_nothing_missing(store):
    archive = Fake(NAMES)
    store = ingest(store, archive, 7)
    assert len(missing(archive.list(), store)) == 0


def test_only_the_difference_is_missing(store):
    store = ingest(store, Fake(NAMES), 7)
    grown = Fake((*NAMES, "good99"), versions={"good00": "v2", "bad00": "v2"})
    assert missing(grown.list(), store)["object_id"].to_pylist() == ["bad00", "good00", "good99"]


@pytest.mark.parametrize("size", [1, 4, 36])
def test_rows_do_not_depend_on_batches_or_commits(store, tmp_path, size):
    reference = ingest(store, Fake(NAMES), 7)
    other = create_store(str(tmp_path / "other"), freeze([power_law()], np.array([5.0]), GRID_CONFIG, NORM))
    other = ingest(other, Fake(NAMES), size, commit_rows=3)
    assert other.ledger().equals(reference.ledger())
    assert np.array_equal(other.spectra(slice(None))[0], reference.spectra(slice(None))[0])
    assert other.digest() == reference.digest()


@pytest.mark.parametrize("stop_after", [0, 1, 3, 5])
def test_a_run_cut_short_is_finished_by_the_next(store, tmp_path, stop_after):
    undisturbed = create_store(
        str(tmp_path / "other"), freeze([power_law()], np.array([5.0]), GRID_CONFIG, NORM)
    )
    undisturbed = ingest(undisturbed, Fake(NAMES), 7)
    store = ingest(store, Fake(NAMES), 7, stop_after=stop_after)
    store = ingest(store, Fake(NAMES), 7)
    assert store.ledger().equals(undisturbed.ledger())
    assert sorted(store.quarantine()["object_id"].to_pylist()) == sorted(
        undisturbed.quarantine()["object_id"].to_pylist()
    )


def test_a_bad_position_is_a_reason_not_an_end(store):
    archive = Fake(("good00", "good01"))
    listing = archive.list().to_pylist()
    listing[0]["ra"] = float("nan")
    batch = entries(pa.Table.from_pylist(listing, schema=LISTING))
    loaded = load(archive, batch, GRID, NORM, -2.0)
    assert loaded.batch.object_id == ["good01"]
    assert [row.reason for row in loaded.rejected] == [Reason.BAD_POSITION]


def test_the_newest_version_of_a_spectrum_stands(store):
    store = ingest(store, Fake(("good00", "good01")), 7)
    store = ingest(store, Fake(("good00", "good01"), versions={"good00": "v2"}), 7)
    assert store.ledger(["object_id"])["object_id"].to_pylist() == ["good00", "good01", "good00"]
    assert store.standing().tolist() == [1, 2]
    store = ingest(store, Fake(("good00", "good01")), 7)
    assert store.ledger(["version"])["version"].to_pylist() == ["v1", "v1", "v2", "v1"]
    assert store.standing().tolist() == [1, 3], "a version that comes back stands again"
    assert len(missing(Fake(("good00", "good01")).list(), store)) == 0


def test_a_key_listed_twice_is_taken_once():
    listing = pa.concat_tables([Fake(("a", "b")).list(), Fake(("a",), {"a": "v2"}).list()])
    assert missing(listing, None)["object_id"].to_pylist() == ["a", "b"]


def test_a_pilot_is_spread_over_the_listing():
    listing = Fake(tuple(f"good{i:04d}" for i in range(1000))).list()
    chosen = [entry.object_id for entry in pilot(listing)]
    assert (len(chosen), chosen[0], chosen[-1]) == (256, "good0000", "good0999")
    assert len(pilot(listing.slice(0, 3))) == 3


def test_concatenated_batches_keep_their_rows():
    parts = [
        load(Fake(), [Entry(n, "v1", n, 10.0, 2.0, 5.0) for n in names], GRID, NORM, -2.0).batch
        for names in ("ab", "c")
    ]
    whole = concatenate(parts)
    assert whole.object_id == ["a", "b", "c"]
    assert whole.flux.shape == (3, 32)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"ingest\."):
        IngestConfig(batch_size=0)


def test_a_store_keeps_the_settings_it_was_made_with(store):
    check_settings(store.frozen, GRID_CONFIG, NORM)
    with pytest.raises(ValueError, match=r"grid\.n_pixels is 32, not 64.*another --root"):
        check_settings(store.frozen, replace(GRID_CONFIG, n_pixels=64), NORM)
    with pytest.raises(ValueError, match=r"norm\.min_snr is 1.0, not 3.0"):
        check_settings(store.frozen, GRID_CONFIG, replace(NORM, min_snr=3.0))
