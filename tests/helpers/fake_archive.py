"""An archive in memory, and ingest of it without Ray and without files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.listing import Listing
from distspec.core.spectrum import Spectrum
from distspec.ingest.commit import Committer
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import load_batch
from distspec.ingest.source import ArchiveSource
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.store.store import Store
from tests.conftest import power_law
from tests.helpers.local_writer import LocalWriter

NORM = NormConfig()
GRID_CONFIG = GridConfig(n_pixels=32)
GRID = GRID_CONFIG.resolve(np.array([5.0]))
BASE_URL = make_absolute_url("mem")


@dataclass(frozen=True)
class FakeArchive(Archive):
    """Archive in memory; the names of spectra select defects.

    Names that begin with "bad" are unreadable, those with "dark" have no positive flux, and those with "away"
    are unreachable unless `is_up`.
    """

    url: str = "mem"
    names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    is_up: bool = False

    name: ClassVar[str] = "fake"
    spectrum_bytes: ClassVar[int] = 1000

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        names = sorted(self.names)
        row = {"source_key": "", "root": "r", "srcid": "1", "grating": "PRISM", "filter": "CLEAR", "grade": 3}
        rows = [
            row
            | {"object_id": name, "version": self.versions.get(name, "v1"), "uri": f"{BASE_URL}/{name}"}
            | {"ra": float(right_ascension_of(name)), "dec": 0.0, "z": 5.0}
            for name in names
        ]
        return Listing(pa.Table.from_pylist(rows, schema=LISTING_SCHEMA))

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        if entry.object_id.startswith("bad"):
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, "no SIMPLE card")
        if entry.object_id.startswith("away") and not self.is_up:
            raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, "status 503")
        spectrum = power_law(entry.object_id, z=entry.z)
        if entry.object_id.startswith("dark"):
            return Spectrum(
                spectrum.object_id, spectrum.wave, -spectrum.flux, spectrum.ivar, spectrum.unit, 5.0
            )
        return spectrum


def right_ascension_of(name: str) -> int:
    """Return a right ascension [deg] that follows from a name."""
    return sum(ord(letter) * (i + 1) for i, letter in enumerate(name)) % 360


NAMES = tuple(f"{kind}{i:02d}" for i in range(12) for kind in ("good", "bad", "dark"))


SOURCE = ArchiveSource(FakeArchive(names=NAMES), grid=GRID_CONFIG, norm=NORM)


def fake(*names: str, **options: object) -> FakeArchive:
    """Return an archive with some names."""
    return FakeArchive(names=names, **options)  # pyright: ignore


def ingest(
    store: Store,
    archive: FakeArchive,
    batch_size: int,
    stop_after: int | None = None,
    commit_rows: int = 5,
    retry_transient: bool = False,
) -> Store:
    """Ingest without Ray; with `stop_after`, end without the last commit after that many batches."""
    diff = compare_listing(archive.list_spectra(), store, retry_transient)
    committer = Committer(store, commit_rows, LocalWriter())
    for i, start in enumerate(range(0, len(diff.to_read), batch_size)):
        if i == stop_after:
            return committer.store
        rows = diff.to_read.slice(start, batch_size)
        committer.add(load_batch(archive, DEFAULT_ACCESS, rows, GRID, NORM, -2.0))
    committer.finish(diff)
    return committer.store
