"""A simulated archive of JWST/NIRSpec PRISM spectra with known classes.

`archive` writes files (`spectrum_file`) and tables; `survey` plans them; `populations`, `galaxies` and
`nirspec` simulate the galaxies and the instrument. The package may import `distspec.core` and
`distspec.io`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.archives.simulated.archive import (
        simulate_galaxy_flux,
        write_catalog_and_truth,
        write_spectra,
    )
    from distspec.archives.simulated.survey import ANOMALY_TYPES, SimulationConfig, plan_survey

__all__ = [
    "ANOMALY_TYPES",
    "SimulationConfig",
    "plan_survey",
    "simulate_galaxy_flux",
    "write_catalog_and_truth",
    "write_spectra",
]

_MODULES = {
    "ANOMALY_TYPES": "survey",
    "SimulationConfig": "survey",
    "plan_survey": "survey",
    "simulate_galaxy_flux": "archive",
    "write_catalog_and_truth": "archive",
    "write_spectra": "archive",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that the settings do not import astropy's cosmology."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
