"""An archive in memory, for tests of ingest without files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Spectrum
from distspec.ingest.commit import Committer, LocalWriter
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import load_batch
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.store.store import Store
from tests.conftest import power_law

NORM = NormConfig()
GRID_CONFIG = GridConfig(n_pixels=32)
GRID = GRID_CONFIG.resolve(np.array([5.0]))
BASE = make_absolute_url("mem")


@dataclass(frozen=True)
class Fake:
    """An archive in memory: "bad" ones cannot be read, "dark" ones have no flux, "away" ones may be back."""

    names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    back: bool = False
    spectral_features: ClassVar[Mapping[str, float]] = {}
    name: ClassVar[str] = "fake"
    spectrum_bytes: ClassVar[int] = 1000
    url: ClassVar[str] = "mem"

    def list_spectra(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        names = sorted(self.names)
        row = {"source_key": "", "root": "r", "srcid": "1", "grating": "PRISM", "filter": "CLEAR", "grade": 3}
        rows = [
            row
            | {"object_id": name, "version": self.versions.get(name, "v1"), "uri": f"{BASE}/{name}"}
            | {"ra": float(hash_of(name)), "dec": 0.0, "z": 5.0}
            for name in names
        ]
        return pa.Table.from_pylist(rows, schema=LISTING_SCHEMA)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        if entry.object_id.startswith("bad"):
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, "no SIMPLE card")
        if entry.object_id.startswith("away") and not self.back:
            raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, "status 503")
        spectrum = power_law(entry.object_id, z=entry.z)
        if entry.object_id.startswith("dark"):
            return Spectrum(
                spectrum.object_id, spectrum.wave, -spectrum.flux, spectrum.ivar, spectrum.unit, 5.0
            )
        return spectrum

    def read_truth(self) -> pa.Table | None:
        return None


def hash_of(name: str) -> int:
    return sum(ord(letter) * (i + 1) for i, letter in enumerate(name)) % 360


NAMES = tuple(f"{kind}{i:02d}" for i in range(12) for kind in ("good", "bad", "dark"))


def ingest(
    store: Store,
    archive: Fake,
    size: int,
    stop_after: int | None = None,
    commit_rows: int = 5,
    retry: bool = False,
) -> Store:
    """The whole of ingest without Ray; stops without a last commit after some batches."""
    todo = compare_listing(archive.list_spectra(), store, retry)
    committer = Committer(store, commit_rows, LocalWriter())
    for i, start in enumerate(range(0, len(todo.to_read), size)):
        if i == stop_after:
            return committer.store
        committer.add(load_batch(archive, DEFAULT_ACCESS, todo.to_read.slice(start, size), GRID, NORM, -2.0))
    committer.finish(todo)
    return committer.store
