"""Are oddities found, and bad pixels told from them? Recipes `dja` and `paper` on a made-up archive held out.

    python -m tests.benchmarks.oddities [--seeds N] [--set chosen|reported] [--cache FOLDER]

Models are the ablation's: trained on its archive of 4,000 files, one from each seed's first weights. They embed
another archive of 24,000 files, of whose sources 1 % are odd and of whose files 2 % are spoilt; how the
parts are combined was chosen on one ("chosen"), the figures are of another ("reported").
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from distspec.archives.mock.survey import SyntheticConfig, plan
from distspec.archives.synthetic import noise_free
from distspec.preprocessing import preprocess
from distspec.spectrum import Floats, Floats32
from distspec.vae import SpectrumVAE
from tests.benchmarks.ablation import ROWS, fitted, recipe, training_archive
from tests.benchmarks.survey import SAMPLE_SLOPE, _observe

N_FILES = 24_000
ARCHIVES = {"chosen": 303, "reported": 404}
"""Seeds."""
_BLOCK = 2000
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
    table = plan(config).filter((field("grade") == 3) & (field("z") > 4.0))
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
        spectra = _observe(noise_free(config, rows), z, exptime, artefacts, rngs)
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
