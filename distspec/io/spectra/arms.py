"""Spectra whose arms are in images of their own, such as B_WAVELENGTH, B_FLUX and B_IVAR of DESI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distspec.io.fits import HDU, read_fits_image
from distspec.io.spectra.raw import Array, RawSpectra, bad_table, get_card, split_rows
from distspec.io.spectra.roles import ColumnInfo, ErrorKind, Roles

_IMAGE_NAME = re.compile(
    r"(?P<arm>[A-Z0-9]+)_(?P<part>WAVELENGTH|WAVE|FLUX|IVAR|ERR|ERROR|MASK)", re.IGNORECASE
)
_ERROR_KINDS: Mapping[str, ErrorKind] = {"IVAR": "ivar", "ERR": "sigma", "ERROR": "sigma"}
WAVE_DIGITS = 12
"""Significant digits to which wavelengths are rounded, so that pixels that arms share are equal."""


def read_arms(content: bytes, hdus: Sequence[HDU]) -> RawSpectra | None:
    """Read the spectra of a file whose arms are in images of their own.

    Parameters
    ----------
    content : bytes
        The file.
    hdus : sequence of HDU
        Its HDUs.

    Returns
    -------
    RawSpectra or None
        Pixels of all arms by wavelength; None if there are no two arms with wavelengths and fluxes.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if the images of an arm have different shapes, or the arms different parts.
    """
    arms: dict[str, dict[str, int]] = {}
    for number, hdu in enumerate(hdus):
        if match := _IMAGE_NAME.fullmatch(hdu.layout.name):
            part = match["part"].upper()
            arms.setdefault(match["arm"].upper(), {})["WAVE" if part == "WAVELENGTH" else part] = number
    arms = {name: parts for name, parts in arms.items() if {"WAVE", "FLUX"} <= parts.keys()}
    if len(arms) < 2:
        return None
    first = next(iter(arms.values()))
    if any(parts.keys() != first.keys() for parts in arms.values()):
        raise bad_table(f"the arms {', '.join(arms)} do not have the same images")
    images = {part: [_read(content, parts[part]) for parts in arms.values()] for part in first}
    for name, *shapes in zip(
        arms, *([image.shape[-1] for image in found] for found in images.values()), strict=True
    ):
        if len(set(shapes)) > 1:
            raise bad_table(f"images of arm {name} with {sorted(set(shapes))} pixels")
    wave = np.concatenate([image[0] for image in images.pop("WAVE")]).astype(np.float64)
    wave = np.round(wave, WAVE_DIGITS - int(np.ceil(np.log10(np.nanmax(wave)))))
    order = np.argsort(wave, kind="stable")
    values = {part: split_rows(np.concatenate(found, axis=1)[:, order]) for part, found in images.items()}
    error = next((part for part in _ERROR_KINDS if part in values), "")

    def describe(part: str) -> ColumnInfo:
        hdu = hdus[first[part]]
        return ColumnInfo(hdu.layout.name, str(get_card(hdu.header, "BUNIT") or ""))

    roles = Roles(
        describe("WAVE"),
        describe("FLUX"),
        describe(error) if error else None,
        describe("MASK") if "MASK" in values else None,
        error_kind=_ERROR_KINDS.get(error, "sigma"),
    )
    headers: list[Mapping[str, Any]] = [hdus[first["FLUX"]].header, hdus[0].header]
    return RawSpectra(
        f"FITS images of the arms {', '.join(arms)}",
        "",
        roles,
        [wave[order]],
        values["FLUX"],
        values.get(error, ()),
        values.get("MASK", ()),
        headers=headers,
    )


def _read(content: bytes, number: int) -> Array:
    """Return an image of shape (n_spectra, n_pixels)."""
    return np.atleast_2d(np.asarray(read_fits_image(content, number)[0]))
