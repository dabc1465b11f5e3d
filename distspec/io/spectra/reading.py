"""Reading of one file of spectra, in whatever form it is."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits import HDU, list_hdus
from distspec.io.spectra.arms import read_arms
from distspec.io.spectra.cleaning import CleanSpectrum, clean_spectrum
from distspec.io.spectra.fits_images import read_images
from distspec.io.spectra.fits_tables import find_table_roles, read_one_row_tables, read_table
from distspec.io.spectra.options import ReadOptions
from distspec.io.spectra.raw import RawSpectra, bad_table, get_card
from distspec.io.spectra.roles import ColumnInfo, Roles
from distspec.io.spectra.text import read_text

_PREFERRED_TABLES = (
    "EXTRACT1D", "COMBINE1D", "SPEC1D", "COADD", "SPECTRUM", "SPECTRA", "DATA", "FLUX", "SCI", "1D",
)  # fmt: skip
_DEFAULTS = ReadOptions()


@dataclass(frozen=True)
class SpectrumFile:
    """Spectra of a file.

    Attributes
    ----------
    parts : sequence of RawSpectra
        Spectra by table or image.
    options : ReadOptions
        Options with which they are converted.
    """

    parts: Sequence[RawSpectra]
    options: ReadOptions

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def ids(self) -> list[str]:
        """Return an identifier of each spectrum within the file: that of the file, or its number from 1.

        Returns
        -------
        list of str
            Unique; "" for the only spectrum of a file.
        """
        if len(self) == 1:
            return [""]
        given = [name for part in self.parts for name in (part.ids or [""] * len(part))]
        if len(set(given)) < len(given) or "" in given:
            return [str(number) for number in range(1, len(self) + 1)]
        return given

    def read(self, number: int) -> CleanSpectrum:
        """Convert a spectrum.

        Parameters
        ----------
        number : int
            Position of the spectrum in the file, from 0.

        Returns
        -------
        CleanSpectrum

        Raises
        ------
        InvalidSpectrumError
            If it is unusable.
        """
        for part in self.parts:
            if number < len(part):
                return clean_spectrum(part, number, self.options)
            number -= len(part)
        raise InvalidSpectrumError(QuarantineReason.NOT_FOUND, f"no spectrum {number + 1} in the file")

    @property
    def form(self) -> str:
        """What the file was understood as."""
        first = self.parts[0].form
        return first if len(self.parts) == 1 else f"{first} and {len(self.parts) - 1} more"

    def describe_columns(self) -> str:
        """Return which columns were taken for what, with their units."""
        part = self.parts[0]
        roles = part.roles
        unit = self.options.units.flux or roles.flux.stated_unit or part.flux_unit
        texts = [_describe(roles.wave, self.options.units.wave), _describe(roles.flux, unit)]
        if part.err:
            texts.append(f"{_describe(roles.err)} ({roles.error_kind})")
        if part.mask:
            texts.append(f"{_describe(roles.mask)} (mask)")
        return ", ".join(texts)


def read_spectra(content: bytes, name: str = "", options: ReadOptions = _DEFAULTS) -> SpectrumFile:
    """Read the spectra of a file.

    Parameters
    ----------
    content : bytes
        The file; FITS, CSV, ECSV, other text tables, VOTable or Parquet, which may be gzipped.
    name : str
        Name of the file in messages.
    options : ReadOptions
        Names, units and kinds that the user gives.

    Returns
    -------
    SpectrumFile

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` or ``too_large`` for damaged files; ``bad_table`` if there is no spectrum;
        ``ambiguous`` if there are several that could be meant.
    """
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, f"damaged gzip file: {error}") from error
    if not content:
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, "an empty file")
    if content.startswith(b"SIMPLE  ="):
        try:
            parts = _read_fits(content, options)
        except InvalidSpectrumError as error:
            if error.reason != QuarantineReason.BAD_TABLE or _names_parts(options):
                raise
            from distspec.io.spectra.specutils_loaders import read_with_specutils

            parts = [read_with_specutils(content, name, error)]
    else:
        parts = [read_text(content, name, options)]
    if not sum(map(len, parts)):
        raise bad_table("no spectrum: the table has no rows")
    return SpectrumFile(parts, options)


def _names_parts(options: ReadOptions) -> bool:
    """Return whether the user says what in the file is meant, which loaders of specutils cannot follow."""
    columns = options.columns
    named = (columns.wave, columns.flux, columns.err, columns.mask, options.units.wave, options.hdu)
    return any(named) or options.error_kind != "auto"


def _read_fits(content: bytes, options: ReadOptions) -> list[RawSpectra]:
    hdus = list_hdus(content)
    roles = {
        number: found
        for number, hdu in enumerate(hdus)
        if (found := find_table_roles(hdu, options)) is not None
    }
    chosen = _choose_tables(hdus, roles, options)
    if not chosen:
        parts = [read_arms(content, hdus) or read_images(content, hdus, options)]
    else:
        parts = [read_table(content, number, hdus, roles[number], options) for number in chosen]
    n = sum(map(len, parts))
    if len(parts) > 1 or any(part.rows for part in parts if n > 1):
        return [_fill_unit(part) for part in parts]
    others = read_one_row_tables(content, hdus, n, options)
    return [_fill_unit(replace(part, rows={**others, **part.rows})) for part in parts]


def _fill_unit(part: RawSpectra) -> RawSpectra:
    """Return the spectra with the unit of the header where the column states none."""
    keys = ("BUNIT", "FLUXUNIT", "YUNITS")
    units = (str(unit) for header in part.headers for key in keys if (unit := get_card(header, key)))
    return part if part.flux_unit or part.roles.flux.unit else replace(part, flux_unit=next(units, ""))


def _choose_tables(hdus: Sequence[HDU], roles: dict[int, Roles], options: ReadOptions) -> list[int]:
    """Return the numbers of the tables to read: one, or all of one name."""
    names = {number: hdus[number].layout.name for number in roles}
    if options.hdu:
        wanted = options.hdu.upper()
        return [number for number, name in names.items() if wanted in {name, str(number)}]
    for name in _PREFERRED_TABLES:
        if found := [number for number in roles if names[number] == name]:
            return found
    if len(roles) > 1 and len(set(names.values())) > 1:
        listed = ", ".join(f"{name or 'without a name'} ({number})" for number, name in names.items())
        raise InvalidSpectrumError(
            QuarantineReason.AMBIGUOUS, f"several tables fit: HDUs {listed}; give one with --hdu"
        )
    return list(roles)


def _describe(column: ColumnInfo | None, unit: str = "") -> str:
    if column is None:
        return "none"
    unit = unit or column.stated_unit
    return f"{column.name} [{unit}]" if unit else column.name
