"""Looking for oddities, on Ray: what is ordinary is fitted to a sample, then tasks judge spans of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from distspec.anomaly.residuals import misfit, model_error
from distspec.anomaly.score import Scorer, fit
from distspec.core import memory as memory_module
from distspec.core.instruments import DETECTORS
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.bad_pixels import find_artefacts
from distspec.models.model import Model, load_model
from distspec.stages.assign import in_spans
from distspec.stages.session import places
from distspec.store.store import Store, open_store

SPAN = 4096
"""Rows of a task: it holds their spectra and reconstructions."""
N_ERROR = 4000
"""Spectra of the sample from which the model's usual error is taken."""
SAID = ("z_mean", "amplitude", "artefact_scatter")
"""What a model's latents say of each row, that is needed here."""


@dataclass(frozen=True)
class _Ordinary:
    """What spectra are held against, and where they are.

    Attributes
    ----------
    scorer : Scorer
    error : (L,)
        The model's usual error.
    store, snapshot_id, model : str
    """

    scorer: Scorer
    error: Floats32
    store: str
    snapshot_id: str
    model: str

    def judge(self, rows: NDArray[np.int64], said: Mapping[str, Floats32], latents: Floats32) -> _Parts:
        store, model = _opened(self.store, self.snapshot_id, self.model)
        flux, ivar, recon, z = _seen(store, model, rows, said)
        detector = DETECTORS.get(store.frozen.kind)
        scatter, grid = said["artefact_scatter"], store.frozen.grid
        left = misfit(flux, ivar, recon, scatter, self.error, z, grid, detector)
        return left | self.scorer.parts(latents)


_Parts = dict[str, Floats32]


@lru_cache(maxsize=1)
def _opened(store: str, snapshot_id: str, model: str) -> tuple[Store, Model]:
    torch.set_num_threads(1)
    return open_store(store, snapshot_id), load_model(model)


def _seen(
    store: Store, model: Model, rows: NDArray[np.int64], said: Mapping[str, Floats32]
) -> tuple[Floats32, Floats32, Floats32, Floats]:
    """Return flux, ivar without bad pixels, reconstruction (n, L), and redshifts (n,) of rows."""
    flux, ivar = store.spectra(rows)
    z = np.asarray(store.array("z"))[rows]
    found = find_artefacts(flux, ivar, z, store.frozen.grid, DETECTORS.get(store.frozen.kind))
    recon = said["amplitude"][:, None] * model.decode(said["z_mean"], z)
    return flux, np.where(found.bad, np.float32(0.0), ivar), recon, z


@ray.remote(num_cpus=1, max_retries=3)
def _judge(
    ordinary: _Ordinary, rows: NDArray[np.int64], said: Mapping[str, Floats32], latents: Floats32
) -> _Parts:
    return ordinary.judge(rows, said, latents)


def find_oddities(
    store: Store,
    model: str,
    rows: NDArray[np.int64],
    said: Mapping[str, Floats32],
    latents: Floats32,
    sample: NDArray[np.int64],
    seed: int,
) -> tuple[dict[str, Floats32], Floats32]:
    """Return how odd each spectrum is by itself, (N,) each, and the model's usual error, (L,).

    The first is what `distspec.anomaly.score.Usual` takes.

    Parameters
    ----------
    store : Store
    model : str
        Its folder.
    rows : (N,)
        Of the store.
    said : mapping
        `SAID` of them, among others.
    latents : (N, D)
        In which density and distance are taken.
    sample : (S,)
        Which of them tell what is ordinary.
    seed : int
    """
    needed = {name: said[name] for name in SAID}
    few = sample[np.linspace(0, len(sample) - 1, min(len(sample), N_ERROR)).astype(np.int64)]
    few_said = {name: values[few] for name, values in needed.items()}
    flux, ivar, recon, _ = _seen(store, load_model(model), rows[few], few_said)
    error = model_error(flux, ivar, recon, few_said["artefact_scatter"])
    ordinary = _Ordinary(fit(latents[sample], seed), error, store.url, store.snapshot_id, model)
    shared = ray.put(ordinary)

    def submit(span: slice) -> Any:
        part = {name: values[span] for name, values in needed.items()}
        return task.remote(shared, rows[span], part, latents[span])

    memory = memory_module.span(SPAN, store.frozen.grid.n_pixels)
    places("a task that judges oddities", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels")
    task: Any = _judge.options(memory=memory)
    return in_spans("oddities", len(rows), submit, SPAN), error
