"""How much a few labels are worth: accuracy and coverage from 5, 10, 20 and 50 labels a class.

    python -m tests.benchmarks.few_labels [--seeds N] [--draws N] [--cache FOLDER] [spex | made-up]

SpeX (real stars: M, L and T; needs `DISTSPEC_TEST_DATA`): recipe `spex` trained on 85 % of the sources without
their classes. Made-up galaxies (six classes): the ablation's model of recipe `dja`, on sources of another
archive. From each model's seed, `--draws` draws of labels, by source; whatever is not drawn is judged. Beside the
run's own classifier (`distspec.learning`) stand what it could have been and 5 nearest neighbours among 16
principal components of the same spectra (arcsinh, masked pixels at the mean), as many as the latents.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.csv
import torch
from sklearn.decomposition import PCA

from distspec.diagnostics import measure
from distspec.identity import in_validation, repeats
from distspec.vae import embed
from tests.benchmarks.ablation import HELD, _held, as_batch, fitted, training_archive
from tests.benchmarks.oddities import trained
from tests.benchmarks.real_quality import _stored
from tests.benchmarks.real_quality import as_batch as stored_batch
from tests.conftest import DATA

N_COMPONENTS = 16


def components(flux: Any, ivar: Any, fitted_to: Any) -> Any:
    """Return principal components of spectra, (N, 16)."""
    shown = np.arcsinh(np.where(ivar > 0, flux, np.nan))
    usual = np.nan_to_num(np.nanmean(shown[fitted_to], axis=0, keepdims=True))
    filled = np.where(np.isnan(shown), usual, shown)
    return PCA(N_COMPONENTS, random_state=0).fit(filled[fitted_to]).transform(filled)


def spex(seed: int) -> Mapping[str, Any]:
    """Return what a model says of real stars, and what they are."""
    with TemporaryDirectory(prefix="ds-") as root:
        config, store = _stored("spex", root)
        batch, ledger = stored_batch(store), store.ledger(["object_id", "source_id"])
        labels = pyarrow.csv.read_csv(DATA / "spex" / "labels.csv").to_pydict()
        known = dict(zip(labels["DATA_FILE"], labels["cls"], strict=True))
        sources = ledger["source_id"].to_pylist()
        kept = in_validation(sources, config.training.validation_share)
        twice = torch.from_numpy(repeats(sources))
        train, held = batch[torch.from_numpy(~kept)], batch[torch.from_numpy(kept)]
        pairs = batch[twice[:, 0]], batch[twice[:, 1]]
        model = fitted(config.vae, config.training, store.frozen.grid, train, held, pairs, seed)
        flux, ivar = (t.numpy() for t in batch.spectrum)
        return {
            **_said(model, batch),
            **measure("spex", flux, ivar, np.zeros(len(flux)), store.frozen.grid),
            "components": components(flux, ivar, ~kept),
            "truth": np.array([known[name] for name in ledger["object_id"].to_pylist()]),
            "source": np.array(sources),
        }


def made_up(seed: int) -> Mapping[str, Any]:
    """Return what a model says of made-up galaxies, one spectrum a source, and what they are."""
    model = trained("dja", seed)
    grid, train, _, _ = training_archive("dja")
    held = _held("dja", "reported")
    view = held.first
    batch = as_batch(view.flux, view.ivar, view.z)
    flux, ivar = (
        np.concatenate([t.numpy(), v]) for t, v in zip(train.spectrum, (view.flux, view.ivar), strict=True)
    )
    return {
        **_said(model, batch),
        **measure("dja", view.flux, view.ivar, view.z, grid),
        "components": components(flux, ivar, np.arange(len(train)))[len(train) :],
        "truth": held.truth_class,
        "source": np.arange(len(view)).astype(str),
    }


def _said(model: Any, batch: Any) -> Mapping[str, Any]:
    found = embed(model, batch)
    return {name: found[name].numpy() for name in ("z_mean", "z_log_var")}


ARCHIVES = {"spex": spex, "made-up": made_up}


def remembered(folder: Path, what: str, seed: int) -> Mapping[str, Any]:
    """Return what an archive's model says, from a folder if it is there."""
    path = folder / f"few-{what}-{seed}.npz"
    if not path.exists():
        np.savez(path, **ARCHIVES[what](seed))
    with np.load(path) as kept:
        return dict(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["spex", "made-up"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    for seed in range(given.seeds):
        for what in given.what:
            found = remembered(given.cache, what, seed)
            print(what, seed, {k: v.shape for k, v in found.items()}, flush=True)


if __name__ == "__main__":
    main()
