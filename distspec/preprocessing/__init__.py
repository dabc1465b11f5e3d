"""Conversion of observed spectra to normalized spectra on a common rest-frame grid.

The package holds the shift to the rest frame with its unit conversion (`rest_frame`), flux-conserving
resampling (`resampling`) and the normalization at a reference wavelength (`normalization`). It may import
`distspec.core` alone.
"""

from distspec.preprocessing.normalization import NormConfig, NormEstimates, estimate_norms, robust_window_mean
from distspec.preprocessing.resampling import (
    GridConfig,
    divide_by_norm,
    median_snr,
    resample,
    resample_batch,
)
from distspec.preprocessing.rest_frame import (
    RestFrameSpectra,
    median_continuum_slope,
    preprocess,
    to_rest_frame_batch,
)

__all__ = [
    "GridConfig",
    "NormConfig",
    "NormEstimates",
    "RestFrameSpectra",
    "divide_by_norm",
    "estimate_norms",
    "median_continuum_slope",
    "median_snr",
    "preprocess",
    "resample",
    "resample_batch",
    "robust_window_mean",
    "to_rest_frame_batch",
]
