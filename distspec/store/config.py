"""Settings that a store fixes when it is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from distspec.core.records import JsonRecord, lists_to_tuples
from distspec.core.spectrum import WavelengthGrid
from distspec.store.sources import MATCH_RADIUS


@dataclass(frozen=True)
class StoreConfig(JsonRecord):
    """Settings chosen when a store is created; they never change, so that all rows stay comparable.

    Parameters
    ----------
    grid : WavelengthGrid
        Rest-frame wavelength grid of all spectra.
    reference_wave : float
        Rest wavelength [Angstrom] at which the normalized flux is 1.
    default_slope : float
        UV continuum slope beta of f_lambda ~ lambda^beta, used for a spectrum whose own slope cannot be
        fitted.
    preprocessing : mapping of str to mapping, optional
        Preprocessing settings that the user requested, as JSON values by section ("grid", "norm") and name;
        later ingests must request the same.
    join_radius : float, optional
        Largest distance [arcsec] of a spectrum from the first position of its source.
    archive_name : str, optional
        Name of the archive that the store follows, `distspec.archives.base.Archive.name`.
    requires_position : bool, optional
        Whether every spectrum has a position; without one, it has NaN.
    """

    record_name: ClassVar[str] = "settings of the store"
    grid: WavelengthGrid
    reference_wave: float
    default_slope: float
    preprocessing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    join_radius: float = MATCH_RADIUS
    archive_name: str = ""
    requires_position: bool = True


def describe_scale(config: StoreConfig) -> str:
    """Return the grid and normalization of a store as text; equal texts mean comparable spectra.

    Parameters
    ----------
    config : StoreConfig
        Settings of the store.

    Returns
    -------
    str
    """
    grid = config.grid
    norm = lists_to_tuples(config.preprocessing.get("norm", {}))
    settings = ", ".join(f"{name} {value}" for name, value in sorted(norm.items()))
    return (
        f"{grid.n_pixels} {grid.spacing} pixels over {grid.start!r}–{grid.stop!r} Å, "
        f"scaled to 1 at {config.reference_wave!r} Å ({settings})"
    )
