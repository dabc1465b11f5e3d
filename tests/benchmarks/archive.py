"""Synthetic archives for the benchmarks that read files, and roots and a Ray for those that ingest them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distspec.archives.base import LISTING_SCHEMA, SpectrumEntry
from distspec.archives.dja import DJA
from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SyntheticConfig
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

LATTICE = 1000
"""Sources a row of the lattice, which lies a hundred times the joining radius apart."""


@dataclass(frozen=True)
class Repeated:
    """An archive of `n` spectra of as many sources whose files are those of a small archive, in turns."""

    files: DJA
    n: int

    kind: ClassVar[str] = DJA.name
    lines: ClassVar[Mapping[str, float]] = DJA.spectral_features
    spectrum_bytes: ClassVar[int] = DJA.spectrum_bytes

    @property
    def url(self) -> str:
        return self.files.url

    def list(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        number = np.arange(self.n)
        table = self.files.list_spectra(access)
        place = pa.array(number % len(table))
        own = {
            "object_id": pc.utf8_lpad(pa.array(number).cast(pa.string()), 7, "0"),
            "ra": pa.array(150.0 + (number % LATTICE) * 0.02),
            "dec": pa.array((number // LATTICE) * 0.02),
        }
        columns = [own[name] if name in own else table[name].take(place) for name in LISTING_SCHEMA.names]
        return pa.table(columns, schema=LISTING_SCHEMA)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        return await self.files.read(entry, file)

    def truth(self) -> None:
        return None


@contextmanager
def written(n_files: int, images: bool = False, url: str = "") -> Generator[DJA]:
    """Write `n_files`, of 43 kB or, with the two-dimensional spectra that real ones have, 285 kB."""
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        where = url or folder
        config = SyntheticConfig(n_spectra=n_files, write_2d_spectra=images)
        write_spectra(config, where, 0, n_files)
        write_catalog_and_truth(config, where)
        yield DJA(catalog=f"{where}/catalog.csv", url=where)


def ingest_here(root: str, source: ArchiveSource) -> Store:
    """Do what the stage does with a new store, without Ray, in one process."""
    archive, access, norm, config = source.archive, source.access, source.norm, source.config
    found = compare_listing(archive.list_spectra(access), None)
    sample = [
        s
        for s in read_archive_spectra(archive, access, listing_to_entries(select_pilot_sample(found.to_read)))
        if isinstance(s, Spectrum)
    ]
    z = found.to_read["z"].to_numpy()
    frozen = make_store_config(sample, z, source.grid, norm, config.join_radius, archive.name)
    committer = Committer(create_store(store_url(root), frozen), config.commit_rows, LocalWriter())
    size = config.batch_size(archive)
    for start in range(0, len(found.to_read), size):
        batch = found.to_read.slice(start, size)
        committer.add(load_batch(archive, access, batch, frozen.grid, norm, frozen.default_slope))
    committer.finish(found)
    return committer.store


@contextmanager
def local_ray(cpus: int = 1) -> Generator[None]:
    """A Ray of our own, in a folder with a short path for its sockets."""
    with (
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_session(RayConfig(address="local", num_cpus=cpus, temp_dir=folder)),
    ):
        yield


@contextmanager
def fresh_roots() -> Generator[Callable[[], str]]:
    """Yield what names a new root at every call."""
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        numbers = count()
        yield lambda: str(Path(folder) / str(next(numbers)))
