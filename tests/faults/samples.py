"""A few real files of every archive; simulated ones of DJA if there are no real files."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SimulationConfig
from distspec.archives.spex import SpeX
from tests.conftest import DATA, real_data


@dataclass(frozen=True)
class Sample:
    """A few files of one archive and their catalog rows."""

    kind: str
    contents: Mapping[str, bytes]
    rows: Sequence[Mapping[str, Any]] = ()
    victim: str = ""
    """The file that is damaged; it is read between others if the archive has several."""

    def write(
        self,
        folder: Path,
        changed: Mapping[str, bytes | None] | None = None,
        rows: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Any:
        """Write the files, some with changed content (None: not at all); return their archive."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**self.contents, **(changed or {})}.items():
            path = folder / name
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
                os.utime(path, ns=(0, 0))  # so that versions derived from it do not depend on the copy
        return self.archive(folder, self.rows if rows is None else rows, **options)

    def archive(self, folder: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Write the catalog and return the archive of a folder."""
        catalog = str(folder / "catalog.csv")
        if rows:
            write_csv(Path(catalog), rows)
        constructors: dict[str, Callable[[], Any]] = {
            "dja": lambda: DJA(**{"url": str(folder), "catalog": catalog, "z_min": -1.0} | options),
            "jades": lambda: JADES(**{"url": str(folder), "catalog": catalog} | options),
            "sdss": lambda: SDSS(**{"url": str(folder)} | options),
            "desi": lambda: DESI(**{"url": str(folder)} | options),
            "spex": lambda: SpeX(**{"url": str(folder), "catalog": catalog} | options),
        }
        return constructors[self.kind]()

    def id_of(self, name: str) -> str:
        """Return a file's object_id."""
        return {"sdss": name.removesuffix(".fits")}.get(self.kind, name)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV catalog."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as a Parquet catalog, which may contain any text; return its path."""
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return str(path)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV catalog."""
    with path.open() as file:
        return list(csv.DictReader(file))


@cache
def sample(kind: str) -> Sample:
    """Return the sample of an archive; skip the test if there are no files."""
    return {"dja": _dja, "jades": _jades, "sdss": _sdss, "desi": _desi, "spex": _spex}[kind]()


def _dja() -> Sample:
    if (DATA / "dja").exists():
        return _dja_of(DATA / "dja", "capers-*-v4_*.spec.fits", 5)
    with tempfile.TemporaryDirectory() as folder:
        config = SimulationConfig(
            n_spectra=8, low_grade_fraction=0.0, defect_fraction=0.0, write_2d_spectra=True
        )
        write_catalog_and_truth(config, folder)
        write_spectra(config, folder, 0, 8)
        return _dja_of(Path(folder), "*.spec.fits", 5)


def _dja_of(folder: Path, pattern: str, n: int) -> Sample:
    names = [path.name for path in sorted(folder.glob(pattern))][:n]
    rows = {row["file"]: row for row in read_csv(folder / "catalog.csv")}
    return Sample("dja", _contents(folder, names), [rows[name] for name in names], names[n // 2])


def _jades() -> Sample:
    folder = real_data("jades")
    names = [path.name for path in sorted(folder.glob("[01]*_prism_clear_v*_1D.fits"))][:5]
    rows = [{"file": name, "z": 5.0 + 0.1 * i, "ra": 53.0 + i, "dec": -27.0} for i, name in enumerate(names)]
    return Sample("jades", _contents(folder, names), rows, names[2])


def _sdss() -> Sample:
    folder = real_data("sdss")
    rows = [row for row in read_csv(folder / "labels.csv") if row["zwarning"] == "0"]
    names = sorted(row["file"] for row in rows)
    names = [*names[:2], *names[-3:]]  # of SDSS-I and of BOSS
    return Sample("sdss", _contents(folder, names), victim=names[2])


def _desi() -> Sample:
    folder = real_data("desi")
    names = [path.name for path in sorted(folder.glob("[cr]*-*.fits"))]
    return Sample("desi", _contents(folder, names), victim="coadd-special-dark-27247.fits")


def _spex() -> Sample:
    folder = real_data("spex")
    rows = read_csv(folder / "labels.csv")[:5]
    names = [row["DATA_FILE"] for row in rows]
    return Sample("spex", _contents(folder / "spectra", names), rows, names[2])


def _contents(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}
