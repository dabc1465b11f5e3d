"""An archive in a bucket that grows with each run; some of its files are bad, or appear later."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SimulationConfig
from tests.helpers.seaweed import S3

N_FIRST, N_PER_RUN = 75, 25
"""Number of spectra listed before the first run, and added before every later run."""
BAD_FRACTION = 0.05
"""Fraction of the files that are empty, truncated or missing."""
DEFECTS = ("empty", "truncated", "missing")
RECOVERY_INTERVAL = 10
"""Number of runs after which the oldest missing file appears."""


@dataclass
class Archive:
    """Files that are created once, and a catalog that lists more of them in every run.

    Parameters
    ----------
    server : S3
        Where the archive is.
    files : mapping
        Content of each file, by name.
    header : str
        First line of the catalog.
    rows : list of str
        Lines of the catalog, in the order in which they are added.
    defects : mapping
        Defect of each bad file, by name.
    n_listed : int, optional
        Number of rows in the catalog.
    """

    server: S3
    files: dict[str, bytes]
    header: str
    rows: list[str]
    defects: dict[str, str]
    n_listed: int = 0

    flags: ClassVar[tuple[str, ...]] = ("--archive.grades", "3", "2", "1", "0", "--archive.z-min", "0")

    @classmethod
    def create(cls, server: S3, n_runs: int, seed: int) -> Archive:
        """Create the files for some runs, without uploading them."""
        n = N_FIRST + N_PER_RUN * (n_runs - 1)
        config = SimulationConfig(n_spectra=n, seed=seed, write_2d_spectra=False)
        with tempfile.TemporaryDirectory() as folder:
            write_spectra(config, folder, 0, n)
            write_catalog_and_truth(config, folder)
            files = {path.name: path.read_bytes() for path in Path(folder).glob("*.fits")}
            header, *rows = Path(folder, "catalog.csv").read_text().splitlines()
        rng = np.random.default_rng(seed)
        rng.shuffle(rows)
        names = [get_file_name(row) for row in rows]
        bad = rng.choice(n, round(BAD_FRACTION * n), replace=False)
        defects = {names[i]: DEFECTS[k % len(DEFECTS)] for k, i in enumerate(bad.tolist())}
        return cls(server, files, header, rows, defects)

    def grow(self, run: int) -> int:
        """Upload the new files and the catalog of run 0, 1, …; return the number of listed spectra."""
        n_before, self.n_listed = self.n_listed, N_FIRST + N_PER_RUN * run
        for row in self.rows[n_before : self.n_listed]:
            self._upload(get_file_name(row))
        if run and run % RECOVERY_INTERVAL == 0:
            self._upload_oldest_missing(n_before)
        self._upload_catalog(self.n_listed)
        return self.n_listed

    @contextmanager
    def short_catalog(self) -> Generator[None]:
        """Serve a catalog without its second half within the block."""
        self._upload_catalog(self.n_listed // 2)
        try:
            yield
        finally:
            self._upload_catalog(self.n_listed)

    @contextmanager
    def without(self, names: Sequence[str]) -> Generator[None]:
        """Remove some files within the block."""
        for name in names:
            self.server.client.delete_object(Bucket=S3.bucket, Key=self.server.key(f"archive/{name}"))
        try:
            yield
        finally:
            for name in names:
                self._upload(name)

    def _upload(self, name: str) -> None:
        content, defect = self.files[name], self.defects.get(name)
        if defect != "missing":
            lengths = {"empty": 0, "truncated": len(content) // 3}
            self.server.put(f"archive/{name}", content[: lengths.get(defect or "", len(content))])

    def _upload_catalog(self, n_rows: int) -> None:
        catalog = "\n".join([self.header, *self.rows[:n_rows], ""])
        self.server.put("archive/catalog.csv", catalog.encode())

    def _upload_oldest_missing(self, n_before: int) -> None:
        names = [get_file_name(row) for row in self.rows[:n_before]]
        for name in [name for name in names if self.defects.get(name) == "missing"][:1]:
            self.server.put(f"archive/{name}", self.files[name])
            del self.defects[name]

    def arguments(self) -> list[str]:
        """Return the command-line arguments that select the archive."""
        url = self.server.url("archive")
        return ["--archive.url", url, "--archive.catalog", f"{url}/catalog.csv", *self.flags]


def get_file_name(row: str) -> str:
    """Return the name of the file in a row of the catalog."""
    return row.split(",")[0].strip('"')
