"""Settings of a new store, chosen from a pilot sample, and the comparison of later requests with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.core.errors import StoreError
from distspec.core.spectrum import Floats, Spectrum
from distspec.ingest.source import ArchiveSource
from distspec.preprocessing.rest_frame import median_continuum_slope
from distspec.store.config import StoreConfig

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


def preprocessing_to_json(source: ArchiveSource) -> dict[str, Mapping[str, Any]]:
    """Return the settings that decide the values of spectra, as JSON values by section and name.

    Parameters
    ----------
    source : ArchiveSource
        Archive and requested settings.

    Returns
    -------
    dict of str to mapping
        Sections "grid", "norm" and, if the archive has fixed settings that are not 0, "archive".
    """
    sections = {"grid": asdict(source.grid), "norm": asdict(source.norm)}
    if fixed := source.archive.get_fixed_settings():
        sections["archive"] = fixed
    return json.loads(json.dumps(sections))


def make_store_config(spectra: Sequence[Spectrum], z: Floats, source: ArchiveSource) -> StoreConfig:
    """Choose the settings of a new store.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Pilot sample, from which the default continuum slope is measured.
    z : ndarray of shape (n,)
        Redshifts of the listing, from which limits of the grid are derived that the user did not set.
    source : ArchiveSource
        Archive and requested settings.

    Returns
    -------
    StoreConfig
        Settings to create the store with.
    """
    return StoreConfig(
        grid=source.grid.resolve(z),
        reference_wave=source.norm.reference_wave,
        default_slope=median_continuum_slope(spectra, source.norm),
        preprocessing=preprocessing_to_json(source),
        join_radius=source.config.join_radius,
        archive_name=source.archive.name,
        requires_position=source.archive.requires_position,
    )


def check_store_config(store_config: StoreConfig, source: ArchiveSource) -> None:
    """Check that the requested settings equal those of the store.

    Parameters
    ----------
    store_config : StoreConfig
        Settings of the store.
    source : ArchiveSource
        Archive and requested settings.

    Raises
    ------
    StoreError
        If a setting differs: new rows would not be comparable with the rows in the store.
    """
    stored, requested = (
        {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
        for sections in (store_config.preprocessing, preprocessing_to_json(source))
    )
    stored |= {"ingest.join_radius": store_config.join_radius}
    requested |= {"ingest.join_radius": source.config.join_radius}
    # A record lacks settings that are newer than the store, and settings of the archive that are 0.
    names = [name for name in {**stored, **requested} if name in stored or name.startswith("archive.")]
    differences = [
        f"{name} is {stored.get(name, 0.0)}, not {requested.get(name, 0.0)}"
        for name in names
        if stored.get(name, 0.0) != requested.get(name, 0.0)
    ]
    if store_config.archive_name != source.archive.name:
        differences.append(f"archive is {store_config.archive_name}, not {source.archive.name}")
    if differences:
        raise StoreError(f"this store's {'; '.join(differences)}: use another --root, or the same settings")
