"""Tables of redshifts for files of spectra: ``file, z`` and perhaps ``ra, dec, source``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from distspec.archives.catalogs import read_catalog
from distspec.archives.table_files import FileSummary
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.io.catalog_table import CatalogTable
from distspec.io.remote.config import AccessConfig

FILE_COLUMNS = ("file", "object_id", "filename", "file_name", "name", "id")
"""Accepted names of the column that names the file or the spectrum, the preferred one first."""
REDSHIFT_COLUMNS = ("z", "z_best", "z_spec", "zfit")
"""Accepted names of the column of redshifts, in any case, besides ``redshift``."""
POSITION_COLUMNS = (("ra", "raj2000", "ra_deg"), ("dec", "decl", "dej2000", "dec_deg"))
"""Accepted names of the columns of right ascension and declination."""


@dataclass(frozen=True, slots=True)
class RedshiftRow:
    """What a table says of a spectrum.

    Attributes
    ----------
    z : float
        Redshift, NaN if it is missing.
    ra, dec : float
        Position [deg, ICRS], NaN if it is missing.
    source : str
        Identifier of the source on the sky, "" if there is none.
    """

    z: float = math.nan
    ra: float = math.nan
    dec: float = math.nan
    source: str = ""


class RedshiftTable:
    """Redshifts and positions by the name of a file or of a spectrum in it.

    Parameters
    ----------
    table : CatalogTable
        The table.
    with_positions : bool
        Whether positions and sources are read as well, so that a malformed one is a problem of its row.
    requires_files : bool
        Whether the table must have a column that names the file or the spectrum.

    Attributes
    ----------
    files : list of str
        The column that names the file or the spectrum; "" in all rows of a table without one.

    Raises
    ------
    ArchiveError
        If columns are missing, or several could be the redshift.
    """

    def __init__(
        self, table: CatalogTable, with_positions: bool = True, requires_files: bool = False
    ) -> None:
        self._table = table
        file_column = table.find_column(*FILE_COLUMNS)
        self.files = table.text(file_column) if file_column else [""] * len(table)
        self._z = table.numbers(_find_redshift_column(table, requires_files)).tolist()
        self._ra = self._dec = [math.nan] * len(table)
        self._sources = ids = [""] * len(table)
        if with_positions:
            ra, dec = (table.find_column(*names) for names in POSITION_COLUMNS)
            if ra and dec:
                self._ra = table.degrees(ra, is_right_ascension=True).tolist()
                self._dec = table.degrees(dec, is_right_ascension=False).tolist()
            if source := table.find_column("source", "source_id"):
                self._sources = table.identifiers(source)
            if (spectrum := table.find_column("object_id", "id")) and spectrum != file_column:
                ids = table.identifiers(spectrum)
        self._used: set[int] = set()
        self._rows: dict[str, list[int]] = {}
        for row, (file, number) in enumerate(zip(self.files, ids, strict=True)):
            name = file.rpartition("/")[2]
            for key in {name, f"{name}#{number}" if name and number else ""} - {""}:
                self._rows.setdefault(key, []).append(row)

    @classmethod
    def read(cls, url: str, access: AccessConfig) -> RedshiftTable:
        """Read a table.

        Parameters
        ----------
        url : str
            Path or URL of a table in CSV, ECSV, FITS, VOTable or Parquet.
        access : AccessConfig
            Credentials, limits and timeouts.
        """
        return cls(read_catalog(url, access))

    def __len__(self) -> int:
        return len(self.files)

    def find(self, names: Sequence[str], path: str) -> RedshiftRow | None:
        """Return what the table says of a spectrum.

        Parameters
        ----------
        names : sequence of str
            Names under which the table may have it, the preferred one first.
        path : str
            Path of its file. If several rows have a name, those whose folder is also that of the file count.

        Returns
        -------
        RedshiftRow or None
            None if no row has one of the names.

        Raises
        ------
        InvalidSpectrumError
            ``bad_row`` if a row is malformed, ``ambiguous`` if several rows have different redshifts.
        """
        rows = next((self._rows[name] for name in names if name in self._rows), [])
        in_folder = [row for row in rows if f"/{path}".endswith(f"/{_relative_path(self.files[row])}")]
        longest = max((self.files[row].count("/") for row in in_folder), default=0)
        return self.get([row for row in in_folder if self.files[row].count("/") == longest] or rows, path)

    def get(self, rows: Sequence[int], path: str) -> RedshiftRow | None:
        """Return what rows of the table say of one spectrum; see `find`.

        Parameters
        ----------
        rows : sequence of int
            Numbers of the rows.
        path : str
            Path of its file, for messages.
        """
        if not rows:
            return None
        self._used.update(rows)
        url = self._table.url
        for row in rows:
            if row in self._table.problems:
                raise InvalidSpectrumError(QuarantineReason.BAD_ROW, f"{url}, {self._table.problems[row]}")
        found = sorted({self._z[row] for row in rows if math.isfinite(self._z[row])})
        if len(found) > 1:
            detail = f"{url} has the redshifts {', '.join(map(str, found))} for {path}"
            raise InvalidSpectrumError(QuarantineReason.AMBIGUOUS, detail)
        first = next((row for row in rows if math.isfinite(self._ra[row] + self._dec[row])), rows[0])
        source = next((self._sources[row] for row in rows if self._sources[row]), "")
        return RedshiftRow(found[0] if found else math.nan, self._ra[first], self._dec[first], source)

    def list_unused(self) -> list[str]:
        """Return the files that the table names and that no spectrum was found in so far, in its order."""
        unused = (file for row, file in enumerate(self.files) if file and row not in self._used)
        return list(dict.fromkeys(unused))


class RowFinder:
    """Finds the row of a table of redshifts for each spectrum.

    A table without names of files has the rows of the only file with as many spectra, in its order.

    Parameters
    ----------
    base : str
        URL of the folder of all files.
    table : RedshiftTable or None
        The table, None if there is none.
    files : sequence of FileSummary or InvalidSpectrumError
        All files.

    Raises
    ------
    ArchiveError
        If the table has no names, and not exactly one file has as many spectra as it has rows.
    """

    def __init__(
        self,
        base: str,
        table: RedshiftTable | None,
        files: Sequence[FileSummary | InvalidSpectrumError],
    ) -> None:
        self._base, self._table = base, table
        self._by_order = table is not None and not any(table.files)
        if table is None or not self._by_order:
            return
        n_matching = sum(isinstance(file, FileSummary) and len(file) == len(table) for file in files)
        if n_matching != 1:
            raise ArchiveError(
                f"--archive.catalog has {len(table):,} rows, no column file, and {n_matching} files have as "
                "many spectra: add a column with the names of the files"
            )

    def find(self, url: str, number: int, object_id: str, file: FileSummary) -> RedshiftRow | None:
        """Return the row of a spectrum.

        Parameters
        ----------
        url : str
            Its file.
        number : int
            Its position in the file, from 0.
        object_id : str
            Its identifier in the listing, which the table may use.
        file : FileSummary
            Content of the file.

        Returns
        -------
        RedshiftRow or None
            None if there is none.

        Raises
        ------
        InvalidSpectrumError
            See `RedshiftTable.find`.
        """
        if self._table is None:
            return None
        path = url.removeprefix(f"{self._base}/")
        if self._by_order:
            return self._table.get([number], path) if len(file) == len(self._table) else None
        name = path.rpartition("/")[2]
        stems = [name[: end.start()] for end in re.finditer(r"\.", name) if end.start()][::-1]
        in_file: list[str] = []
        if len(file) > 1:
            own = file.ids[number]
            labels = dict.fromkeys((own, str(number + 1)))
            in_file = [f"{stem}#{label}" for stem in (name, *stems) for label in labels]
            in_file += [object_id, own]
        return self._table.find([*in_file, name, *stems], path)


def _find_redshift_column(table: CatalogTable, requires_files: bool) -> str:
    """Return the name of the redshift column; ``redshift`` is used whatever the others are called."""
    found = [name for name in table.column_names if name.lower() in REDSHIFT_COLUMNS]
    if len(found) > 1 and not table.find_column("redshift"):
        raise ArchiveError(
            f"{table.url} has several columns that could be the redshift: {', '.join(found)}; "
            "keep one of them, or rename it to 'redshift'"
        )
    required = {"file": FILE_COLUMNS} if requires_files else {}
    return table.require_columns({**required, "z": ("redshift", *REDSHIFT_COLUMNS)})["z"]


def _relative_path(file: str) -> str:
    return file.removeprefix("./").lstrip("/")
