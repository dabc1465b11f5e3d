"""Simulated archives of any size, new roots and a local Ray, for benchmarks that ingest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry
from distspec.archives.dja import DJA
from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SimulationConfig
from distspec.core.arrow import pc
from distspec.core.listing import Listing
from distspec.core.spectrum import Spectrum
from distspec.ingest.commit import Committer
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import listing_to_entries, load_batch, read_archive_spectra
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import make_store_config, select_pilot_sample
from distspec.io.paths import store_url
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.store.store import Store, create_store
from tests.helpers.local_writer import LocalWriter

SOURCES_PER_ROW = 1000
"""Sources per row of the lattice of positions, whose spacing is a hundred times the join radius."""


@dataclass(frozen=True)
class RepeatedArchive(Archive):
    """An archive of many spectra, each of its own source, that share the files of a small archive in turn.

    Attributes
    ----------
    small_archive : DJA
        Archive with the files.
    n_spectra : int
        Number of spectra to list.
    """

    small_archive: DJA
    n_spectra: int

    name: ClassVar[str] = DJA.name
    spectral_features: ClassVar[Mapping[str, float]] = DJA.spectral_features
    spectrum_bytes: ClassVar[int] = DJA.spectrum_bytes

    @property
    def url(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.small_archive.url

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        number = np.arange(self.n_spectra)
        table = self.small_archive.list_spectra(access)
        rows = pa.array(number % len(table))
        replaced = {
            "object_id": pc.utf8_lpad(pa.array(number).cast(pa.string()), 7, "0"),
            "ra": pa.array(150.0 + (number % SOURCES_PER_ROW) * 0.02),
            "dec": pa.array((number // SOURCES_PER_ROW) * 0.02),
        }
        columns: list[Any] = [
            replaced[name] if name in replaced else table[name].take(rows) for name in LISTING_SCHEMA.names
        ]
        return Listing(pa.table(columns, schema=LISTING_SCHEMA))

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        return await self.small_archive.read(entry, file)


@contextmanager
def simulated_files(n_files: int, write_2d_spectra: bool = False, url: str = "") -> Generator[DJA]:
    """Write the files of a simulated archive to a temporary folder, or to a URL.

    Parameters
    ----------
    n_files : int
        Number of files.
    write_2d_spectra : bool
        Whether files hold two-dimensional spectra, as real ones do: 285 kB instead of 43 kB.
    url : str
        Folder or bucket; "" for a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        target = url or folder
        config = SimulationConfig(n_spectra=n_files, write_2d_spectra=write_2d_spectra)
        write_spectra(config, target, 0, n_files)
        write_catalog_and_truth(config, target)
        yield DJA(catalog=f"{target}/catalog.csv", url=target)


def ingest_without_ray(root: str, source: ArchiveSource) -> Store:
    """Ingest an archive into a new store as the stage does, in one process."""
    archive, access, norm, config = source.archive, source.access, source.norm, source.config
    diff = compare_listing(archive.list_spectra(access), None)
    entries = listing_to_entries(select_pilot_sample(diff.to_read))
    outcomes = read_archive_spectra(archive, access, entries)
    pilot_sample = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    z = diff.to_read["z"].to_numpy()
    store_config = make_store_config(pilot_sample, z, source)
    committer = Committer(create_store(store_url(root), store_config), config.commit_rows, LocalWriter())
    size = config.batch_size(archive)
    for start in range(0, len(diff.to_read), size):
        batch = diff.to_read.slice(start, size)
        committer.add(load_batch(archive, access, batch, store_config.grid, norm, store_config.default_slope))
    committer.finish(diff)
    return committer.store


@contextmanager
def local_ray(cpus: int = 1) -> Generator[None]:
    """Run a local Ray with so many CPUs; the path of its folder is short, because sockets are in it."""
    with (
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_session(RayConfig(address="local", num_cpus=cpus, temp_dir=folder)),
    ):
        yield


@contextmanager
def new_roots() -> Generator[Callable[[], str]]:
    """Yield a function that returns the path of another new root at every call."""
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        numbers = count()
        yield lambda: str(Path(folder) / str(next(numbers)))
