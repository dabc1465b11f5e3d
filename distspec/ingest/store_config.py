"""Settings of a new store, chosen from a pilot sample, and the comparison of later requests with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.core.errors import StoreError
from distspec.core.spectrum import Floats, Spectrum
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import median_continuum_slope
from distspec.store.config import StoreConfig
from distspec.store.sources import MATCH_RADIUS

N_PILOT_GROUPS = 16
"""Number of groups in a pilot sample."""
PILOT_GROUP_SIZE = 16
"""Number of consecutive spectra in a group, so that archives with many spectra in a file open few files."""


def select_pilot_sample(listing: pa.Table) -> pa.Table:
    """Select groups of consecutive rows that are spread evenly over a listing.

    Parameters
    ----------
    listing : pyarrow.Table
        Table with `distspec.archives.base.LISTING_SCHEMA`.

    Returns
    -------
    pyarrow.Table
        Up to `N_PILOT_GROUPS` groups of `PILOT_GROUP_SIZE` rows.
    """
    n = len(listing)
    if n <= N_PILOT_GROUPS * PILOT_GROUP_SIZE:
        return listing
    starts = np.linspace(0, n - PILOT_GROUP_SIZE, N_PILOT_GROUPS).round().astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(PILOT_GROUP_SIZE))
    return listing.take(pa.array(rows))


def preprocessing_to_json(grid: GridConfig, norm: NormConfig) -> dict[str, Any]:
    """Return the preprocessing settings as JSON values, by section and name.

    Parameters
    ----------
    grid : GridConfig
        Wavelength grid, as requested; becomes the section "grid".
    norm : NormConfig
        Normalization, as requested; becomes the section "norm".
    """
    return json.loads(json.dumps({"grid": asdict(grid), "norm": asdict(norm)}))


def make_store_config(
    spectra: Sequence[Spectrum],
    z: Floats,
    grid: GridConfig,
    norm: NormConfig,
    join_radius: float = MATCH_RADIUS,
    archive_name: str = "",
) -> StoreConfig:
    """Choose the settings of a new store.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Pilot sample, from which the default continuum slope is measured.
    z : ndarray of shape (n,)
        Redshifts of the listing, from which limits of the grid are derived that the user did not set.
    grid : GridConfig
        Requested grid.
    norm : NormConfig
        Requested normalization.
    join_radius : float, optional
        Largest distance [arcsec] of a spectrum from the first position of its source.
    archive_name : str, optional
        Name of the archive.

    Returns
    -------
    StoreConfig
        Settings to create the store with.
    """
    return StoreConfig(
        grid=grid.resolve(z),
        reference_wave=norm.reference_wave,
        default_slope=median_continuum_slope(spectra, norm),
        preprocessing=preprocessing_to_json(grid, norm),
        join_radius=join_radius,
        archive_name=archive_name,
    )


def check_store_config(
    store_config: StoreConfig, grid: GridConfig, norm: NormConfig, join_radius: float, archive_name: str
) -> None:
    """Check that the requested settings equal those of the store.

    Parameters
    ----------
    store_config : StoreConfig
        Settings of the store.
    grid, norm, join_radius, archive_name
        Requested settings, as in `make_store_config`.

    Raises
    ------
    StoreError
        If a setting differs: new rows would not be comparable with the rows in the store.
    """
    requested = preprocessing_to_json(grid, norm)
    differences = [
        f"{section}.{name} is {value}, not {requested[section].get(name)}"
        for section, values in store_config.preprocessing.items()
        for name, value in values.items()
        if value != requested[section].get(name)
    ]
    if store_config.join_radius != join_radius:
        differences.append(f"ingest.join_radius is {store_config.join_radius}, not {join_radius}")
    if store_config.archive_name != archive_name:
        differences.append(f"archive is {store_config.archive_name}, not {archive_name}")
    if differences:
        raise StoreError(f"this store's {'; '.join(differences)}: use another --root, or the same settings")
