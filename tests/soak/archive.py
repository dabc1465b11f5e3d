"""An archive in a bucket that grows by so many spectra a run, some of them bad or found later."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SyntheticConfig
from tests.helpers.seaweed import S3

FIRST, EACH = 75, 25
BAD = 0.05
"""Share of the files that are empty, cut short, or not there."""
WAYS = ("empty", "cut short", "missing")
FOUND = 10
"""Every so many runs the oldest missing file turns up."""


@dataclass
class Archive:
    """Its files, made once; which are bad; and a catalogue that lists ever more of them."""

    server: S3
    files: dict[str, bytes]
    header: str
    rows: list[str]
    bad: dict[str, str]

    flags: ClassVar[tuple[str, ...]] = ("--archive.grades", "3", "2", "1", "0", "--archive.z-min", "0")

    @classmethod
    def make(cls, server: S3, runs: int, seed: int) -> Archive:
        """Make the files of so many runs."""
        n = FIRST + EACH * (runs - 1)
        config = SyntheticConfig(n_spectra=n, seed=seed, write_2d_spectra=False)
        with tempfile.TemporaryDirectory() as folder:
            write_spectra(config, folder, 0, n)
            write_catalog_and_truth(config, folder)
            files = {path.name: path.read_bytes() for path in Path(folder).glob("*.fits")}
            header, *rows = Path(folder, "catalog.csv").read_text().splitlines()
        rng = np.random.default_rng(seed)
        rng.shuffle(rows)
        names = [name_of(row) for row in rows]
        chosen = rng.choice(n, round(BAD * n), replace=False)
        bad = {names[i]: WAYS[k % len(WAYS)] for k, i in enumerate(chosen.tolist())}
        return cls(server, files, header, rows, bad)

    def grow(self, run: int) -> int:
        """Bring the archive to what it is before a run, from 0 on; return how many spectra it lists."""
        there = 0 if run == 0 else FIRST + EACH * (run - 1)
        listed = FIRST + EACH * run
        for row in self.rows[there:listed]:
            name = name_of(row)
            content, how = self.files[name], self.bad.get(name)
            if how != "missing":
                kept = 0 if how == "empty" else len(content) // 3 if how == "cut short" else len(content)
                self.server.put(f"archive/{name}", content[:kept])
        if run and run % FOUND == 0:
            missing = [
                name_of(row) for row in self.rows[:there] if self.bad.get(name_of(row)) == "missing"
            ]
            for name in missing[:1]:
                self.server.put(f"archive/{name}", self.files[name])
                del self.bad[name]
        catalog = "\n".join([self.header, *self.rows[:listed], ""])
        self.server.put("archive/catalog.csv", catalog.encode())
        return listed

    def arguments(self) -> list[str]:
        """Return the flags that name it."""
        url = self.server.url("archive")
        return ["--archive.url", url, "--archive.catalog", f"{url}/catalog.csv", *self.flags]


def name_of(row: str) -> str:
    """Return the file that a row of the catalogue lists."""
    return row.split(",")[0].strip('"')
