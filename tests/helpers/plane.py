"""A root with only a published table of objects, whose latents are given."""

import numpy as np

from distspec.anomaly.score import PARTIAL_SCORES
from distspec.catalog import editions
from distspec.core import schema


def publish(root, z_mean, score=None, names=None):
    """Publish spectra with given latents and posterior widths of 0.5; return their names."""
    n, n_latents = z_mean.shape
    names = names or [f"field-{i:04d}.spec.fits" for i in range(n)]
    score = np.zeros(n) if score is None else score
    columns = schema.build_objects_schema(n_latents, (), 0)
    known = {
        "object_id": names,
        "anomaly_score": score,
        "anomaly_rank": np.argsort(np.argsort(-score, kind="stable")) + 1,
        **{f"z_mean_{i:02d}": z_mean[:, i] for i in range(n_latents)},
        **{f"z_log_var_{i:02d}": np.full(n, np.log(0.25)) for i in range(n_latents)},
        **dict.fromkeys(PARTIAL_SCORES, score),
    }
    blank = {"string": [""] * n}
    values = {c.name: known.get(c.name, blank.get(str(c.type), np.zeros(n))) for c in columns}
    editions.publish(str(root), {"objects": schema.build_table(values, columns, {})}, "r-1", "s", {})
    return names
