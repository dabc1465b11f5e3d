"""What classes are worth in the space of `distspec.measurements.features`, against the latents they are decoded from.

    python -m tests.benchmarks.physics [--seeds N] [--models FOLDER] [dja | spex]

dja: models of recipe `dja`, trained on the made-up archive of `tests.benchmarks.ablation` (or loaded from
FOLDER/dja_<seed>.pt), embed sources of another archive; full-covariance Gaussian mixtures, the likeliest of
ten starts, are scored against the true classes, and against those of the other models. spex: the same for
indices of real stars, no model, against M, L and T.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.csv
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS as PRISM
from distspec.measurements.standard_sets import SPEX_MEASUREMENTS
from distspec.models.vae import decode_flux, embed
from tests.benchmarks.ablation import DJA, _held, as_batch, fitted, recipe, training_archive
from tests.benchmarks.real_quality import _stored
from tests.conftest import DATA

STARTS = 10


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["dja", "spex"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--models", type=Path, help="folder of trained models, dja_<seed>.pt")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for what in given.what:
        if what == "dja":
            _dja(given.n_seeds, given.models)
        else:
            _spex()


def _dja(n_seeds: int, models: Path | None) -> None:
    held, (grid, *data) = _held("dja", "reported"), training_archive("dja")
    view = held.init_coords
    own = PRISM.measure(view.flux, view.ivar, view.z, grid)
    lya = PRISM.scale_by_error(("lya_ew",), own)
    labels: dict[tuple[str, int], list[Any]] = {}
    for seed in range(n_seeds):
        if models:
            model = torch.load(models / f"dja_{seed}.pt", weights_only=False)
        else:
            model = fitted(DJA, recipe("dja")[1], grid, *data, seed)
        found = {
            name: values.numpy()
            for name, values in embed(model, as_batch(view.flux, view.ivar, view.z)).items()
        }
        recon = measure_reconstructions(
            PRISM,
            lambda latent, z, model=model: _decoded(model, latent, z),
            grid,
            found["z_mean"],
            found["z_log_var"],
        )
        whole = compute_features(PRISM, recon | own)
        spaces = {
            "latents": found["z_mean"],
            "latents, Lyα": np.hstack([found["z_mean"], lya]),
            "features": whole[:, :-1],
            "features, Lyα": whole,
        }
        for (name, points), k in itertools.product(spaces.items(), (6, 8)):
            labels.setdefault((name, k), []).append(_mixture(points, k))
    print(f"{len(view)} held-out spectra, {n_seeds} models, full covariance, best of {STARTS} starts")
    for (name, k), each in labels.items():
        agreed = [adjusted_rand_score(a, b) for a, b in itertools.combinations(each, 2)]
        _say(f"{name}, k = {k}", each, held.truth_class, agreed)


def _spex() -> None:
    with TemporaryDirectory(prefix="ds-") as root:
        _, store = _stored("spex", root)
        rows = store.current_rows()
        flux, ivar = store.read_spectra(rows)
        own = SPEX_MEASUREMENTS.measure(flux, ivar, np.zeros(len(rows)), store.config.grid)
        names = store.ledger(["object_id"])["object_id"].take(rows).to_pylist()
    table = pyarrow.csv.read_csv(DATA / "spex" / "labels.csv").to_pydict()
    known = dict(zip(table["DATA_FILE"], table["cls"], strict=True))
    classes = np.array([known[name] for name in names])
    points = np.array([own[each.name] for each in SPEX_MEASUREMENTS.definitions]).T
    covered = np.isfinite(points).all(axis=1)
    print(f"SpeX: {len(covered)} stars, {covered.sum()} of which all indices cover")
    scaled = np.array(
        [np.arcsinh((own[m.name][covered] - m.center) / m.scale) for m in SPEX_MEASUREMENTS.definitions]
    ).T
    for k in (3, 4, 6):
        _say(f"indices, k = {k}", [_mixture(scaled, k, seed) for seed in range(4)], classes[covered], [])


def _decoded(model: Any, latent: Any, z: float) -> Any:
    return decode_flux(model, torch.from_numpy(latent), torch.full((len(latent),), z)).numpy()


def _mixture(points: Any, k: int, seed: int = 0) -> Any:
    points = points.astype(np.float64)
    return GaussianMixture(k, n_init=STARTS, random_state=seed, reg_covar=1e-4).fit_predict(points)


def _say(what: str, labels: list[Any], truth: Any, agreed: list[float]) -> None:
    scores = {
        "ARI": [adjusted_rand_score(truth, each) for each in labels],
        "NMI": [normalized_mutual_info_score(truth, each) for each in labels],
        "between models": agreed,
    }
    words = [
        f"{name} {statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}"
        for name, v in scores.items()
        if len(v) > 1
    ]
    print(f"{what}: {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main()
