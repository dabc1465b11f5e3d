"""A synthetic archive on local disk, for the benchmarks that read files."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from distspec.archives.dja import DJA
from distspec.archives.synthetic import SyntheticConfig, write_shard, write_tables


@contextmanager
def written(n_files: int, images: bool = False) -> Generator[DJA]:
    """Write `n_files`, of 43 kB or, with the two-dimensional spectra that real ones have, 285 kB."""
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        config = SyntheticConfig(n_spectra=n_files, images=images)
        write_shard(config, folder, 0, n_files)
        write_tables(config, folder)
        yield DJA(catalog=str(Path(folder) / "catalog.csv"), url=folder)
