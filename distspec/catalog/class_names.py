"""Names of classes: their galaxy types, distinguished by the measurements that differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.spectrum import Floats
from distspec.measurements.definitions import Measurement, MeasurementSet
from distspec.measurements.features import RECONSTRUCTION_PREFIX

MIN_DIFFERENCE = 0.5
"""Standardized difference below which a measurement does not distinguish classes ("medium" in Cohen 1988)."""


def distinguish_class_names(
    names: Mapping[int, str], objects: pa.Table, measurements: MeasurementSet
) -> dict[int, str]:
    """Add to names that several classes share what sets each of these classes apart most.

    That is the measurement with the largest standardized difference between the class and the others of the
    same name. Reconstructions are compared if they were measured: all at one redshift and without noise.
    Values are on the arcsinh scale of the clustering features. Classes whose names are still equal are
    distinguished by further measurements.

    Parameters
    ----------
    names : mapping of int to str
        Names by class label; "" for a class that is described by its measurements alone.
    objects : Table
        Column ``cluster_label`` and the measurements, one row per spectrum.
    measurements : MeasurementSet
        The archive's measurements.

    Returns
    -------
    dict of int to str
        Names by class label; unchanged where no other class has the name, or where no measurement differs
        by `MIN_DIFFERENCE`.
    """
    labels = objects["cluster_label"].to_numpy()
    members = {label: np.flatnonzero(labels == label) for label in names}
    compared = (*measurements.select("reconstruction"), *measurements.select("spectrum"))
    values = {measurement: _scale_values(objects, measurement) for measurement in compared}
    result: dict[int, str] = {}
    for name in dict.fromkeys(names.values()):
        group = [label for label in names if names[label] == name]
        result |= _distinguish(name, group, members, values)
    return result


def standardized_difference(values: Floats, other_values: Floats) -> float:
    """Return the difference of two means in units of the root mean square of both standard deviations.

    Parameters
    ----------
    values, other_values : ndarray
        Two samples; values that are not finite are ignored.

    Returns
    -------
    float
        Cohen's d of samples of equal weight; 0 if either has fewer than two values.

    Examples
    --------
    >>> standardized_difference(np.array([4.0, 6.0]), np.array([1.0, 3.0, np.nan]))
    3.0
    """
    first, second = values[np.isfinite(values)], other_values[np.isfinite(other_values)]
    if min(len(first), len(second)) < 2:
        return 0.0
    spread = np.sqrt(0.5 * (first.var() + second.var()))
    return float((first.mean() - second.mean()) / max(spread, 1e-9))


def _scale_values(objects: pa.Table, measurement: Measurement) -> Floats:
    """Return a measurement of all spectra on the arcsinh scale of the clustering features."""
    name = RECONSTRUCTION_PREFIX + measurement.name
    column = objects[name if name in objects.column_names else measurement.name]
    value = np.asarray(column.cast("float64").to_numpy())
    return np.arcsinh((value - measurement.center) / measurement.scale)


def _distinguish(
    name: str,
    group: Sequence[int],
    members: Mapping[int, NDArray[np.int64]],
    values: Mapping[Measurement, Floats],
) -> dict[int, str]:
    """Return the names of classes that share a name so far, by label."""
    if len(group) == 1 or not values:
        return dict.fromkeys(group, name)
    subgroups: dict[tuple[Measurement, bool] | None, list[int]] = {}
    for label in group:
        others = np.concatenate([members[other] for other in group if other != label])
        differences = {
            measurement: standardized_difference(value[members[label]], value[others])
            for measurement, value in values.items()
        }
        largest = max(differences, key=lambda measurement: abs(differences[measurement]))
        is_apart = abs(differences[largest]) >= MIN_DIFFERENCE
        subgroups.setdefault((largest, differences[largest] > 0) if is_apart else None, []).append(label)
    result: dict[int, str] = {}
    for difference, labels in subgroups.items():
        if difference is None:
            result |= dict.fromkeys(labels, name)
            continue
        measurement, is_high = difference
        description = measurement.value_names[is_high] or f"{'high' if is_high else 'low'} {measurement.name}"
        remaining = {other: value for other, value in values.items() if other is not measurement}
        full_name = f"{name}, {description}" if name else description
        result |= _distinguish(full_name, labels, members, remaining)
    return result
