"""The space that a run was clustered in, projected on two axes for the figure beside the UMAP map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from distspec.catalog.run_record import RunRecord
from distspec.clustering.feature_space import join_measurements, scale_by_posterior_width
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.features import RECONSTRUCTION_PREFIX, compute_features, list_feature_columns
from distspec.report.data import ChosenSpace

N_NAMED_LOADINGS = 2
"""Number of loadings that the label of an axis names."""
SPACE_NAMES = {
    "features": "measurements of the reconstructions",
    "latents": "latents",
    "map": "latents, which UMAP embeds",
}
"""What is clustered in each space, as text."""


def build_chosen_space(objects: pa.Table, run: RunRecord, measurements: MeasurementSet) -> ChosenSpace | None:
    """Compute the first two principal components of the space that was clustered.

    Principal components are used because they do not depend on the classes: axes that separate the classes
    best would show groups where there are none.

    Parameters
    ----------
    objects : Table
        Published table ``objects``.
    run : RunRecord
        Record of the run.
    measurements : MeasurementSet
        The archive's measurements.

    Returns
    -------
    ChosenSpace or None
        None if there are too few spectra or coordinates.
    """
    name = run.clustering.space or "latents"
    columns = list_feature_columns(measurements)
    if name == "features" and columns and set(columns) <= set(objects.column_names):
        points = compute_features(measurements, _read_columns(objects, measurements))
        axis_names = [column.removeprefix(RECONSTRUCTION_PREFIX) for column in columns]
    else:
        name = "latents" if name == "features" else name
        points, axis_names = _build_latents(objects, run, measurements)
    if points.shape[0] < 3 or points.shape[1] < 2:
        return None
    return project_on_principal_components(points, axis_names, SPACE_NAMES.get(name, name))


def project_on_principal_components(points: Floats, axis_names: Sequence[str], name: str) -> ChosenSpace:
    """Project points on their first two principal components.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_dims)
        Points; at least three, of at least two dimensions.
    axis_names : sequence of str, length n_dims
        Names of the dimensions.
    name : str
        What the space is, as text.
    """
    centered = points - points.mean(axis=0, dtype=np.float64)
    variance, directions = np.linalg.eigh(np.cov(centered.T))
    order = np.argsort(-variance)[:2]
    directions = directions[:, order]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, [0, 1]])
    share = variance[order] / max(float(variance.sum()), 1e-30)
    labels = [
        f"PC {i + 1} ({100 * part:.0f} % of variance): {_format_loadings(directions[:, i], axis_names)}"
        for i, part in enumerate(share.tolist())
    ]
    return ChosenSpace(name, centered @ directions, (labels[0], labels[1]))


def _format_loadings(direction: Floats, names: Sequence[str]) -> str:
    order = np.argsort(-np.abs(direction))[:N_NAMED_LOADINGS]
    return ", ".join(f"{'+' if direction[i] > 0 else '−'}{names[i]}" for i in order)


def _read_columns(objects: pa.Table, measurements: MeasurementSet) -> dict[str, Floats32]:
    """Return the columns of measurements and of reconstructions, NaN for nulls."""
    known = {column.name for column in measurements.columns}
    names = [n for n in objects.column_names if n.removeprefix(RECONSTRUCTION_PREFIX) in known]
    return {name: np.asarray(objects[name].cast("float32").to_numpy(), np.float32) for name in names}


def _build_latents(
    objects: pa.Table, run: RunRecord, measurements: MeasurementSet
) -> tuple[Floats, list[str]]:
    """Return the scaled latents, and the measurements that were clustered with them."""
    z_mean, z_log_var = (
        np.stack(
            [objects[name].to_numpy() for name in objects.column_names if name.startswith(prefix)]
            or [np.zeros(len(objects))],
            axis=1,
        ).astype(np.float32)
        for prefix in ("z_mean_", "z_log_var_")
    )
    settings = run.config.get("clustering", {})
    points = (
        scale_by_posterior_width(z_mean, z_log_var)
        if run.clustering.selection_rule == "consensus"
        else z_mean
    )
    names = [f"latent {i}" for i in range(points.shape[1])]
    if joined := [name for name in settings.get("measurements", ()) if name in objects.column_names]:
        values = measurements.scale_by_error(joined, _read_columns(objects, measurements))
        points, names = join_measurements(points, values), [*names, *joined]
    return points.astype(np.float64), names
