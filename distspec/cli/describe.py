"""The verb ``describe``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from distspec.core.errors import InvalidSpectrumError, NotFoundError
from distspec.core.text import escape_unprintable
from distspec.io.spectra import ColumnNames, ReadOptions, UnitNames, read_spectra


@dataclass(frozen=True)
class DescribeCommand:
    """Show what files of spectra are understood as, or why not."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files or folders with FITS, CSV, ECSV, other text tables, VOTable or Parquet, which may be gzipped."""
    columns: ColumnNames = field(default_factory=ColumnNames)
    """Names of columns that are not found by themselves."""
    units: UnitNames = field(default_factory=UnitNames)
    """Units that the files do not state."""
    hdu: str = ""
    """Name or number of the HDU of FITS files; empty: the one that fits."""
    error_kind: Literal["auto", "sigma", "variance", "ivar"] = "auto"
    """What the column of errors holds; auto: its name tells."""
    air: bool = False
    """Wavelengths are in air where the file does not say so, and are converted."""
    estimate_errors: bool = True
    """Estimate missing errors from the scatter of neighboring pixels; otherwise such spectra are refused."""

    def run(self) -> None:
        """Print a line for each spectrum, and how many can be read or why not."""
        options = ReadOptions(
            self.columns, self.units, self.hdu, self.error_kind, self.air, self.estimate_errors
        )
        counts: Counter[str] = Counter()
        for path in _list_files(self.files):
            for line, outcome in _describe_file(path, options):
                counts[outcome] += 1
                print(escape_unprintable(line))
        refused = "".join(f", {n} {reason}" for reason, n in sorted(counts.items()) if reason)
        print(f"{counts.total()} spectra: {counts['']} readable{refused}")


def _list_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files, and those below the folders, sorted."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise NotFoundError(f"no file or folder {', '.join(missing)}")
    below = (sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
    return [path for group in below for path in group if path.is_file()]


def _describe_file(path: Path, options: ReadOptions) -> Iterator[tuple[str, str]]:
    """Yield a line for each spectrum of a file, and the reason for which it cannot be used, "" if it can."""
    try:
        file = read_spectra(path.read_bytes(), path.name, options)
    except InvalidSpectrumError as error:
        yield f"{path}: {error}", str(error.reason)
        return
    for number, name in enumerate(file.ids()):
        label = f"{path}#{name}" if name else str(path)
        try:
            spectrum = file.read(number)
        except InvalidSpectrumError as error:
            yield f"{label}: {file.form}; {file.describe_columns()}: {error}", str(error.reason)
            continue
        z = f"z = {spectrum.z:g}" if math.isfinite(spectrum.z) else "no redshift"
        position = f"{spectrum.ra:.5f} {spectrum.dec:+.5f}" if math.isfinite(spectrum.ra) else "no position"
        yield f"{label}: {file.form}; {file.describe_columns()}; {spectrum.describe(z, position)}", ""
