"""The tables ``classes`` and ``class_medians``: properties and median spectra of the classes of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.class_names import distinguish_class_names
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats32
from distspec.labels.consensus import format_class_name
from distspec.measurements.galaxy_types import UNKNOWN, GalaxyTypeSuggestions, suggest_galaxy_types
from distspec.store.store import Store

MIN_SPECTRA_PER_PIXEL = 3
"""Smallest number of valid spectra per pixel of a class median, unless the class is smaller."""
MAX_SPECTRA_PER_MEDIAN = 5_000
"""Largest number of spectra of a class that its median is computed from."""
PERCENTILES = (16, 50, 84)


def build_class_medians(
    objects: pa.Table, store_rows: NDArray[np.int64], store: Store, provenance: Mapping[str, str]
) -> pa.Table:
    """Build the table ``class_medians``: percentiles of the spectra of each class.

    Parameters
    ----------
    objects : Table
        Columns ``cluster_label`` and ``class_id``, one row per spectrum.
    store_rows : ndarray of shape (n_spectra,)
        Rows of the store that hold the spectra.
    store : Store
        Store of the spectra.
    provenance : mapping of str to str
        Metadata of the table.

    Returns
    -------
    Table
        One row per class and pixel, in ascending order of both.
    """
    labels = objects["cluster_label"].to_numpy()
    wave = store.config.grid.wave_rest
    parts: list[pa.Table] = []
    for label in np.unique(labels):
        members = store_rows[labels == label]
        # The store keeps the archive's order, so evenly spaced rows are an unbiased sample.
        n_used = min(len(members), MAX_SPECTRA_PER_MEDIAN)
        members = members[np.linspace(0, len(members) - 1, n_used).astype(np.int64)]
        flux, ivar = store.read_spectra(members)
        n_valid = np.count_nonzero(ivar, axis=0)
        covered = (n_valid >= min(MIN_SPECTRA_PER_PIXEL, len(members))) & (n_valid > 0)
        percentiles = np.full((len(PERCENTILES), len(wave)), np.nan)
        masked = np.where(ivar > 0, flux, np.nan)[:, covered]
        percentiles[:, covered] = np.nanpercentile(masked, PERCENTILES, axis=0)
        class_id = objects["class_id"][int(np.argmax(labels == label))].as_py()
        values = {
            "cluster_label": np.full(len(wave), label),
            "class_id": [class_id] * len(wave),
            "wave_rest": wave,
            **{f"flux_p{p}": flux_p for p, flux_p in zip(PERCENTILES, percentiles, strict=True)},
            "n_valid": n_valid,
        }
        parts.append(schema.build_table(values, schema.CLASS_MEDIANS_SCHEMA, provenance))
    return pa.concat_tables(parts)


def measure_class_medians(medians: pa.Table, objects: pa.Table, store: Store) -> dict[str, Floats32]:
    """Measure the median spectra of the classes at the median redshifts of their members.

    The error of a median is that of a Gaussian whose central 68 % interval is the class's.

    Parameters
    ----------
    medians : Table
        Table ``class_medians``.
    objects : Table
        Columns ``cluster_label`` and ``z``, one row per spectrum.
    store : Store
        Store of the spectra.

    Returns
    -------
    dict of str to ndarray of shape (n_classes,)
        Measurements by column name, in ascending order of the class label.
    """
    shape = -1, store.config.grid.n_pixels
    low, flux, high = (medians[f"flux_p{p}"].to_numpy().reshape(shape) for p in PERCENTILES)
    n_valid = np.maximum(medians["n_valid"].to_numpy().reshape(shape), 1)
    sigma = 0.5 * (high - low) * np.sqrt(np.pi / 2.0 / n_valid)
    ivar = np.where(sigma > 0.0, sigma, np.inf) ** -2.0
    labels, z = objects["cluster_label"].to_numpy(), objects["z"].to_numpy()
    median_z = np.array([np.median(z[labels == label]) for label in np.unique(labels)])
    spectra = np.nan_to_num(flux).astype(np.float32), ivar.astype(np.float32)
    measurements = get_archive(store.config.archive_name).measurements
    return measurements.measure(*spectra, median_z, store.config.grid)


def build_classes(
    objects: pa.Table,
    min_core_stability: float,
    median_measurements: Mapping[str, Floats32],
    archive: type[Archive],
    change_types: Sequence[str],
    provenance: Mapping[str, str],
) -> pa.Table:
    """Build the table ``classes``.

    Parameters
    ----------
    objects : Table
        Table ``objects``.
    min_core_stability : float
        Smallest membership stability of core members.
    median_measurements : mapping of str to ndarray of shape (n_classes,)
        Measurements of the median spectra, from `measure_class_medians`.
    archive : type of Archive
        Archive of the spectra, which defines measurements and galaxy types.
    change_types : sequence of str
        Change of each class since the previous run, by label.
    provenance : mapping of str to str
        Metadata of the table.

    Returns
    -------
    Table
        One row per class in ascending order of the label; noise, if there is any, comes first.
    """
    labels = sorted(objects["cluster_label"].unique().to_pylist())
    galaxy_types = suggest_galaxy_types(archive.galaxy_types, median_measurements, len(labels))
    members = {label: objects.filter(pc.field("cluster_label") == label) for label in labels}
    class_names = _name_classes(
        {label: members[label]["human_label"].to_pylist() for label in labels},
        galaxy_types.galaxy_type,
        objects,
        archive,
    )
    rows: list[dict[str, Any]] = [
        {
            "cluster_label": label,
            "class_name": class_names[label] if label >= 0 else None,
            "change": change_types[label] if label >= 0 else None,
            **_summarize_members(members[label], len(objects), min_core_stability),
        }
        for label in labels
    ]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {**median_measurements, **galaxy_type_columns(galaxy_types)}
    return schema.build_table(columns, schema.build_classes_schema(archive.measurements.columns), provenance)


def _name_classes(
    human_labels: Mapping[int, Sequence[str | None]],
    galaxy_types: Sequence[str],
    objects: pa.Table,
    archive: type[Archive],
) -> dict[int, str]:
    """Return the name of each class by its label, without noise."""
    names = {
        label: format_class_name(galaxy_type, given)
        for (label, given), galaxy_type in zip(human_labels.items(), galaxy_types, strict=True)
        if label >= 0
    }
    if not archive.galaxy_types:  # "unknown" then says nothing
        names = {label: "" if name == UNKNOWN else name for label, name in names.items()}
    names = distinguish_class_names(names, objects, archive.measurements)
    return {label: name or UNKNOWN for label, name in names.items()}


def _summarize_members(members: pa.Table, n_all: int, min_core_stability: float) -> dict[str, Any]:
    """Return the columns of ``classes`` that summarize the members of one class."""
    z, snr, recon_mse, stability = (
        members[name].to_numpy() for name in ("z", "snr", "recon_mse", "cluster_stability")
    )
    z_p16, z_p50, z_p84 = np.percentile(z, PERCENTILES)
    return {
        "class_id": members["class_id"][0].as_py(),
        "n_spectra": len(members),
        "n_sources": len(members["source_id"].unique()),
        "share": len(members) / n_all,
        "z_p16": z_p16,
        "z_p50": z_p50,
        "z_p84": z_p84,
        "snr_p50": np.median(snr),
        "recon_mse_p50": np.median(recon_mse),
        "stability_p50": np.median(stability),
        "core_share": np.mean(stability >= min_core_stability),
    }


def galaxy_type_columns(galaxy_types: GalaxyTypeSuggestions) -> dict[str, Any]:
    """Return suggested galaxy types as the columns `GALAXY_TYPE_COLUMNS`.

    Parameters
    ----------
    galaxy_types : GalaxyTypeSuggestions
        Suggested types of n_spectra spectra.

    Returns
    -------
    dict of str to list or ndarray, length n_spectra
        Values by column name.
    """
    values = galaxy_types.galaxy_type, galaxy_types.confidence, galaxy_types.reason
    return dict(zip((column.name for column in schema.GALAXY_TYPE_COLUMNS), values, strict=True))
