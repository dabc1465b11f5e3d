"""Measurements of spectra and of their reconstructions, bad pixels, and galaxy types.

A `Measurement` is a named quantity with unit, definition and error; an archive lists its own in a
`MeasurementSet`, those of the built-in archives are in `standard_sets`. The package may import
`distspec.core`; it knows nothing of archives, stores or models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.measurements.bad_pixels import BadPixelStatistics, find_bad_pixels
    from distspec.measurements.continuum import fit_power_law, measure_slope_difference
    from distspec.measurements.criteria import MeasuredValues
    from distspec.measurements.definitions import (
        Measurement,
        MeasurementSet,
        define_equivalent_width,
        define_flux_ratio,
        define_slope,
    )
    from distspec.measurements.features import (
        compute_feature_errors,
        compute_features,
        measure_reconstructions,
    )
    from distspec.measurements.galaxy_type_rules import GALAXY_TYPE_RULES
    from distspec.measurements.galaxy_types import GalaxyTypeRule, GalaxyTypeSuggestions, suggest_galaxy_types
    from distspec.measurements.indices import (
        GriddedSpectra,
        LineMeasurement,
        fit_slope,
        measure_flux_ratio,
        measure_line,
    )
    from distspec.measurements.line_width import measure_line_width
    from distspec.measurements.lya import measure_lya_ew
    from distspec.measurements.standard_sets import (
        DESI_MEASUREMENTS,
        NIRSPEC_PRISM_MEASUREMENTS,
        SDSS_MEASUREMENTS,
        SPEX_MEASUREMENTS,
    )

__all__ = [
    "DESI_MEASUREMENTS",
    "GALAXY_TYPE_RULES",
    "NIRSPEC_PRISM_MEASUREMENTS",
    "SDSS_MEASUREMENTS",
    "SPEX_MEASUREMENTS",
    "BadPixelStatistics",
    "GalaxyTypeRule",
    "GalaxyTypeSuggestions",
    "GriddedSpectra",
    "LineMeasurement",
    "MeasuredValues",
    "Measurement",
    "MeasurementSet",
    "compute_feature_errors",
    "compute_features",
    "define_equivalent_width",
    "define_flux_ratio",
    "define_slope",
    "find_bad_pixels",
    "fit_power_law",
    "fit_slope",
    "measure_flux_ratio",
    "measure_line",
    "measure_line_width",
    "measure_lya_ew",
    "measure_reconstructions",
    "measure_slope_difference",
    "suggest_galaxy_types",
]

_MODULES = {
    "DESI_MEASUREMENTS": "standard_sets",
    "GALAXY_TYPE_RULES": "galaxy_type_rules",
    "NIRSPEC_PRISM_MEASUREMENTS": "standard_sets",
    "SDSS_MEASUREMENTS": "standard_sets",
    "SPEX_MEASUREMENTS": "standard_sets",
    "BadPixelStatistics": "bad_pixels",
    "GalaxyTypeRule": "galaxy_types",
    "GalaxyTypeSuggestions": "galaxy_types",
    "GriddedSpectra": "indices",
    "LineMeasurement": "indices",
    "MeasuredValues": "criteria",
    "Measurement": "definitions",
    "MeasurementSet": "definitions",
    "compute_feature_errors": "features",
    "compute_features": "features",
    "define_equivalent_width": "definitions",
    "define_flux_ratio": "definitions",
    "define_slope": "definitions",
    "find_bad_pixels": "bad_pixels",
    "fit_power_law": "continuum",
    "fit_slope": "indices",
    "measure_flux_ratio": "indices",
    "measure_line": "indices",
    "measure_line_width": "line_width",
    "measure_lya_ew": "lya",
    "measure_reconstructions": "features",
    "measure_slope_difference": "continuum",
    "suggest_galaxy_types": "galaxy_types",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: most modules import Numba."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
