"""Quality on real spectra: types of SpeX stars from latents, and hidden pixels of DJA galaxies.

    python -m tests.benchmarks.real_quality [--seeds N] [spex | dja]

Needs the real files (`DISTSPEC_TEST_DATA`). SpeX: recipe `spex` trained on 85 % of the sources, 10 nearest
neighbours of the others among them, beside 16 principal components of the same spectra. DJA: models of
recipes `dja` and `paper` trained on the made-up archive; a fifth of each real spectrum's pixels, in runs of
native ones, is hidden from the input, and the error there less what its noise explains is compared.
"""

from __future__ import annotations

import argparse
import re
import statistics
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.csv
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from distspec.models.batch import Batch
from distspec.models.vae import decode_flux, embed
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import RECIPES
from distspec.store.splits import find_repeat_pairs, is_validation
from distspec.store.store import Store
from tests.benchmarks.ablation import ROWS, fitted, recipe, training_archive
from tests.benchmarks.archive import ingest_here
from tests.conftest import DATA

HIDDEN = 0.2


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["spex", "dja"])
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    for what in given.what:
        {"spex": _spex, "dja": _dja}[what](given.n_seeds)


def _stored(name: str, root: str) -> tuple[Config, Store]:
    config = RECIPES[name](root)
    folder = DATA / name
    tables = {"catalog": str(folder / "catalog.csv")} if name == "dja" else {}
    config = replace(config, archive=replace(config.archive, url=str(folder), **tables))
    return config, ingest_here(root, config.ingest_source())


def as_batch(store: Store) -> Batch:
    flux, ivar = store.read_spectra(store.current_rows())
    z = store.ledger(["z"])["z"].to_numpy()[store.current_rows()].astype(np.float32)
    return Batch.from_spectra(*(torch.from_numpy(a) for a in (flux, ivar, z)))


def _spex(n_seeds: int) -> None:
    with TemporaryDirectory(prefix="ds-") as root:
        config, store = _stored("spex", root)
        batch, ledger = as_batch(store), store.ledger(["object_id", "source_id"])
        labels = pyarrow.csv.read_csv(DATA / "spex" / "labels.csv").to_pydict()
        known = dict(
            zip(labels["DATA_FILE"], zip(labels["cls"], labels["SPEX_TYPE"], strict=True), strict=True)
        )
        mine = [known[name] for name in ledger["object_id"].to_pylist()]
        classes, types = np.array([c for c, _ in mine]), np.array([_subtype(t) for _, t in mine])
        sources = ledger["source_id"].to_pylist()
        kept = is_validation(sources, config.training.validation_fraction)
        twice = torch.from_numpy(find_repeat_pairs(sources))
        train, held = batch[torch.from_numpy(~kept)], batch[torch.from_numpy(kept)]
        flux, ivar = (t.numpy() for t in batch.spectrum)
        mean = np.arcsinh(np.where(ivar > 0, flux, np.nan))
        filled = np.where(np.isnan(mean), np.nanmean(mean, axis=0, keepdims=True), mean)
        components = PCA(16, random_state=0).fit(filled[~kept]).transform(filled)
        print(
            "SpeX, held out:",
            int(kept.sum()),
            "of",
            len(kept),
            "PCA-16:",
            _neighbours(components, kept, classes, types),
        )
        found: list[tuple[float, float, float]] = []
        for seed in range(n_seeds):
            pairs = batch[twice[:, 0]], batch[twice[:, 1]]
            model = fitted(config.vae, config.training, store.config.grid, train, held, pairs, seed)
            latents = embed(model, batch)["z_mean"].numpy()
            found.append(_neighbours(latents, kept, classes, types))
            print("spex", seed, found[-1], flush=True)
        _say("spex, 10-NN accuracy", [a for a, _, _ in found])
        _say("spex, error in subtypes", [e for _, e, _ in found])
        _say("spex, share of the wrong that are M9, L0, L9 or T0", [near for _, _, near in found])


def _subtype(text: str) -> float:
    """Return M0 = 0 … L0 = 10 … T0 = 20."""
    found = re.match(r"([MLT])(\d+\.?\d*)", str(text))
    return "MLT".index(found[1]) * 10.0 + float(found[2]) if found else np.nan


def _neighbours(latents: Any, kept: Any, classes: Any, types: Any) -> tuple[float, float, float]:
    """Return how many held-out stars' class ten neighbours tell, and the mean error in subtypes.

    And how many of those that they get wrong are where one class becomes the next: M9, L0, L9, T0.
    """
    index = (
        NearestNeighbors(n_neighbors=10).fit(latents[~kept]).kneighbors(latents[kept], return_distance=False)
    )
    votes = [max(sorted(set(near)), key=list(near).count) for near in classes[~kept][index]]
    errors = np.abs(np.nanmedian(types[~kept][index], axis=1) - types[kept])
    right = np.array(votes) == classes[kept]
    border = np.isin(np.floor(types[kept]), (9, 10, 19, 20))
    return float(right.mean()), float(np.nanmean(errors)), float(border[~right].mean())


def _dja(n_seeds: int) -> None:
    excess: dict[str, list[float]] = {"paper": [], "dja": []}
    for row in excess:
        with TemporaryDirectory(prefix="ds-") as root:
            grid, train, held, twice = training_archive(row)
            config, store = _stored("dja", root)
            made, _ = recipe(row)
            # The model's own grid, on the real files.
            fixed = replace(
                config.grid, spacing=grid.spacing, start=grid.start, stop=grid.stop, n_pixels=grid.n_pixels
            )
            store = ingest_here(f"{root}/again", replace(config, grid=fixed, norm=made.norm).ingest_source())
            batch = as_batch(store)
            for seed in range(n_seeds):
                model = fitted(ROWS[row], recipe(row)[1], grid, train, held, twice, seed)
                excess[row].append(_hidden_excess(model, batch, grid.wave_rest))
                print(row, seed, excess[row][-1], flush=True)
        _say(f"DJA, excess error on hidden pixels, {row}", excess[row])


def _hidden_excess(model: Any, batch: Batch, wave: Any) -> float:
    """Return the median over spectra of the mean error on hidden pixels, in arcsinh², less the noise's."""
    flux, ivar = (t.numpy() for t in batch.spectrum)
    # The same stretches of wavelength on every grid, none of them all of a spectrum's.
    stretch = np.floor(np.log(wave) / 0.03).astype(int)
    pick = np.random.default_rng(0).random((len(flux), stretch.max() + 1)) < HIDDEN
    hide = pick[:, stretch] & (wave > 1300.0)
    shown = Batch.from_spectra(
        batch.spectrum.value, torch.where(torch.from_numpy(hide), 0.0, batch.spectrum.ivar), batch.z
    )
    found = embed(model, shown)
    recon = (found["amplitude"][:, None] * decode_flux(model, found["z_mean"], batch.z)).numpy()
    counted = hide & (ivar > 0)
    # arcsinh's slope turns the error of the flux into that of its arcsinh.
    noise = 1.0 / np.where(ivar > 0, ivar, np.inf) / (1.0 + np.square(flux))
    each = np.square(np.arcsinh(flux) - np.arcsinh(recon)) - noise
    sums = np.where(counted, each, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return float(np.median(sums[counted.any(axis=1)]))


def _say(what: str, values: list[float]) -> None:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    print(f"{what}: {statistics.mean(values):.4f} ± {spread:.4f} over {len(values)} seeds", flush=True)


if __name__ == "__main__":
    main()
