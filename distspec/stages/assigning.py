"""What a sweep found, said of every spectrum, on Ray: spans of rows by tasks that hold only their span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from tqdm import tqdm

from distspec.clustering import Labels, Predictor, labels_of
from distspec.consensus import Consensus
from distspec.degeneracy import entropy
from distspec.features import measure_reconstructions
from distspec.maps import Map, Seen, seen_from
from distspec.model import load_model
from distspec.spaces import Sample
from distspec.spectrum import Floats, Floats32
from distspec.stages.bounded import in_order
from distspec.stages.session import n_cpus
from distspec.sweep import Space

SPAN = 16_384
"""Rows of a task: a multiple of a model's passes."""


@dataclass(frozen=True)
class Repeat:
    """One fitted clustering, and where it sees spectra.

    Attributes
    ----------
    model : int
        Which of the samples it clusters.
    space : Space
    predictor : Predictor
    """

    model: int
    space: Space
    predictor: Predictor


@dataclass(frozen=True)
class Fitted:
    """Everything that labels a spectrum.

    Attributes
    ----------
    repeats : sequence of Repeat
    places : mapping
        Their maps, by model and space.
    consensus : Consensus
    single : int or None
        The repeat whose own clusters are the classes; None: those of the consensus.
    shown : Map or None
        Where spectra are drawn, of the first model's latents.
    """

    repeats: Sequence[Repeat]
    places: Mapping[tuple[int, Space], Map]
    consensus: Consensus
    single: int | None
    shown: Map | None = None

    def describe(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return `described` of spectra, as each model sees them, and their ``points`` on the shown map."""
        points: dict[tuple[int, Space], Floats] = {}
        seen: dict[tuple[int, int], Seen | None] = {}
        found: list[Floats] = []

        def on(map: Map, model: int, base: Floats) -> Floats:
            # Maps that differ in seed or dimensions see the same neighbours: most of the time goes there.
            key = model, map.near.n_neighbors
            if key not in seen:
                seen[key] = seen_from(map.near, base)
            return map.transform(base, seen[key])

        for each in self.repeats:
            key = each.model, each.space
            if key not in points:
                base = samples[each.model].base(each.space).astype(np.float64)
                points[key] = on(self.places[key], each.model, base) if each.space.dims else base
            found.append(each.predictor.posterior(points[key]))
        prob = None if self.single is None else found[self.single]
        said = described(self.consensus, [labels_of(each) for each in found], prob)
        if self.shown is not None:
            said["points"] = on(self.shown, 0, samples[0].latents.astype(np.float64)).astype(np.float32)
        return said


def described(consensus: Consensus, repeats: Sequence[Labels], prob: Floats | None = None) -> dict[str, Any]:
    """Return what a catalogue says of spectra that repeats have labelled.

    Parameters
    ----------
    consensus : Consensus
    repeats : sequence of (N,) int32
    prob : (N, K) or None
        Memberships, where they are a single clustering's; else of the consensus.

    Returns
    -------
    dict
        ``label`` (N,) int32, ``prob`` (N, K), ``entropy`` and ``stability`` (N,).
    """
    prob = consensus.probabilities(repeats) if prob is None else prob
    labels = labels_of(prob)
    return {
        "label": labels,
        "prob": prob.astype(np.float32),
        "entropy": entropy(prob).astype(np.float32),
        "stability": consensus.stability(repeats, labels).astype(np.float32),
    }


@ray.remote(num_cpus=1, max_retries=3)
def _assign(fitted: Fitted, samples: Sequence[Sample]) -> dict[str, Any]:
    return fitted.describe(samples)


@ray.remote(num_cpus=1, max_retries=3)
def _place(place: Map, base: Floats32) -> Floats32:
    return place.transform(base.astype(np.float64)).astype(np.float32)


@ray.remote(num_cpus=1, max_retries=3)
def _measure(url: str, kind: str, z_mean: Floats32, z_log_var: Floats32) -> dict[str, Floats32]:
    torch.set_num_threads(1)
    model = load_model(url)
    return measure_reconstructions(kind, model.decode, model.grid, z_mean, z_log_var)


def assign(fitted: Fitted, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return `described` of every spectrum, as each model sees them."""
    shared = ray.put(fitted)
    return in_spans(
        "assign", len(samples[0]), lambda rows: _assign.remote(shared, [s.take(rows) for s in samples])
    )


def place(fitted: Map, base: Floats32) -> Floats32:
    """Return where spectra lie on a map, (N, dims)."""
    shared = ray.put(fitted)
    return in_spans("place", len(base), lambda rows: _place.remote(shared, base[rows]))


def measure(url: str, kind: str, z_mean: Floats32, z_log_var: Floats32) -> dict[str, Floats32]:
    """Return `distspec.features.measure_reconstructions` of every spectrum that a model has embedded."""
    return in_spans(
        "measure", len(z_mean), lambda rows: _measure.remote(url, kind, z_mean[rows], z_log_var[rows])
    )


def in_spans(what: str, n: int, submit: Any, size: int = SPAN) -> Any:
    """Return what tasks make of spans of `n` rows, `size` each, end to end."""
    spans = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    bar = tqdm(in_order(submit, spans, 2 * n_cpus()), total=len(spans), desc=what, unit="span", disable=None)
    parts = list(bar)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
