"""Small archives with the files and the catalog of the DJA, for tests of growth."""

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
from distspec.archives.simulated.nirspec import N_PIXELS, WAVE, ObservedSpectrum
from distspec.archives.simulated.spectrum_file import format_spectrum_file
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig

GRID = GridConfig(n_pixels=48)
SELECT_ALL: Mapping[str, Any] = {"grades": (-1, 0, 1, 2, 3), "z_min": -1.0}


def write_files(folder: Path, n: int) -> list[str]:
    """Write SPEC1D files of different power laws without defects, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for i, row in enumerate(plan_survey(SimulationConfig(n_spectra=n)).to_pylist()):
        rng = np.random.default_rng(i)
        flux = WAVE ** rng.normal(0.0, 0.5) * (1.0 + 0.05 * rng.normal(size=N_PIXELS))
        (folder / row["file"]).write_bytes(
            format_spectrum_file(row, ObservedSpectrum(flux, np.full(N_PIXELS, 0.05)), False, rng)
        )
        names.append(row["file"])
    return names


@dataclass(frozen=True)
class PooledArchive(DJA):
    """The DJA with any of its catalogs, whose rows share a pool of files."""

    pool: tuple[str, ...] = ()

    def _build_uris(self, table: pa.Table, access: AccessConfig) -> pa.Array:
        base_url, n = make_absolute_url(self.url), len(self.pool)
        digests = [blake2b(name.encode(), digest_size=4).digest() for name in table["object_id"].to_pylist()]
        return pa.array([f"{base_url}/{self.pool[int.from_bytes(d) % n]}" for d in digests], pa.string())


@dataclass
class GrowingArchive:
    """A folder of files, and a catalog of some of them that can be rewritten.

    Parameters
    ----------
    folder : Path
        Folder of the files and the catalog.
    rows : mapping
        Catalog row of each file, by name.
    """

    folder: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, n: int) -> GrowingArchive:
        """Write files, and no catalog yet."""
        names = write_files(folder, n)
        plans = plan_survey(SimulationConfig(n_spectra=n)).to_pylist()
        common = {"grating": "PRISM", "filter": "CLEAR", "ctime": "2025-01-01", "version": "1", "grade": 3}
        common["z_best"] = 5.0
        rows = {
            name: {"file": name, **common, "root": row["root"], "ra": row["ra"], "dec": row["dec"]}
            for name, row in zip(names, plans, strict=True)
        }
        return cls(folder, rows)

    def write_catalog(
        self, names: Sequence[str], changes: Mapping[str, Mapping[str, Any]] | None = None
    ) -> DJA:
        """Write a catalog of some files, with changed values for some of them, and return the archive."""
        rows = [{**self.rows[name], **(changes or {}).get(name, {})} for name in names]
        csv.write_csv(pa.Table.from_pylist(rows), self.folder / "catalog.csv")
        return DJA(str(self.folder / "catalog.csv"), str(self.folder), **SELECT_ALL)


def make_source(archive: Any, **config: Any) -> ArchiveSource:
    """Return a source with a coarse grid; `config` are settings of `IngestConfig`."""
    norm = NormConfig(windows=(*NormConfig().windows, (5500.0, 8000.0)))
    return ArchiveSource(archive, grid=GRID, norm=norm, config=IngestConfig(**config))


def list_file_times(root: str) -> dict[str, tuple[int, int]]:
    """Return the modification time and the size of every file below a root."""
    paths = [path for path in Path(root).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
