"""What labels a spectrum: fitted clusterings, the maps that they see it on, and what their clusters mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distspec.clustering.algorithms import Centres, Labels, Predictor, labels_of
from distspec.clustering.config import Space
from distspec.clustering.consensus import Consensus
from distspec.clustering.diagnostics import entropy
from distspec.clustering.feature_space import Sample
from distspec.clustering.umap import Map, Seen, seen_from
from distspec.core.spectrum import Floats


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


def undivided(sample: Sample, shown: Map) -> Fitted:
    """Return what labels spectra of a sample that nothing divides: all are of one class."""
    one = np.zeros(len(sample), np.int32)
    everywhere = Centres(np.zeros((1, sample.latents.shape[1])))
    repeat = Repeat(0, Space("latents"), everywhere)
    return Fitted([repeat], {}, Consensus.of([one], one), None, shown)
