"""Archives in the DJA's files and catalogue, made small: what the tests of growth ingest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from distspec.archives.catalogs import make_absolute_url
from distspec.archives.dja import DJA
from distspec.archives.simulated.archive import _to_fits
from distspec.archives.simulated.nirspec import N_PIXELS, WAVE, ObservedSpectrum
from distspec.archives.simulated.survey import SyntheticConfig, plan_survey
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig

GRID = GridConfig(n_pixels=48)
ALL = {"grades": (-1, 0, 1, 2, 3), "z_min": -1.0}


def write_files(folder: Path, n: int) -> list[str]:
    """Write SPEC1D files of clean power laws, no two alike, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for i, row in enumerate(plan_survey(SyntheticConfig(n_spectra=n)).to_pylist()):
        rng = np.random.default_rng(i)
        flux = WAVE ** rng.normal(0.0, 0.5) * (1.0 + 0.05 * rng.normal(size=N_PIXELS))
        (folder / row["file"]).write_bytes(
            _to_fits(row, ObservedSpectrum(flux, np.full(N_PIXELS, 0.05)), False, rng)
        )
        names.append(row["file"])
    return names


@dataclass(frozen=True)
class Pooled(DJA):
    """The DJA, any catalogue of it, whose rows share a pool of files."""

    pool: tuple[str, ...] = ()

    def _uris(self, table: pa.Table, access: AccessConfig) -> pa.Array:
        base, n = make_absolute_url(self.url), len(self.pool)
        digests = [blake2b(name.encode(), digest_size=4).digest() for name in table["object_id"].to_pylist()]
        return pa.array([f"{base}/{self.pool[int.from_bytes(d) % n]}" for d in digests], pa.string())


@dataclass
class Growing:
    """A folder of files, and its catalogue, of which one says what it holds now."""

    folder: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, n: int) -> Growing:
        names = write_files(folder, n)
        plans = plan_survey(SyntheticConfig(n_spectra=n)).to_pylist()
        here = {"grating": "PRISM", "filter": "CLEAR", "ctime": "2025-01-01", "version": "1", "grade": 3}
        here["z_best"] = 5.0
        rows = {
            name: {"file": name, **here, "root": row["root"], "ra": row["ra"], "dec": row["dec"]}
            for name, row in zip(names, plans, strict=True)
        }
        return cls(folder, rows)

    def offer(self, names: Sequence[str], changed: Mapping[str, Mapping[str, Any]] | None = None) -> DJA:
        """Write the catalogue: these files, some of them changed; and return the archive."""
        changes = changed or {}
        rows = [{**self.rows[name], **changes.get(name, {})} for name in names]
        csv.write_csv(pa.Table.from_pylist(rows), self.folder / "catalog.csv")
        return DJA(str(self.folder / "catalog.csv"), str(self.folder), **ALL)


def source_of(archive: Any, **config: Any) -> ArchiveSource:
    """Return how the tests read an archive: small tasks and commits, so that there are several."""
    norm = NormConfig(windows=(*NormConfig().windows, (5500.0, 8000.0)))
    return ArchiveSource(archive, grid=GRID, norm=norm, config=IngestConfig(**config))


def files_of(root: str) -> dict[str, tuple[int, int]]:
    """Return every file below a root with its time and its size."""
    paths = [path for path in Path(root).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
