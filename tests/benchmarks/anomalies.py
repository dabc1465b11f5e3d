"""Are oddities found, and bad pixels told from them? Recipes `dja` and `paper` on a made-up archive held out.

    python -m tests.benchmarks.anomalies [--seeds N] [--set chosen|reported] [--cache FOLDER]

Models are the ablation's: trained on its archive of 4,000 files, one from each seed's first weights. They
embed another archive of 24,000 files, of whose sources 1 % are odd and of whose files 2 % are spoilt; how the
parts are combined was chosen on one ("chosen"), the figures are of another ("reported").
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from distspec.anomaly.latent_scorer import fit_latent_scorer
from distspec.anomaly.residuals import compute_residual_statistics, estimate_model_error
from distspec.anomaly.score import PARTIAL_SCORES, compute_anomaly_scores
from distspec.archives.simulated.archive import simulate_survey_flux
from distspec.archives.simulated.survey import ANOMALY_TYPES, SyntheticConfig, plan_survey
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.clustering.gaussian_mixture import MixtureInit, fit_mixtures
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import BadPixelStatistics, find_bad_pixels
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.preprocessing.rest_frame import preprocess
from tests.benchmarks.ablation import ROWS, as_batch, fitted, recipe, training_archive
from tests.benchmarks.survey import SAMPLE_SLOPE, _observe

N_FILES = 24_000
ARCHIVES = {"chosen": 303, "reported": 404}
"""Seeds."""
TOP = 0.03
"""The share of spectra that somebody looks at."""
N_ERROR = 4000
"""Spectra from which the model's usual error is taken."""
_BLOCK = 2048
_Z = np.array([5.5])


@dataclass(frozen=True)
class Archive:
    """N spectra as a recipe's store holds them, and what each is.

    Attributes
    ----------
    flux, ivar : (N, L)
    z, snr : (N,)
    kind : (N,) str
        Of oddity or artefact; "" of ordinary spectra.
    number : (N,)
        Of the file.
    """

    flux: Floats32
    ivar: Floats32
    z: Floats
    snr: Floats32
    kind: NDArray[np.str_]
    number: NDArray[np.int64]


def made_up(row: str, seed: int, n: int = N_FILES) -> Archive:
    """Return an archive as recipe `row` selects and stores it, dwarfs taken for galaxies included."""
    config, field = SyntheticConfig(n_spectra=n, seed=seed), pc.field
    table = plan_survey(config).filter((field("grade") == 3) & (field("z") > 4.0))
    settings, _ = recipe(row)
    grid = settings.grid.resolve(_Z)
    parts: list[Archive] = []
    for first in range(0, len(table), _BLOCK):
        block = table.slice(first, _BLOCK)
        rows: list[dict[str, Any]] = block.to_pylist()
        kinds = np.array([each["anomaly_type"] for each in rows])
        artefacts = np.where(np.char.startswith(kinds, "artefact"), kinds, "").tolist()
        rngs = [np.random.default_rng([seed, 4, each["index"]]) for each in rows]
        z, exptime = block["z"].to_numpy(), block["exptime"].to_numpy()
        spectra = _observe(simulate_survey_flux(config, rows), z, exptime, artefacts, rngs)
        batch, rejected = preprocess(spectra, grid, settings.norm, SAMPLE_SLOPE)
        kept = np.setdiff1d(np.arange(len(rows)), [index for index, _ in rejected])
        number = block["index"].to_numpy()[kept]
        parts.append(Archive(batch.flux, batch.ivar, batch.z, batch.snr, kinds[kept], number))
    names = Archive.__dataclass_fields__
    return Archive(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def trained(row: str, seed: int) -> SpectrumVAE:
    """Return the ablation's model of a row."""
    _, training = recipe(row)
    grid, train, held, twice = training_archive(row)
    return fitted(ROWS[row], training, grid, train, held, twice, seed)


def kept(folder: Path | None, name: str, make: Callable[[], Any]) -> Any:
    """Return what `make` makes, or made before: a folder remembers."""
    path = folder / f"{name}.pickle" if folder else None
    if path and path.exists():
        return pickle.loads(path.read_bytes())
    found = make()
    if path:
        path.write_bytes(pickle.dumps(found, protocol=5))
    return found


def embedded(model: SpectrumVAE, archive: Archive, ivar: Floats32) -> tuple[dict[str, Any], Floats32]:
    """Return what a model says of spectra, and their reconstructions."""
    parts: list[dict[str, Any]] = []
    for first in range(0, len(archive.z), _BLOCK):
        rows = slice(first, first + _BLOCK)
        with torch.inference_mode():
            batch = as_batch(archive.flux[rows], ivar[rows], archive.z[rows])
            found = embed(model, batch)
            found["flux"] = found["amplitude"][:, None] * decode_flux(model, found["z_mean"], batch.z)
        parts.append({name: each.numpy() for name, each in found.items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return whole, whole.pop("flux")


def scored(
    model: SpectrumVAE, archive: Archive, artefacts: BadPixelStatistics, row: str, masked: bool, seed: int
) -> dict[str, Any]:
    """Return what a run says of every spectrum; classes are a mixture's of its latents."""
    ivar = np.where(artefacts.bad_pixels, np.float32(0.0), archive.ivar) if masked else archive.ivar
    found, recon = embedded(model, archive, ivar)
    scatter = artefacts.scatter_ratio
    few = np.random.default_rng(seed).selection(len(archive.z), N_ERROR, replace=False)
    error = estimate_model_error(archive.flux[few], ivar[few], recon[few], scatter[few])
    grid = recipe(row)[0].grid.resolve(_Z)
    raw = compute_residual_statistics(
        archive.flux, ivar, recon, scatter, error, archive.z, grid, NIRSPEC_PRISM
    )
    latents = scale_by_posterior_width(found["z_mean"], found["z_log_var"])
    raw |= fit_latent_scorer(latents, seed).compute_scores(latents)
    x = latents.astype(np.float64)
    mixture = fit_mixtures(x, [MixtureInit(8, "tied", seed)])[0]
    label = mixture.predict_proba(x).argmax(axis=1).astype(np.int32)
    return found | compute_anomaly_scores(raw, archive.snr, label, artefacts.score)


def recalls(rank: Any, archive: Archive, top: float = TOP) -> dict[str, float]:
    """Return which share of oddities is among the first, by kind, and which share of those are artefacts."""
    first = np.argsort(rank, kind="stable")[: round(top * len(rank))]
    listed = np.isin(np.arange(len(rank)), first)
    odd = np.isin(archive.kind, ANOMALY_TYPES)
    found = {"all": listed[odd].mean(), "S/N > 4": listed[odd & (archive.snr > 4.0)].mean()}
    found |= {kind: listed[archive.kind == kind].mean() for kind in ANOMALY_TYPES}
    spoilt = np.char.startswith(archive.kind, "artefact")
    return {name: float(each) for name, each in found.items()} | {"artefacts": float(spoilt[first].mean())}


def spoilt(artefacts: BadPixelStatistics, archive: Archive) -> dict[str, float]:
    """Return which share of each kind of artefact, and of oddities, scores more than 95 % of the ordinary."""
    ordinary, score = archive.kind == "", artefacts.score
    limit = np.percentile(score[ordinary], 95.0)
    kinds = [kind for kind in np.unique(archive.kind).tolist() if kind.startswith("artefact")]
    found = {kind: float((score[archive.kind == kind] > limit).mean()) for kind in kinds}
    odd = np.isin(archive.kind, ANOMALY_TYPES)
    return found | {
        "oddities over it": float((score[odd] > limit).mean()),
        "ordinary at 1 or more": float((score[ordinary] >= 1.0).mean()),
        "bad pixels of ordinary": float(artefacts.bad_pixels[ordinary].sum(axis=1).mean()),
    }


def table(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return a Markdown table, mean ± standard deviation over seeds."""
    names = list(next(iter(rows.values()))[0])
    lines = ["| | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    for row, each in rows.items():
        values = [[found[name] for found in each] for name in names]
        cells = [f"{mean(v):.2f} ± {stdev(v):.2f}" if len(v) > 1 else f"{mean(v):.3f}" for v in values]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train or recall models, score both archives, print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", choices=ARCHIVES, default="reported", dest="which")
    parser.add_argument("--cache", type=Path, help="a folder that keeps models and archives")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {}
    for row in ("dja", "paper"):
        made = kept(given.cache, f"{row}-{given.which}", lambda row=row: made_up(row, ARCHIVES[given.which]))
        grid = recipe(row)[0].grid.resolve(_Z)
        artefacts = find_bad_pixels(made.flux, made.ivar, made.z, grid, NIRSPEC_PRISM)
        numbers = {kind: int((made.kind == kind).sum()) for kind in np.unique(made.kind).tolist()}
        print(
            f"{row}: {len(made.z)} spectra, {numbers}\n\n{table({row: [spoilt(artefacts, made)]})}\n",
            flush=True,
        )
        for seed in range(given.n_seeds):
            model = kept(given.cache, f"m-{row}-{seed}", lambda row=row, seed=seed: trained(row, seed))
            for masked in (True, False):
                said = scored(model, made, artefacts, row, masked, seed)
                how = row if masked else f"{row}, bad pixels not masked"
                ranks = {how: said["anomaly_rank"]}
                if masked and row == "dja":
                    ranks |= {f"{row}, {name} alone": -said[name] for name in PARTIAL_SCORES}
                if not masked and row == "paper":
                    # How badly spectra are reconstructed, by the loss that the published model has.
                    ranks |= {"paper, reconstruction error alone": -said["recon_mse"]}
                for name, rank in ranks.items():
                    found.setdefault(name, []).append(recalls(rank, made))
                    print(name, seed, found[name][-1], file=sys.stderr, flush=True)
    chance = [dict.fromkeys(next(iter(found.values()))[0], TOP) for _ in range(given.n_seeds)]
    print(table({**found, "chance": chance}))


if __name__ == "__main__":
    main()
