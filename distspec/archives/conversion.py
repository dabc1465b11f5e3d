"""Units that files state, brought to those that are expected of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units

from distspec.spectrum import BadSpectrumError, Reason


@lru_cache
def unit_factor(given: str, wanted: str) -> float:
    """Return what to multiply by, from one unit to another.

    Raises
    ------
    BadSpectrumError
        ``bad_table`` where there is no such factor: of another kind, or a magnitude or a logarithm.

    Examples
    --------
    >>> unit_factor("mJy", "uJy")
    1000.0
    """
    try:
        unit: Any = units.Unit(given)
        scale: Any = unit.to(wanted) if isinstance(unit, units.UnitBase) else 0.0
    except (ValueError, TypeError) as error:
        raise BadSpectrumError(Reason.BAD_TABLE, f"unit {given!r} is not one of {wanted}: {error}") from error
    if not 0.0 < scale < np.inf:
        raise BadSpectrumError(Reason.BAD_TABLE, f"unit {given!r} is no linear one of {wanted}")
    return float(scale)
