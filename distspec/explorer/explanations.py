"""Why a spectrum is anomalous, which of its pixels are bad, and its probable redshifts."""

from __future__ import annotations

import numpy as np

from distspec.anomaly.score import PARTIAL_SCORES, explain_anomaly, explain_redshift
from distspec.core.arrow import pc
from distspec.explorer.data import ExplorerData
from distspec.explorer.payloads import ExplanationPayload
from distspec.measurements.bad_pixels import THRESHOLDS, describe_worst_statistic


def explain_row(data: ExplorerData, row: int) -> ExplanationPayload:
    """Explain anomaly score and bad pixels of a spectrum.

    The reason is that of the table ``anomalies`` where it lists the spectrum; otherwise it is formed in the
    same way from the row, if the catalog has the components of the score.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    row : int
        Row number in ``objects``.

    Returns
    -------
    ExplanationPayload
    """
    values = data.get_row(row)
    object_id = values["object_id"]
    listed = data.anomalies.filter(pc.equal(data.anomalies["object_id"], object_id))["reason"].to_pylist()
    bad_pixels = ""
    if all(values.get(name) is not None for name in THRESHOLDS):
        bad_pixels = describe_worst_statistic({name: values[name] for name in THRESHOLDS})
    reason = listed[0] if listed else _explain_anomaly(data, row)
    return ExplanationPayload(reason, bad_pixels, *data.read_redshift_density(object_id))


def _explain_anomaly(data: ExplorerData, row: int) -> str:
    values = data.get_row(row)
    if any(values.get(name) is None for name in (*PARTIAL_SCORES, "norm_snr")):
        return ""
    flux, ivar, recon = data.spectrum(row)
    residual = (flux - recon) * np.sqrt(ivar)
    scores = {name: values[name] for name in PARTIAL_SCORES}
    reason = explain_anomaly(scores, values["norm_snr"], residual, ivar > 0, data.store.config.grid.wave_rest)
    measured = (values.get(name) for name in ("z_model", "p_outlier", "z_class"))
    redshift = explain_redshift(values["z"], *measured)
    return "; ".join(filter(None, (redshift, reason)))
