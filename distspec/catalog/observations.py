"""Tables about observations: unusual programs, masks, detectors and reductions, and leakage into the latents.

References
----------
Wilson 1927, JASA 22, 209 (interval of a share).
Westfall & Wolfinger 1997, The American Statistician 51, 3 (correction of discrete p-values).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.stats import binom_conf_interval
from numpy.typing import NDArray
from scipy.stats import hypergeom

from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core import schema
from distspec.core.schema import Column
from distspec.core.spectrum import Floats
from distspec.models.neighbor_scores import (
    MIN_SAMPLE_SIZE,
    NeighborScore,
    divide_into_strata,
    find_neighbors,
    sample_sources,
    score_category,
    score_number,
    select_groups,
)

OBSERVATION_TABLES = ("observation_groups", "leakage")
"""Names of the tables, which editions of earlier versions do not have."""
ANOMALOUS_FRACTION = 0.03
"""Fraction of the spectra, highest anomaly scores first, that count as anomalous."""
MIN_SNR = 0.05
"""Lower limit of the S/N whose logarithm is taken."""
N_QUANTILES = 4
"""Number of ranges of redshift and of S/N within which values are permuted."""


def list_properties(observation_columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the columns of ``objects`` by which spectra are grouped.

    Parameters
    ----------
    observation_columns : sequence of Column
        `distspec.archives.base.Archive.observation_columns`.

    Returns
    -------
    tuple of str
    """
    return ("root", *(column.name for column in observation_columns))


def build_observation_groups(
    objects: pa.Table, observation_columns: Sequence[Column], provenance: Mapping[str, str]
) -> pa.Table:
    """Build the table ``observation_groups``: shares of anomalies and bad pixels by origin of the spectra.

    Parameters
    ----------
    objects : Table
        Table ``objects``.
    observation_columns : sequence of Column
        Columns of the archive by which spectra are grouped, beside ``root``.
    provenance : mapping of str to str
        Metadata of the table.

    Returns
    -------
    Table
        One row per value of each property, by p-value; spectra whose value is unknown are in no group.
    """
    n_top = int(np.ceil(ANOMALOUS_FRACTION * len(objects)))
    flags = {
        "anomalous": objects["anomaly_rank"].to_numpy() <= n_top,
        "bad_pixels": objects["artefact_score"].to_numpy() >= 1.0,
    }
    sources = np.unique(objects["source_id"].to_numpy(), return_inverse=True)[1]
    columns: dict[str, list[Any]] = {column.name: [] for column in schema.OBSERVATION_GROUPS_SCHEMA}
    for name in list_properties(observation_columns):
        group = _group_spectra(objects[name].to_pylist(), sources, flags)
        order = np.argsort(np.minimum(group["anomalous_p_value"], group["bad_pixels_p_value"]), kind="stable")
        columns["property"] += [name] * len(order)
        for key, values in group.items():
            columns[key] += values[order].tolist()
    return schema.build_table(columns, schema.OBSERVATION_GROUPS_SCHEMA, provenance)


def _group_spectra(
    values: Sequence[str | None], sources: NDArray[np.int64], flags: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[Any]]:
    """Return the columns of the groups of one property."""
    known = np.flatnonzero([value is not None and value != "" for value in values])
    names, group = np.unique(np.array(values, object)[known].astype(str), return_inverse=True)
    # Spectra of a source are no independent draws, so that a source counts once in a group.
    pairs, pair = np.unique(np.stack([group, sources[known]]), axis=1, return_inverse=True)
    n_sources = np.bincount(pairs[0], minlength=len(names))
    columns: dict[str, NDArray[Any]] = {
        "value": names,
        "n_spectra": np.bincount(group, minlength=len(names)),
        "n_sources": n_sources,
    }
    for name, flag in flags.items():
        is_flagged = np.zeros(pairs.shape[1], bool)
        is_flagged[pair[flag[known]]] = True
        n_flagged = np.bincount(pairs[0], is_flagged, len(names)).astype(np.int64)
        low, high = binom_conf_interval(n_flagged, n_sources, 0.95, "wilson") if len(names) else ((), ())
        columns |= {
            f"n_{name}": n_flagged,
            f"{name}_share": n_flagged / np.maximum(n_sources, 1),
            f"{name}_share_low": np.maximum(low, 0.0),
            f"{name}_share_high": np.asarray(high),
            f"{name}_p_value": compute_group_p_values(n_flagged, n_sources),
        }
    return columns


def compute_group_p_values(n_flagged: NDArray[np.int64], n_total: NDArray[np.int64]) -> Floats:
    """Return the probability that chance flags as many members of any group.

    The p-value of a group is the upper tail of the hypergeometric distribution. That of a group of few
    members takes few values, so it is corrected by the sum over all groups of the largest p-value that each
    can take and that is not above it; the result is at most that of Bonferroni.

    Parameters
    ----------
    n_flagged, n_total : ndarray of shape (n_groups,)
        Number of flagged and of all members of each group.

    Returns
    -------
    ndarray of shape (n_groups,)

    Examples
    --------
    >>> p_values = compute_group_p_values(np.array([5, 0, 0]), np.array([10, 100, 100]))
    >>> f"{p_values[0]:.2g}, {p_values[1]:.2g}"  # C(10, 5) / C(210, 5)
    '7.8e-08, 1'
    """
    n_all, n_all_flagged = int(n_total.sum()), int(n_flagged.sum())
    sizes, which, counts = np.unique(n_total, return_inverse=True, return_counts=True)
    tails = [
        np.asarray(hypergeom.sf(np.arange(min(size, n_all_flagged) + 1) - 1, n_all, n_all_flagged, size))
        for size in sizes.tolist()
    ]
    own = np.array([tails[i][n] for i, n in zip(which, n_flagged, strict=True)], np.float64)
    corrected = np.zeros(len(own))
    for tail, count in zip(tails, counts, strict=True):
        ascending = np.concatenate([[0.0], tail[::-1]])
        corrected += count * ascending[np.searchsorted(ascending, own * (1.0 + 1e-9), side="right") - 1]
    return np.minimum(corrected, 1.0)


def build_leakage(
    objects: pa.Table,
    observation_columns: Sequence[Column],
    n_pixels: int,
    seed: int,
    provenance: Mapping[str, str],
) -> pa.Table:
    """Build the table ``leakage``: how well the latents predict how a spectrum was observed.

    Parameters
    ----------
    objects : Table
        Table ``objects``.
    observation_columns : sequence of Column
        Columns of the archive that are predicted, beside ``root``.
    n_pixels : int
        Number of pixels of the grid.
    seed : int
        Seed of the sample and of the permutations.
    provenance : mapping of str to str
        Metadata of the table.

    Returns
    -------
    Table
        One row per property; properties without variation, and texts without two values that are frequent
        enough, are left out.
    """
    rng = np.random.default_rng(seed)
    sample = objects.take(pa.array(sample_sources(objects["source_id"].to_pylist(), rng)))
    latents = [
        np.column_stack([sample[name].to_numpy() for name in sample.column_names if name.startswith(prefix)])
        for prefix in ("z_mean_", "z_log_var_")
    ]
    properties = score_properties(
        scale_by_posterior_width(latents[0], latents[1]), sample, observation_columns, n_pixels, rng
    )
    columns: dict[str, list[Any]] = {column.name: [] for column in schema.LEAKAGE_SCHEMA}
    for row in properties:
        for name, values in columns.items():
            values.append(row[name])
    return schema.build_table(columns, schema.LEAKAGE_SCHEMA, provenance)


def score_properties(
    points: Any,
    sample: pa.Table,
    observation_columns: Sequence[Column],
    n_pixels: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Score how well neighbors in a space predict how spectra were observed.

    Parameters
    ----------
    points : ndarray of shape (n_sample, n_dimensions)
        The space.
    sample : Table
        Rows of ``objects``, of different sources.
    observation_columns : sequence of Column
        Columns of the archive that are predicted, beside ``root``.
    n_pixels : int
        Number of pixels of the grid.
    rng : numpy.random.Generator
        Draws the permutations.

    Returns
    -------
    list of dict
        Values of the columns ``LEAKAGE_SCHEMA`` for each property.
    """
    if len(sample) < MIN_SAMPLE_SIZE:
        return []
    z, snr = (np.asarray(sample[name].to_numpy(), np.float64) for name in ("z", "snr"))
    numbers = {
        "z": z,
        "snr": np.log(np.maximum(snr, MIN_SNR)),
        "n_valid": sample["n_valid"].to_numpy() / n_pixels,
    }
    neighbors = find_neighbors(points)
    rows = [
        _to_row(name, "R2", len(sample), None, score_number(neighbors, values, rng))
        for name, values in numbers.items()
        if np.ptp(values) > 0
    ]
    for name in list_properties(observation_columns):
        values = np.array([value or "" for value in sample[name].to_pylist()])
        known = select_groups(values.tolist())
        if not len(known):
            continue
        near = neighbors if len(known) == len(sample) else find_neighbors(points[known])
        strata = divide_into_strata([z[known], snr[known]], N_QUANTILES)
        scores = [score_category(near, values[known], rng, cells) for cells in (None, strata)]
        rows.append(_to_row(name, "accuracy", len(known), len(np.unique(values[known])), *scores))
    return rows


def _to_row(
    name: str,
    metric: str,
    n_spectra: int,
    n_groups: int | None,
    score: NeighborScore,
    matched: NeighborScore | None = None,
) -> dict[str, Any]:
    return {
        "property": name,
        "metric": metric,
        "n_spectra": n_spectra,
        "n_groups": n_groups,
        "score": score.score,
        "score_std": score.std,
        "null_mean": score.null_mean,
        "null_std": score.null_std,
        "p_value": score.p_value,
        "skill": score.skill,
        "matched_null_mean": matched.null_mean if matched else None,
        "matched_null_std": matched.null_std if matched else None,
        "matched_p_value": matched.p_value if matched else None,
    }
