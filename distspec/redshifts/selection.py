"""Use of measured redshifts: which spectra of a listing are read at the redshift of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.archives.base import Archive
from distspec.core.arrow import pc
from distspec.core.listing import Listing
from distspec.core.spectrum import Floats
from distspec.redshifts.measured import build_keys

MODEL_VERSION = " z_model="
"""What precedes the redshift in the version of a spectrum that is used at the redshift of the model."""


def get_archive_version(version: str) -> str:
    """Return the version that the archive gives a spectrum, without the redshift of the model.

    Parameters
    ----------
    version : str
        Version of a row of the store.

    Returns
    -------
    str

    Examples
    --------
    >>> get_archive_version("2024-05-01 z=2.10000 z_model=4.53125 by 0f3a5c")
    '2024-05-01 z=2.10000'
    """
    return version.partition(MODEL_VERSION)[0]


def use_measured_redshifts(
    listing: Listing, measured: pa.Table, measurement_id: str, archive: Archive, min_probability: float
) -> Listing:
    """Add the spectra that are used at the redshift of the model to a listing.

    Parameters
    ----------
    listing : Listing
        Listing of the archive.
    measured : Table
        Measured redshifts, `distspec.redshifts.measured.MEASURED_SCHEMA` without p(z).
    measurement_id : str
        Name of the measurement, which becomes part of the versions.
    archive : Archive
        The archive, with its limits of the redshift; ``redshifts`` says which spectra are concerned.
    min_probability : float
        Smallest probability of a redshift that is used.

    Returns
    -------
    Listing
        Spectra at the redshift of the model have it in their version, and "model" in the column ``z_source``,
        which is empty for the others. What becomes of every candidate is counted.
    """
    spectra, candidates = listing.spectra, listing.candidates
    if candidates is None or archive.redshifts == "catalog":
        return listing
    rows = pc.index_in(build_keys(candidates), value_set=build_keys(measured))
    problems = _find_problems(measured, archive, min_probability)
    deselected = dict(listing.deselected)
    is_used = np.zeros(len(candidates), bool)
    reasons = candidates["deselected_as"].to_pylist()
    for i, row in enumerate(rows.to_pylist()):
        if row is None:  # is not measured yet
            continue
        deselected[reasons[i]] -= 1
        if problem := problems[row]:
            deselected[problem] = deselected.get(problem, 0) + 1
        is_used[i] = not problem
    used = _set_redshifts(
        candidates.drop_columns("deselected_as").filter(pa.array(is_used)),
        measured["z_model"].take(rows.filter(pa.array(is_used))).to_numpy(),
        measurement_id,
    )
    if archive.redshifts == "model":
        spectra = _replace_redshifts(spectra, measured, measurement_id, problems)
    else:
        spectra = spectra.append_column("z_source", pa.array([""] * len(spectra), pa.string()))
    return replace(
        listing,
        spectra=pa.concat_tables([spectra, used]),
        deselected={reason: n for reason, n in deselected.items() if n},
    )


def _find_problems(measured: pa.Table, archive: Archive, min_probability: float) -> list[str]:
    """Return for each measured redshift why it is not used, as the reason of a deselection; "" if it is."""
    z, probability = (measured[name].to_numpy() for name in ("z_model", "z_model_probability"))
    z_class = np.array(measured["z_class"].to_pylist(), object)
    problem = np.full(len(measured), "", object)
    tests: Mapping[str, Any] = {
        "model redshift: z": ~archive.accepts_redshifts(z),
        "model redshift: ambiguous": ~(probability >= min_probability),
        "model redshift: no galaxy": z_class == "other",
        "model redshift: noise": z_class == "noise",
        "model redshift: not measured": np.isnan(z),
    }
    for reason, applies in tests.items():  # the last one that applies counts
        problem[applies] = reason
    return problem.tolist()


def _replace_redshifts(
    spectra: pa.Table, measured: pa.Table, measurement_id: str, problems: list[str]
) -> pa.Table:
    """Return spectra at the redshift of the model where that is used, and at their own elsewhere."""
    rows = pc.index_in(build_keys(spectra), value_set=build_keys(measured))
    is_used: NDArray[np.bool_] = np.array(
        [row is not None and not problems[row] for row in rows.to_pylist()], bool
    )
    kept = spectra.filter(pa.array(~is_used))
    kept = kept.append_column("z_source", pa.array([""] * len(kept), pa.string()))
    z = measured["z_model"].take(rows.filter(pa.array(is_used))).to_numpy()
    return pa.concat_tables([kept, _set_redshifts(spectra.filter(pa.array(is_used)), z, measurement_id)])


def _set_redshifts(spectra: pa.Table, z: Floats, measurement_id: str) -> pa.Table:
    """Return spectra of a listing at other redshifts, which become part of their versions."""
    versions = [
        f"{version}{MODEL_VERSION}{value:.5f} by {measurement_id[:6]}"
        for version, value in zip(spectra["version"].to_pylist(), z.tolist(), strict=True)
    ]
    for name, values in (("z", pa.array(z, pa.float64())), ("version", pa.array(versions, pa.string()))):
        spectra = spectra.set_column(spectra.column_names.index(name), spectra.schema.field(name), values)
    return spectra.append_column("z_source", pa.array(["model"] * len(spectra), pa.string()))
