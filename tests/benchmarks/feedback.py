"""How many oddities of interest a person finds with feedback, and without: recall by spectra looked at.

    python -m tests.benchmarks.feedback [--seeds N] [--set chosen|reported] [--cache FOLDER] [--all]

Models and archives are those of `tests.benchmarks.anomalies`. A made-up person goes down the list, `BATCH`
spectra at a time, calls interesting what the truth says is of one type and ordinary all else, and gets a new
list. `--all` compares what the forest may be told and how its word may count: chosen on "chosen".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from distspec.anomaly import feedback
from distspec.anomaly.feedback import INTERESTING, ORDINARY, PARTIAL_SCORES
from distspec.archives.simulated.survey import ANOMALY_TYPES
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Floats
from distspec.measurements.bad_pixels import find_bad_pixels
from tests.benchmarks.ablation import recipe
from tests.benchmarks.anomalies import ARCHIVES, kept, made_up, scored, trained

BATCH = 10
LOOKS = (50, 100, 200)
ROW = "dja"

Rank = Callable[[NDArray[np.int8]], Floats]


def found(rank: Rank, interesting: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many interesting spectra a person has found after each look."""
    marks, seen = np.zeros(len(interesting), np.int8), np.zeros(0, np.int64)
    while len(seen) < LOOKS[-1]:
        order = np.argsort(-rank(marks), kind="stable")
        rows = order[marks[order] == 0][:BATCH]
        marks[rows] = np.where(interesting[rows], INTERESTING, ORDINARY)
        seen = np.concatenate([seen, rows])
    return np.cumsum(interesting[seen])


def ways(said: Mapping[str, NDArray[np.float32]], seed: int, every: bool) -> dict[str, Rank]:
    """Return how spectra may be ranked after marks."""
    score, parts = said["anomaly_score"], {name: said[name] for name in PARTIAL_SCORES}
    latents = scale_by_posterior_width(said["z_mean"], said["z_log_var"])
    told = {"feedback": (parts, latents)}
    if every:
        told |= {"… parts alone": (parts, latents[:, :0])}
    rank: dict[str, Rank] = {"no feedback": lambda marks: score.astype(np.float64)}
    for name, (of, beside) in told.items():
        rank[name] = lambda marks, of=of, beside=beside: feedback.rescore_with_marks(
            of, beside, score, marks, seed
        )
    if every:
        x = np.column_stack([*parts.values(), latents]).astype(np.float64)
        for name, points in (("… the forest alone", x), ("… of latents", latents.astype(np.float64))):
            rank[name] = lambda marks, points=points: _alone(points, score, marks, seed)
    return rank


def _alone(x: Floats, score: NDArray[np.float32], marks: NDArray[np.int8], seed: int) -> Floats:
    return feedback.score_with_aad_forest(x, marks, seed) if marks.any() else score.astype(np.float64)


def table(rows: Mapping[tuple[str, str], Sequence[Sequence[float]]], numbers: Mapping[str, int]) -> str:
    """Return a Markdown table of recall, mean ± standard deviation over seeds."""
    lines = [
        "| of interest | list | " + " | ".join(f"{n} looks" for n in LOOKS) + " |",
        "|---|---|---:|---:|---:|",
    ]
    for (kind, name), each in rows.items():
        cells = [
            f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
            for values in zip(*each, strict=True)
        ]
        lines.append(f"| {kind} ({numbers[kind]}) | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Recall or make models and archives, let the person look, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", choices=ARCHIVES, default="reported", dest="which")
    parser.add_argument("--cache", type=Path, help="a folder that keeps models and archives")
    parser.add_argument("--all", action="store_true", help="other ways as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    made = kept(given.cache, f"{ROW}-{given.which}", lambda: made_up(ROW, ARCHIVES[given.which]))
    grid = recipe(ROW)[0].grid.resolve(np.array([5.5]))
    artefacts = find_bad_pixels(made.flux, made.ivar, made.z, grid, NIRSPEC_PRISM)
    interests = {kind: made.kind == kind for kind in ANOMALY_TYPES} | {
        "any": np.isin(made.kind, ANOMALY_TYPES)
    }
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(given.n_seeds):
        model = kept(given.cache, f"m-{ROW}-{seed}", lambda seed=seed: trained(ROW, seed))
        said = scored(model, made, artefacts, ROW, True, seed)
        for kind, interesting in interests.items():
            for name, rank in ways(said, seed, given.all).items():
                curve = found(rank, interesting) / interesting.sum()
                rows.setdefault((kind, name), []).append([float(curve[n - 1]) for n in LOOKS])
            rows.setdefault((kind, "chance"), []).append([n / len(made.z) for n in LOOKS])
    print(f"{len(made.z):,} spectra\n\n{table(rows, {k: int(each.sum()) for k, each in interests.items()})}")


if __name__ == "__main__":
    main()
