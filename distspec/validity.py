"""Other measures of how well labels divide points: the Davies–Bouldin index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distspec.spectrum import Floats

Labels = NDArray[np.int32]


def davies_bouldin(x: Floats, labels: Labels) -> Floats:
    """Return the Davies–Bouldin indices (1979), (T,), of labels, (T, N), over points, (N, D), without noise.

    Lower is better; NaN where there are fewer than 2 classes.
    """
    return np.array([_davies_bouldin(x, each) for each in labels], dtype=np.float64)


def _davies_bouldin(x: Floats, labels: Labels) -> float:
    kept = labels >= 0
    points, label = (x, labels) if kept.all() else (x[kept], labels[kept])
    sizes = np.bincount(label)
    present = np.flatnonzero(sizes)
    if len(present) < 2:
        return float("nan")
    sums = np.stack([np.bincount(label, column) for column in points.T], axis=1)
    centres = sums / np.maximum(sizes, 1)[:, None]
    away = np.sqrt(((points - centres[label]) ** 2).sum(axis=1))
    spread = (np.bincount(label, away) / np.maximum(sizes, 1))[present]
    apart = np.linalg.norm(centres[present, None] - centres[present], axis=2)
    ratio = np.divide(spread[:, None] + spread, apart, out=np.zeros_like(apart), where=apart > 0)
    return float(ratio.max(axis=1).mean())
