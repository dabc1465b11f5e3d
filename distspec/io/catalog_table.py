"""Columns of catalogs and of tables of users: names, missing values, numbers, identifiers and positions.

The rules are those of "How tables are read" in docs/guides/growing_archives.md. A malformed cell
concerns its row only, and is noted in `CatalogTable.problems`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from astropy import units

from distspec.core.arrow import pc
from distspec.core.errors import ArchiveError, QuarantineReason, QuarantineRecord
from distspec.core.spectrum import Floats
from distspec.io.table_formats import TableContent

N_SHOWN = 12
"""Number of column names in error messages."""
_MISSING = "- -- --- ... n/a na #n/a <na> nan nat null none masked"
MISSING_VALUES = ("", *_MISSING.split())
"""Spellings of a missing value, in lower case."""
EXACT_INTEGERS = 2**53
"""Integers up to this one are exact as floating-point numbers."""
ANGLE_UNITS: Mapping[str, str] = {
    "degrees": "deg",
    "degs": "deg",
    "radian": "rad",
    "radians": "rad",
    "hour": "hourangle",
    "hours": "hourangle",
    "hr": "hourangle",
    "hrs": "hourangle",
    "h": "hourangle",
    "hourangles": "hourangle",
    "arcmins": "arcmin",
    "arcminutes": "arcmin",
    "arcsecs": "arcsec",
    "arcseconds": "arcsec",
}
"""Units of angles that astropy does not parse, or parses as a time, in lower case."""
NO_UNITS = ("", "-", "--", "---", "[-]", "none", "unitless", "dimensionless", "redshift")
"""Spellings of no unit, in lower case."""
SEXAGESIMAL_UNITS: Mapping[str, str] = {
    "h:m:s": "hourangle",
    "hh:mm:ss": "hourangle",
    "hms": "hourangle",
    "d:m:s": "deg",
    "dd:mm:ss": "deg",
    "dms": "deg",
}
"""Units of columns with sexagesimal text, in lower case without quotation marks."""
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_SEXAGESIMAL = re.compile(
    r"^[+-]?\d{1,3}(?:[:\s]\s*|\s*[hd°]\s*)\d{1,2}(?:(?:[:\s]\s*|\s*[m'′]\s*)(?:\d{1,2}(?:\.\d*)?\s*[s\"″]?)?)?$"
)


class CatalogTable:
    """A table read from a file, with access to its columns under the rules of distspec.

    Parameters
    ----------
    content : TableContent
        Content of the file.
    url : str
        Name of the file in error messages.

    Attributes
    ----------
    url : str
        Name of the file.
    column_names : list of str
        Names of the columns in the order of the file.
    problems : dict of int to str
        First malformed cell of each row that has one, by the position of the row.
    """

    def __init__(self, content: TableContent, url: str) -> None:
        self.url = url
        self.column_names: list[str] = content.columns.column_names
        self.problems: dict[int, str] = {}
        self._content = content

    def __len__(self) -> int:
        return self._content.columns.num_rows

    @property
    def has_problem(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows have a malformed cell, an ndarray of bool of shape (n_rows,)."""
        has_problem = np.zeros(len(self), bool)
        has_problem[list(self.problems)] = True
        return has_problem

    def find_column(self, *names: str, exact: bool = False) -> str:
        """Return the name of the first column among some that the table has.

        Parameters
        ----------
        *names : str
            Accepted names, the preferred one first.
        exact : bool
            Whether upper and lower case differ.

        Returns
        -------
        str
            Name as the table spells it; "" if it has none of them.

        Raises
        ------
        ArchiveError
            If several columns have the same name, apart from upper and lower case unless `exact`.
        """
        for wanted in names:
            found = [
                (i, name)
                for i, name in enumerate(self.column_names, 1)
                if name == wanted or (not exact and name.lower() == wanted.lower())
            ]
            if len(found) > 1:
                listed = " and ".join(f"{name!r} (column {i})" for i, name in found)
                raise ArchiveError(
                    f"{self.url} has several columns that could be {wanted}: {listed}; "
                    "keep one of them, or rename the others"
                )
            if found:
                return found[0][1]
        return ""

    def require_columns(self, aliases: Mapping[str, Sequence[str]], hint: str = "") -> dict[str, str]:
        """Return the names of columns that the table must have; see `find_column`.

        Parameters
        ----------
        aliases : mapping of str to sequence of str
            Accepted names of each column, the preferred one first, without regard to upper and lower case.
        hint : str
            What the error message says beside the names.

        Returns
        -------
        dict of str to str
            Names as the table spells them, by the keys of `aliases`.

        Raises
        ------
        ArchiveError
            If columns are missing, or several have the same name; the message names all of them.
        """
        found: dict[str, str] = {}
        problems: list[str] = []
        for key, names in aliases.items():
            try:
                found[key] = self.find_column(*names)
            except ArchiveError as error:
                problems.append(str(error))
        missing = [f"no column {' or '.join(aliases[key])}" for key, name in found.items() if not name]
        if missing:
            shown = ", ".join(self.column_names[:N_SHOWN])
            if len(self.column_names) > N_SHOWN:
                shown += f" … ({len(self.column_names)} in all)"
            problems.insert(
                0,
                f"{self.url} has {', '.join(missing[:-1])}{' and ' * (len(missing) > 1)}{missing[-1]}; "
                f"its columns are {shown}: rename columns of it, or give another table",
            )
        if problems:
            raise ArchiveError("; ".join([*problems, *([hint] if hint else [])]))
        return found

    def require_column(self, *names: str) -> str:
        """Return the name of one column that the table must have; see `require_columns`.

        Parameters
        ----------
        *names : str
            Accepted names, the preferred one first, without regard to upper and lower case.
        """
        return self.require_columns({"": names})[""]

    def text(self, name: str) -> list[str]:
        """Return a column as text without surrounding blanks; "" where a value is missing.

        Parameters
        ----------
        name : str
            Name of the column, as the table spells it.
        """
        texts = self._texts(name)
        return pc.if_else(_is_missing(texts), "", texts).to_pylist()

    def identifiers(self, name: str) -> list[str]:
        """Return a column of identifiers: as `text`, with integers as such ("110" for 110.0 and "110.0").

        Parameters
        ----------
        name : str
            Name of the column, as the table spells it.

        Notes
        -----
        An integer above `EXACT_INTEGERS` in a column of floating-point numbers is a malformed cell: its last
        digits are lost.
        """
        texts = self.text(name)
        is_float = pa.types.is_floating(self._column(name).type)
        for row, text in enumerate(texts):
            if not (is_float or re.fullmatch(r"[+-]?\d+\.0*(?:[eE]\+?\d+)?|[+-]?\d+\.\d+[eE]\+?\d+", text)):
                continue
            number = Decimal(text) if text else Decimal()
            if not text or number != number.to_integral_value():
                continue
            if is_float and abs(number) > EXACT_INTEGERS:
                self._note(row, name, text, "not an exact identifier, because the column is floating point")
            texts[row] = f"{number:.0f}"
        return texts

    def numbers(self, name: str, unit: str = "") -> Floats:
        """Return a numeric column; NaN where a value is missing or malformed.

        Parameters
        ----------
        name : str
            Name of the column, as the table spells it.
        unit : str
            Unit of the result, to which a declared unit is converted; "" for a dimensionless number.

        Returns
        -------
        ndarray of float64, shape (n_rows,)

        Raises
        ------
        ArchiveError
            If no value is a number, or the declared unit cannot be converted.
        """
        values, is_text = self._parse_numbers(name)
        is_infinite = np.isinf(values)
        self._note_malformed(name, np.flatnonzero(is_text | is_infinite), values, "not a finite number")
        return np.where(is_infinite, np.nan, values) * self._find_factor(name, unit)

    def integers(self, name: str, missing: int, low: int = -128, high: int = 127) -> np.ndarray[Any, Any]:
        """Return a column of integers; `missing` where a value is missing or malformed.

        Parameters
        ----------
        name : str
            Name of the column, as the table spells it.
        missing : int
            Result for missing values.
        low, high : int
            Smallest and largest valid number.

        Returns
        -------
        ndarray of int64, shape (n_rows,)

        Raises
        ------
        ArchiveError
            If no value is a number, or the column has a unit.
        """
        values = self.numbers(name)
        with np.errstate(invalid="ignore"):
            bad = np.isfinite(values) & ((values != np.round(values)) | (values < low) | (values > high))
        self._note_malformed(name, np.flatnonzero(bad), values, f"not an integer from {low} to {high}")
        return np.where(np.isfinite(values) & ~bad, values, missing).astype(np.int64)

    def degrees(self, name: str, *, is_right_ascension: bool) -> Floats:
        """Return a column of right ascension or declination; NaN where it is missing or malformed.

        Parameters
        ----------
        name : str
            Name of the column, as the table spells it.
        is_right_ascension : bool
            Whether sexagesimal text without a unit is in hours.

        Returns
        -------
        ndarray of float64, shape (n_rows,)
            Angle [deg], converted from the declared unit. Numbers without a unit are in degrees.

        Raises
        ------
        ArchiveError
            If no value is an angle, or the declared unit is not that of such an angle.
        """
        declared = self._content.units.get(name, "").strip().strip("\"'").lower()
        sexagesimal = SEXAGESIMAL_UNITS.get(declared, "")
        factor = 1.0 if sexagesimal else self._find_factor(name, "deg")
        unit_is_hours = sexagesimal == "hourangle" or bool(np.isclose(factor, 15.0))
        in_hours = unit_is_hours or (not declared and is_right_ascension)
        if unit_is_hours and not is_right_ascension:
            raise ArchiveError(
                f"{self.url}: the unit {declared!r} of column {name} is not one of declination"
            )
        values, is_text = self._parse_numbers(name)
        angles = values * factor
        if sexagesimal:  # a number is not what the unit declares
            is_text |= np.isfinite(values)
        bad: list[int] = []
        texts = self._texts(name) if is_text.any() else None
        for row in np.flatnonzero(is_text).tolist():
            assert texts is not None
            angles[row] = _parse_sexagesimal(texts[row].as_py(), "hourangle" if in_hours else "deg")
            low = 0.0 if is_right_ascension else -90.0
            if not low <= angles[row] <= low + (360.0 if is_right_ascension else 180.0):
                angles[row] = np.nan
                bad.append(row)
        bad += np.flatnonzero(np.isinf(angles)).tolist()
        angles[np.isinf(angles)] = np.nan
        self._note_malformed(name, np.array(bad, np.int64), values, "not an angle")
        return angles

    def describe_bad_lines(self) -> list[QuarantineRecord]:
        """Return a record of each line of a CSV file whose number of cells differs from the header's."""
        name = self.url.rpartition("/")[2]
        return [
            QuarantineRecord(f"{name} line {line}", "", "", QuarantineReason.BAD_ROW, description)
            for line, description in sorted(self._content.bad_lines.items())
        ]

    def _column(self, name: str) -> pa.ChunkedArray:
        column: Any = self._content.columns.column(self.column_names.index(name))
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type):
            raise ArchiveError(f"{self.url}: column {name} has several values per row")
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            column = column.cast(pa.string())
        return column

    def _texts(self, name: str) -> pa.ChunkedArray:
        """Return a column as strings without surrounding blanks, null where the file has a null."""
        column: Any = self._column(name)
        if pa.types.is_floating(column.type):  # Arrow writes 110.0 as "110"
            known = column.is_valid()
            values = np.asarray(column.fill_null(0))
            return pc.if_else(known, pa.array(values.astype(str), pa.string()), None)
        if pa.types.is_timestamp(column.type):
            times = column.cast(pa.timestamp("us", column.type.tz), safe=False).to_pylist()
            texts = [None if time is None else time.isoformat() for time in times]
            return pa.chunked_array([pa.array(texts, pa.string())])
        return pc.utf8_trim_whitespace(column.cast(pa.string()))

    def _parse_numbers(self, name: str) -> tuple[Floats, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return the numbers of a column, NaN for missing values, and which cells are no number."""
        column: Any = self._column(name)
        kind = column.type
        if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
            raise ArchiveError(f"{self.url}: column {name} has the type {kind}, not numbers")
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            values: Any = column.cast(pa.float64(), safe=False).fill_null(np.nan)
            return values.to_numpy().copy(), np.zeros(len(column), bool)
        texts = self._texts(name)
        known = pc.invert(_is_missing(texts))
        is_number = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
        digits = pc.replace_substring_regex(pc.if_else(is_number, texts, None), r"^\+", "")
        numbers: Any = digits.cast(pa.float64()).fill_null(np.nan)
        is_text = pc.and_(known, pc.invert(is_number))
        return numbers.to_numpy().copy(), np.array(is_text, bool)

    def _find_factor(self, name: str, target: str) -> float:
        """Return the factor from the declared unit of a column to another one; 1 without a unit."""
        declared = self._content.units.get(name, "").strip()
        if declared.lower() in NO_UNITS:
            return 1.0
        try:
            lower = declared.lower()
            unit: Any = units.Unit(ANGLE_UNITS.get(lower, lower) if target == "deg" else declared)
            return float(unit.to(target or units.dimensionless_unscaled))
        except (ValueError, TypeError, AttributeError) as error:
            expected = f"cannot be converted to {target}" if target else "is not dimensionless"
            raise ArchiveError(
                f"{self.url}: the unit {declared!r} of column {name} {expected}: correct the table"
            ) from error

    def _note_malformed(self, name: str, rows: np.ndarray[Any, Any], values: Floats, problem: str) -> None:
        """Note malformed cells of a column; raise an error if no cell is well-formed."""
        if not len(rows):
            return
        texts = self._texts(name)
        known = pc.sum(pc.invert(_is_missing(texts))).as_py()
        first = texts[int(rows[0])].as_py()
        if len(rows) > 1 and len(rows) == known:
            raise ArchiveError(
                f"{self.url}: no value of column {name} is valid; the first, {first!r}, is {problem}"
            )
        for row in rows.tolist():
            self._note(row, name, texts[row].as_py(), problem)

    def _note(self, row: int, name: str, text: str, problem: str) -> None:
        self.problems.setdefault(row, f"row {row + 1} of the table: {name} is {text!r}, {problem}")


def _is_missing(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return where a text is null or one of `MISSING_VALUES`."""
    return pc.is_in(pc.fill_null(pc.utf8_lower(texts), ""), value_set=pa.array(MISSING_VALUES))


def _parse_sexagesimal(text: str, unit: str) -> float:
    """Return an angle [deg] of sexagesimal text; NaN if it is not such a text."""
    if not _SEXAGESIMAL.match(text):
        return np.nan
    from astropy.coordinates import Angle  # takes most of a second to import, and numbers do not need it

    unit = "hourangle" if "h" in text else "deg" if re.search("[d°]", text) else unit
    try:
        angle: Any = Angle(re.sub(r"[hd°m'′s\"″:]", " ", text).strip(), unit=unit)
        return float(angle.to_value("deg"))
    except ValueError:
        return np.nan
