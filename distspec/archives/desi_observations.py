"""From which observations and reduction the spectra of a DESI coadd come."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distspec.archives.observations import read_keyword, text_column
from distspec.core.errors import InvalidSpectrumError
from distspec.io.fits.cards import Header
from distspec.io.fits.hdus import find_hdu
from distspec.io.fits.reading import read_fits_table

OBSERVATION_COLUMNS = (
    text_column("survey", "Survey of a coadd by sky position: main, sv1, sv2, sv3, special or cmx."),
    text_column("program", "Program of a coadd by sky position: dark, bright, backup or other."),
    text_column("tile", "Number of the tile; null if the exposures are of several tiles."),
    text_column("petal", "Petal of the focal plane, 0 to 9, with a spectrograph each; null if several."),
    text_column("fiber", "Number of the fiber, 0 to 4999; null if several."),
    text_column("night", "Night of the exposures, YYYYMMDD; null if several."),
    text_column("reduction", "Name of the production (SPECPROD), and version of desispec."),
)
"""What `read_observations` reads."""
EXPOSURE_COLUMNS: Mapping[str, str] = {
    "tile": "tileid",
    "petal": "petal_loc",
    "fiber": "fiber",
    "night": "night",
}
"""Columns of EXP_FIBERMAP, which has a row for each target and exposure."""


def read_observations(content: bytes) -> dict[int, dict[str, str]]:
    """Return from which observations and reduction each target comes.

    Parameters
    ----------
    content : bytes
        The coadd.

    Returns
    -------
    dict of int to dict of str to str
        Values of `OBSERVATION_COLUMNS` by identifier of the target, without those that the file does not
        state; no targets if its table of exposures is missing or damaged.
    """
    try:
        exposures = read_fits_table(content, "EXP_FIBERMAP")
        ids = exposures.column("targetid")
        columns = {
            name: exposures.column(column)
            for name, column in EXPOSURE_COLUMNS.items()
            if column in exposures.column_names
        }
        of_file = _read_header(find_hdu(content, 0, len(content)).header)
    except InvalidSpectrumError:
        return {}
    if any(values.ndim != 1 or values.dtype.kind not in "iu" for values in (ids, *columns.values())):
        return {}
    found = {target: dict(of_file) for target in np.unique(ids).tolist()}
    for name, values in columns.items():
        pairs = np.unique(np.stack([ids, values]), axis=1)
        targets, first, counts = np.unique(pairs[0], return_index=True, return_counts=True)
        for target, value in zip(targets[counts == 1].tolist(), pairs[1][first[counts == 1]], strict=True):
            found[target][name] = str(value)
    return found


def _read_header(header: Header) -> dict[str, str]:
    """Return what is the same for all targets of a file."""
    versions = {
        read_keyword(header, key): read_keyword(header, key.replace("DEPNAM", "DEPVER"))
        for key in header
        if key.startswith("DEPNAM")
    }
    production, desispec = versions.get("SPECPROD", ""), versions.get("desispec", "")
    reduction = [production, f"desispec {desispec}" if desispec else ""]
    values = {
        "survey": read_keyword(header, "SURVEY"),
        "program": read_keyword(header, "PROGRAM"),
        "reduction": ", ".join(filter(None, reduction)),
    }
    return {name: value for name, value in values.items() if value}
