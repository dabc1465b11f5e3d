"""Which columns of a file hold wavelength, flux, error and mask: by the user's option, UCD, name or unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.spectra.options import ErrorKind, ReadOptions
from distspec.io.spectra.units import is_flux_unit, is_wave_unit

WaveScale = Literal["linear", "log10", "ln", "frequency"]


def list_words(text: str) -> list[str]:
    """Return the words of a text.

    Parameters
    ----------
    text : str
        Words with blanks between them.
    """
    return text.split()


_WAVE_NAMES = list_words(
    "wave wavelength wavelengths lambda lam wl wlen wvl wavelen waveobs wave_obs obs_wave wavelength_obs "
    "lambda_obs spectral_axis spectralaxis wave_vac wavelength_vac lambda_vac vacuum_wave vacuum_wavelength "
    "wave_air wavelength_air lambda_air air_wave air_wavelength dispersion"
)
_LOG_NAMES = list_words(
    "loglam log_lam loglambda log_lambda log10lam logwave log_wave log10_wave log_wavelength "
    "log10_wavelength log10_lambda"
)
_LN_NAMES = list_words("lnlam ln_lam lnlambda ln_lambda lnwave ln_wave ln_wavelength")
_FREQUENCY_NAMES = list_words("freq frequency nu freq_obs")
_FLUX_NAMES = list_words(
    "flux fluxes flux_density fluxdensity flam f_lam f_lambda flambda flux_lambda fnu f_nu flux_nu spectrum "
    "spec sci data flux_reduced flux_cal flux_total flux_norm norm_flux normalized_flux fl intensity"
)
_SIGMA_NAMES = list_words(
    "err error errors sigma flux_err flux_error fluxerr fluxerror err_flux error_flux e_flux eflux dflux "
    "flux_sigma sigma_flux sig flux_unc flux_uncertainty uncertainty unc uncert std stddev flux_std noise "
    "err_reduced flam_err fnu_err e_flam e_fnu error_spectrum rms full_err"
)
_VARIANCE_NAMES = list_words("var variance flux_var flux_variance var_flux")
_IVAR_NAMES = list_words("ivar flux_ivar ivar_flux invvar inverse_variance inv_var flux_invvar")
_MASK_NAMES = list_words("mask dq quality qual flag flags data_quality dqflags bad badpix bad_pixel")
_GOOD_NAMES = list_words("valid good is_valid goodpix")
ID_NAMES = list_words("object_id id name object spectrum_id source_id srcid objid target targetid file")
_ERROR_KINDS: dict[ErrorKind, Sequence[str]] = {
    "sigma": _SIGMA_NAMES,
    "ivar": _IVAR_NAMES,
    "variance": _VARIANCE_NAMES,
}
_UNIT_SUFFIXES = {
    "um": "um", "micron": "um", "microns": "um", "nm": "nm", "aa": "Angstrom", "ang": "Angstrom",
    "angstrom": "Angstrom", "angstroms": "Angstrom", "ujy": "uJy", "mjy": "mJy", "njy": "nJy", "jy": "Jy",
    "hz": "Hz", "ghz": "GHz",
}  # fmt: skip
_NAME_WITH_UNIT = re.compile(r"(?P<name>[^\[(]+)[\[(](?P<unit>[^\])]*)[\])]")


@dataclass(frozen=True)
class ColumnInfo:
    """What a file says of a column or of an image.

    Attributes
    ----------
    name : str
        Name as the file spells it.
    unit : str
        Stated unit, "" if there is none.
    ucd : str
        UCD or UType, "" if there is none.
    """

    name: str
    unit: str = ""
    ucd: str = ""

    @property
    def base_name(self) -> str:
        """Name in lower case, without a unit in brackets or at its end."""
        return split_unit(self.name)[0]

    @property
    def stated_unit(self) -> str:
        """The stated unit; failing that, a unit in the name."""
        return self.unit or split_unit(self.name)[1]


@dataclass(frozen=True)
class Roles:
    """Columns of a spectrum.

    Attributes
    ----------
    wave, flux : ColumnInfo
        Wavelength and flux density.
    err, mask : ColumnInfo or None
        Errors and flags; None if the file has none.
    wave_scale : {"linear", "log10", "ln", "frequency"}
        What the values of `wave` are.
    error_kind : {"sigma", "variance", "ivar"}
        What the values of `err` are.
    mask_is_good : bool
        Whether nonzero flags mark valid pixels.
    in_air : bool
        Whether the file says that wavelengths are in air.
    """

    wave: ColumnInfo | None
    flux: ColumnInfo
    err: ColumnInfo | None
    mask: ColumnInfo | None
    wave_scale: WaveScale = "linear"
    error_kind: ErrorKind = "sigma"
    mask_is_good: bool = False
    in_air: bool = False


def split_unit(name: str) -> tuple[str, str]:
    """Split the name of a column into a plain name and a unit.

    Parameters
    ----------
    name : str
        Name as a file spells it.

    Returns
    -------
    base_name : str
        Lower case, words joined by underscores.
    unit : str
        "" if the name has none.

    Examples
    --------
    >>> split_unit("Wavelength (um)"), split_unit("flux_uJy"), split_unit("F_lambda")
    (('wavelength', 'um'), ('flux', 'uJy'), ('f_lambda', ''))
    """
    match = _NAME_WITH_UNIT.fullmatch(name.strip())
    base, unit = (match["name"], match["unit"]) if match else (name, "")
    base = re.sub(r"[^a-z0-9λμ]+", "_", base.lower()).strip("_")
    first, _, last = base.rpartition("_")
    if not unit and first and last in _UNIT_SUFFIXES:
        return first, _UNIT_SUFFIXES[last]
    return base, unit


def find_roles(columns: Sequence[ColumnInfo], options: ReadOptions, need_wave: bool = True) -> Roles | None:
    """Find the columns of a spectrum.

    A column that the options name is taken; otherwise the first that fits, by UCD, then by name, then by its
    unit if no other column has such a unit.

    Parameters
    ----------
    columns : sequence of ColumnInfo
        All columns.
    options : ReadOptions
        The user's names and kinds.
    need_wave : bool
        Whether a table without wavelengths does not fit.

    Returns
    -------
    Roles or None
        None if there is no wavelength or no flux.

    Raises
    ------
    InvalidSpectrumError
        ``ambiguous`` if several columns fit equally well.
    """
    flux = _find_flux(columns, options.columns.flux)
    if flux is None:
        return None
    left = [column for column in columns if column is not flux]
    wave, scale = _find_wave(left, options.columns.wave)
    if need_wave and wave is None:
        return None
    left = [column for column in left if column is not wave]
    err, kind = _find_error(left, flux, options)
    mask, is_good = _find_mask(left, options.columns.mask)
    in_air = wave is not None and ("obs.atmos" in wave.ucd.lower() or "air" in wave.base_name.split("_"))
    return Roles(wave, flux, err, mask, scale, kind, is_good, in_air)


def _find_wave(columns: Sequence[ColumnInfo], name: str) -> tuple[ColumnInfo | None, WaveScale]:
    if name:
        column = _named(columns, name)
        return column, _wave_scale(column.base_name) if column else "linear"
    if column := _main(columns, lambda ucd: ucd.startswith("em.wl")):
        return column, _wave_scale(column.base_name)
    if column := _first(columns, [*_WAVE_NAMES, *_LOG_NAMES, *_LN_NAMES, *_FREQUENCY_NAMES]):
        return column, _wave_scale(column.base_name)
    if column := _main(columns, lambda ucd: ucd.startswith("em.freq")):
        return column, "frequency"
    return _only(columns, is_wave_unit, "wave"), "linear"


def _wave_scale(base_name: str) -> WaveScale:
    if base_name in _FREQUENCY_NAMES or base_name.startswith("freq"):
        return "frequency"
    if base_name in _LN_NAMES or base_name.startswith("ln"):
        return "ln"
    return "log10" if base_name.startswith("log") else "linear"


def _find_flux(columns: Sequence[ColumnInfo], name: str) -> ColumnInfo | None:
    if name:
        return _named(columns, name)
    return (
        _main(columns, lambda ucd: ucd.startswith(("phot.flux", "phot.fluxdens")))
        or _first(columns, _FLUX_NAMES)
        or _only(columns, is_flux_unit, "flux")
    )


def _find_error(
    columns: Sequence[ColumnInfo], flux: ColumnInfo, options: ReadOptions
) -> tuple[ColumnInfo | None, ErrorKind]:
    name = options.columns.err
    if name.lower() == "none":
        return None, "sigma"
    own = {
        "sigma": [f"{flux.base_name}{end}" for end in ("_err", "_error", "err", "_unc", "_sigma", "_std")]
        + [f"{begin}_{flux.base_name}" for begin in ("err", "error", "e", "sigma", "d")],
        "ivar": [f"{flux.base_name}_ivar", f"ivar_{flux.base_name}"],
        "variance": [f"{flux.base_name}_var", f"var_{flux.base_name}"],
    }
    column = _named(columns, name) if name else _main(columns, lambda ucd: ucd.startswith("stat.error"))
    kind: ErrorKind = "sigma"
    for kinds in (own, _ERROR_KINDS):
        for tried in _ERROR_KINDS:
            if column is None:
                column = _first(columns, kinds[tried])
            if column is not None and column.base_name in kinds[tried]:
                kind = tried
    if column is not None and options.error_kind != "auto":
        kind = options.error_kind
    return column, kind


def _find_mask(columns: Sequence[ColumnInfo], name: str) -> tuple[ColumnInfo | None, bool]:
    if name.lower() == "none":
        return None, False
    column = _named(columns, name) if name else _main(columns, lambda ucd: ucd.startswith("meta.code.qual"))
    column = column or _first(columns, [*_MASK_NAMES, *_GOOD_NAMES])
    return column, column is not None and column.base_name in _GOOD_NAMES


def _named(columns: Sequence[ColumnInfo], name: str) -> ColumnInfo | None:
    """Return the column that the user names; None if the file has no such column."""
    return next((column for column in columns if column.name.lower() == name.lower()), None)


def _main(columns: Sequence[ColumnInfo], matches: Callable[[str], bool]) -> ColumnInfo | None:
    """Return the first column whose UCD matches, the main one if the file marks it."""
    found = [column for column in columns if matches(column.ucd.lower())]
    main = [column for column in found if "meta.main" in column.ucd.lower()]
    return (main or found or [None])[0]


def _first(columns: Sequence[ColumnInfo], names: Sequence[str]) -> ColumnInfo | None:
    """Return the column with the first of some names."""
    by_name = {column.base_name: column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _only(columns: Sequence[ColumnInfo], fits: Callable[[str], bool], role: str) -> ColumnInfo | None:
    """Return the only column whose unit fits."""
    found = [column for column in columns if fits(column.stated_unit)]
    if len(found) > 1:
        names = ", ".join(f"{column.name} [{column.stated_unit}]" for column in found)
        raise InvalidSpectrumError(
            QuarantineReason.AMBIGUOUS,
            f"several columns could be the {role}: {names}; give one with --columns.{role}",
        )
    return found[0] if found else None
