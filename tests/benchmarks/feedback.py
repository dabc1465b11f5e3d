"""Fraction of the interesting anomalies that an annotator finds, with and without feedback.

    python -m tests.benchmarks.feedback [--seeds N] [--set chosen|reported] [--cache FOLDER] [--all]

Models and archives are those of `tests.benchmarks.anomalies`. A simulated annotator looks at `BATCH_SIZE`
spectra at a time, in the order of the list, marks spectra of one anomaly type as interesting and all others
as ordinary, and gets a new list. `--all` also compares other inputs and uses of the forest, among which the
method was chosen on archive "chosen".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distspec.anomaly.feedback import (
    INTERESTING,
    ORDINARY,
    PARTIAL_SCORES,
    rescore_with_marks,
    score_with_aad_forest,
)
from distspec.archives.simulated.survey import ANOMALY_TYPES
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core.spectrum import Floats
from tests.benchmarks.anomalies import (
    ARCHIVE_SEEDS,
    SimulatedSpectra,
    find_defects,
    score_spectra,
    simulate_spectra,
)
from tests.benchmarks.models import load_or_make, train_recipe

BATCH_SIZE = 10
N_LOOKS = (50, 100, 200)
"""Numbers of spectra looked at for which the table gives recall."""
RECIPE = "dja"
Marks = NDArray[np.int8]
Ranking = Callable[[Marks], Floats]
"""From marks to scores; high scores come first."""


def simulate_annotator(rank: Ranking, is_interesting: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many interesting spectra are found after each spectrum looked at."""
    marks, seen = np.zeros(len(is_interesting), np.int8), np.zeros(0, np.int64)
    while len(seen) < N_LOOKS[-1]:
        order = np.argsort(-rank(marks), kind="stable")
        rows = order[marks[order] == 0][:BATCH_SIZE]
        marks[rows] = np.where(is_interesting[rows], INTERESTING, ORDINARY)
        seen = np.concatenate([seen, rows])
    return np.cumsum(is_interesting[seen], dtype=np.int64)


def make_rankings(scores: Mapping[str, Any], seed: int, include_all: bool) -> dict[str, Ranking]:
    """Return the rankings to compare, by the titles of their rows."""
    own_score = scores["anomaly_score"].astype(np.float64)
    partial = {name: scores[name] for name in PARTIAL_SCORES}
    latents = scale_by_posterior_width(scores["z_mean"], scores["z_log_var"])

    def rescore(beside: Any) -> Ranking:
        return lambda marks: rescore_with_marks(partial, beside, scores["anomaly_score"], marks, seed)

    def forest_alone(x: Floats) -> Ranking:
        return lambda marks: score_with_aad_forest(x, marks, seed) if marks.any() else own_score

    rankings: dict[str, Ranking] = {"without marks": lambda marks: own_score, "with marks": rescore(latents)}
    if include_all:
        x = np.column_stack([*partial.values(), latents]).astype(np.float64)
        rankings |= {
            "… partial scores alone": rescore(latents[:, :0]),
            "… forest alone": forest_alone(x),
            "… forest of latents alone": forest_alone(latents.astype(np.float64)),
        }
    return rankings


def format_table(rows: Mapping[tuple[str, str], Sequence[Sequence[float]]], counts: Mapping[str, int]) -> str:
    """Return a Markdown table of recall, mean ± standard deviation over seeds."""
    lines = [
        "| of interest | ranking | " + " | ".join(f"{n} looks" for n in N_LOOKS) + " |",
        "|---|---|" + "---:|" * len(N_LOOKS),
    ]
    for (name, ranking), recalls in rows.items():
        cells = [
            f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
            for values in (list(column) for column in zip(*recalls, strict=True))
        ]
        lines.append(f"| {name.replace('_', ' ')} ({counts[name]}) | {ranking} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train or load models and archives, simulate the annotator and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", choices=ARCHIVE_SEEDS, default="reported", dest="archive")
    parser.add_argument("--cache", type=Path, help="folder in which models and archives are kept")
    parser.add_argument(
        "--all", action="store_true", help="compare other inputs and uses of the forest as well"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    spectra: SimulatedSpectra = load_or_make(
        args.cache, f"{RECIPE}-{args.archive}", lambda: simulate_spectra(RECIPE, ARCHIVE_SEEDS[args.archive])
    )
    bad_pixels = find_defects(spectra, RECIPE)
    interesting = {name: spectra.anomaly_type == name for name in ANOMALY_TYPES} | {"any": spectra.is_anomaly}
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(args.seeds):
        model = load_or_make(
            args.cache, f"model-{RECIPE}-{seed}", lambda seed=seed: train_recipe(RECIPE, seed)
        )
        scores = score_spectra(model, spectra, bad_pixels, RECIPE, seed)
        for name, is_interesting in interesting.items():
            for title, rank in make_rankings(scores, seed, args.all).items():
                curve = simulate_annotator(rank, is_interesting) / is_interesting.sum()
                rows.setdefault((name, title), []).append([float(curve[n - 1]) for n in N_LOOKS])
            rows.setdefault((name, "chance"), []).append([n / len(spectra) for n in N_LOOKS])
    counts = {name: int(members.sum()) for name, members in interesting.items()}
    print(f"{len(spectra):,} spectra\n\n{format_table(rows, counts)}")


if __name__ == "__main__":
    main()
