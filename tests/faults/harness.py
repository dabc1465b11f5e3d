"""Ingest without Ray, of folders with real and damaged files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from distspec.core.errors import QuarantineReason
from distspec.ingest.commit import Committer
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import load_batch
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import preprocessing_to_json
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store, open_store, store_exists
from tests.faults.samples import sample
from tests.helpers.local_writer import LocalWriter

BATCH = 3
"""Spectra that are read together: a damaged file shares its batch with others, and more batches follow."""

GALAXIES = (GridConfig(n_pixels=320), NormConfig())
FIBRES = (
    GridConfig(start=1200.0, stop=9000.0, n_pixels=320),
    NormConfig(reference_wave=4200.0, windows=((4150.0, 4250.0), (5450.0, 5550.0), (1680.0, 1840.0))),
)
DWARFS = (
    GridConfig(start=6600.0, stop=25400.0, n_pixels=256),
    NormConfig(reference_wave=12800.0, windows=((12600.0, 13000.0), (15800.0, 16200.0)), fallback_slope=0.0),
)
SCHEMES: Mapping[str, tuple[GridConfig, NormConfig]] = {
    "dja": GALAXIES,
    "jades": GALAXIES,
    "sdss": FIBRES,
    "desi": FIBRES,
    "spex": DWARFS,
}
"""Grid and normalization by archive name."""


def ingest(
    url: str, archive: Any, access: AccessConfig = DEFAULT_ACCESS, retry: bool = False, commit_rows: int = 8
) -> Store:
    """Do what `distspec.stages.ingest.ingest` does, in this process and on a fixed grid."""
    grid, norm = SCHEMES[archive.name]
    if not store_exists(url):
        frozen = (
            grid.resolve(np.array([0.0])),
            norm.reference_wave,
            norm.fallback_slope,
            preprocessing_to_json(ArchiveSource(archive, grid=grid, norm=norm)),
        )
        create_store(url, StoreConfig(*frozen, archive_name=archive.name))
    store = open_store(url)
    found = compare_listing(archive.list_spectra(access), store, retry)
    committer = Committer(store, commit_rows, LocalWriter())
    for start in range(0, len(found.to_read), BATCH):
        rows = found.to_read.slice(start, BATCH)
        committer.add(load_batch(archive, access, rows, store.config.grid, norm, store.config.default_slope))
    committer.finish(found)
    return open_store(url)


@dataclass(frozen=True, eq=False)
class Row:
    """A current row of a store, without its URL and its commit."""

    ledger: Mapping[str, Any]
    flux: Any
    ivar: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, bytes, bytes]:
        return repr(sorted(self.ledger.items())), self.flux.tobytes(), self.ivar.tobytes()


def current_rows(store: Store) -> dict[str, Row]:
    """Return the current rows by object_id."""
    rows = store.current_rows()
    ledger = store.ledger().take(pa.array(rows)).drop_columns(["uri", "ingest_commit"]).to_pylist()
    flux, ivar = store.read_spectra(rows)
    return {row["object_id"]: Row(row, flux[i], ivar[i]) for i, row in enumerate(ledger)}


def quarantine(store: Store) -> dict[str, dict[str, str]]:
    """Return the quarantine by object_id."""
    return {row["object_id"]: row for row in store.read_quarantine().to_pylist()}


@cache
def clean(kind: str) -> dict[str, Row]:
    """Return the rows of an archive's undamaged sample."""
    with tempfile.TemporaryDirectory() as folder:
        archive = sample(kind).write(Path(folder) / "archive")
        store = ingest(f"{folder}/store", archive)
        assert not quarantine(store)
        return current_rows(store)


def assert_only(
    store: Store,
    expected: Mapping[str, Row],
    object_id: str,
    reason: QuarantineReason,
    detail: str,
    uri: str = "",
) -> None:
    """Assert that one object is quarantined with its reason, and all other rows are as expected."""
    assert current_rows(store) == {key: row for key, row in expected.items() if key != object_id}
    entries = quarantine(store)
    assert set(entries) == {object_id}
    entry = entries[object_id]
    assert entry["reason"] == str(reason), entry["detail"]
    assert re.search(detail, entry["detail"]), entry["detail"]
    assert entry["uri"].partition("#")[0].endswith(uri or object_id), entry["uri"]


class Case(NamedTuple):
    """A fault of one file and its expected result: a quarantine reason, or without one the undamaged row."""

    number: int
    name: str
    kind: str
    damage: Callable[[bytes], bytes | None]
    reason: QuarantineReason | None = None
    detail: str = ""
    compare: Callable[[Row, Row], None] | None = None
    """Compares the resulting row with that of the undamaged file, if they are not equal."""
    row: Mapping[str, Any] = {}
    """Catalog values that differ from those of the undamaged file."""

    def __str__(self) -> str:
        return f"{self.number:03d}-{self.name}-{self.kind}"

    @property
    def file(self) -> str:
        """Name of the damaged file."""
        return {
            "dja": f"{self}_prism-clear_1_{self.number}.spec.fits",
            "jades": f"{self}_1D.fits",
            "sdss": f"spec-{self}.fits",
            "desi": f"coadd-{self}.fits",
            "spex": f"{self}.fits.gz",
        }[self.kind]

    @property
    def object_id(self) -> str:
        """Key of the spectrum in the archive."""
        if self.kind == "desi":
            return f"{self}-39089837499744649"
        return sample(self.kind).id_of(self.file)


class Outcomes:
    """Results of cases; all cases of an archive are ingested together, among undamaged files."""

    def __init__(self, cases: Sequence[Case], folder: Path, access: AccessConfig = DEFAULT_ACCESS) -> None:
        self._cases, self._folder, self._access = cases, folder, access
        self._outcomes: dict[str, tuple[dict[str, Row], dict[str, dict[str, str]]]] = {}

    def check(self, case: Case) -> None:
        """Assert that a case has the expected result."""
        rows, refused = self._of(case.kind)
        if case.reason is not None:
            assert case.object_id not in rows
            entry = refused[case.object_id]
            assert entry["reason"] == str(case.reason), entry["detail"]
            assert re.search(case.detail, entry["detail"]), entry["detail"]
            assert entry["uri"].partition("#")[0].endswith(case.file)
        else:
            assert case.object_id not in refused, refused[case.object_id]["detail"]
            (case.compare or assert_same)(rows[case.object_id], undamaged(case.kind))

    def row(self, case: Case) -> Row:
        """Return the row of a case."""
        return self._of(case.kind)[0][case.object_id]

    def check_other_files(self, kind: str) -> None:
        """Assert that every spectrum has one result, and undamaged ones the same as alone."""
        rows, refused = self._of(kind)
        cases = [case for case in self._cases if case.kind == kind]
        assert set(refused) == {case.object_id for case in cases if case.reason is not None}
        good = {case.object_id for case in cases if case.reason is None}
        assert {key: row for key, row in rows.items() if key not in good} == clean(kind)

    def _of(self, kind: str) -> tuple[dict[str, Row], dict[str, dict[str, str]]]:
        if kind not in self._outcomes:
            files = sample(kind)
            original = files.contents[files.victim]
            changed: dict[str, bytes | None] = {}
            rows = list(files.rows)
            key = {"spex": "DATA_FILE"}.get(kind, "file")
            victim = next((row for row in rows if row[key] == files.victim), {})
            for case in self._cases:
                if case.kind == kind:
                    changed[case.file] = case.damage(original)
                    assert changed[case.file] != original or case.row, f"{case} changes nothing"
                    rows += [{**victim, key: case.file, **case.row}] if victim else []
                    if kind == "desi":
                        redrock = files.contents[files.victim.replace("coadd", "redrock")]
                        changed[case.file.replace("coadd", "redrock")] = redrock
            archive = files.write(self._folder / kind / "archive", changed, rows)
            store = ingest(str(self._folder / kind / "store"), archive, self._access)
            self._outcomes[kind] = current_rows(store), quarantine(store)
            assert compare_listing(archive.list_spectra(self._access), store).is_empty
        return self._outcomes[kind]


def undamaged(kind: str) -> Row:
    """Return the row of the file that is damaged, before it is damaged."""
    stem = sample(kind).victim.partition(".")[0].removeprefix("coadd-")
    return next(row for key, row in clean(kind).items() if stem in key)


NAMES = {"object_id", "version", "root", "srcid"}


def assert_same(row: Row, other: Row) -> None:
    """Assert that two rows are equal except for the names of their files."""
    ours, theirs = ({k: v for k, v in item.ledger.items() if k not in NAMES} for item in (row, other))
    assert repr(ours) == repr(theirs)  # NaN is NaN
    assert np.array_equal(row.flux, other.flux)
    assert np.array_equal(row.ivar, other.ivar)


def assert_close(row: Row, other: Row) -> None:
    """Assert that two rows are equal up to rounding."""
    assert np.array_equal(row.ivar > 0, other.ivar > 0)
    for ours, theirs in ((row.flux, other.flux), (row.ivar, other.ivar)):
        assert np.allclose(ours, theirs, rtol=2e-4, atol=1e-5)
    for name in ("z", "norm", "norm_err"):
        assert np.isclose(row.ledger[name], other.ledger[name], rtol=1e-4, atol=1e-7), name
