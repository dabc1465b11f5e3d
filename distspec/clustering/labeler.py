"""What labels a spectrum: fitted clusterings, the maps that they see it on, and what their clusters mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distspec.clustering.algorithms import Labels, MembershipModel, NearestCenterMembership, labels_from_prob
from distspec.clustering.config import FeatureSpace
from distspec.clustering.consensus import Consensus
from distspec.clustering.diagnostics import normalized_entropy
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.umap import Neighbors, UmapEmbedding, find_neighbors
from distspec.core.spectrum import Floats


@dataclass(frozen=True)
class EnsembleMember:
    """One fitted clustering, and where it sees spectra.

    Attributes
    ----------
    model_index : int
        Which of the samples it clusters.
    space : Space
    membership_model : Predictor
    """

    model_index: int
    space: FeatureSpace
    membership_model: MembershipModel


@dataclass(frozen=True)
class EnsembleLabeler:
    """Everything that labels a spectrum.

    Attributes
    ----------
    members : sequence of Repeat
    umaps : mapping
        Their maps, by model and space.
    consensus : Consensus
    reference_member : int or None
        The repeat whose own clusters are the classes; None: those of the consensus.
    display_umap : Map or None
        Where spectra are drawn, of the first model's latents.
    """

    members: Sequence[EnsembleMember]
    umaps: Mapping[tuple[int, FeatureSpace], UmapEmbedding]
    consensus: Consensus
    reference_member: int | None
    display_umap: UmapEmbedding | None = None

    def assign(self, model_inputs: Sequence[ClusteringInputs]) -> dict[str, Any]:
        """Return `described` of spectra, as each model sees them, and their ``points`` on the shown map."""
        points: dict[tuple[int, FeatureSpace], Floats] = {}
        seen: dict[tuple[int, int], Neighbors | None] = {}
        found: list[Floats] = []

        def on(map: UmapEmbedding, model: int, base: Floats) -> Floats:
            # Maps that differ in seed or dimensions see the same neighbours: most of the time goes there.
            key = model, map.neighbor_graph.n_neighbors
            if key not in seen:
                seen[key] = find_neighbors(map.neighbor_graph, base)
            return map.transform(base, seen[key])

        for each in self.members:
            key = each.model_index, each.space
            if key not in points:
                base = model_inputs[each.model_index].get_points(each.space).astype(np.float64)
                points[key] = on(self.umaps[key], each.model_index, base) if each.space.umap_dims else base
            found.append(each.membership_model.predict_proba(points[key]))
        prob = None if self.reference_member is None else found[self.reference_member]
        said = build_assignment(self.consensus, [labels_from_prob(each) for each in found], prob)
        if self.display_umap is not None:
            said["points"] = on(self.display_umap, 0, model_inputs[0].latents.astype(np.float64)).astype(
                np.float32
            )
        return said


def build_assignment(
    consensus: Consensus, member_labels: Sequence[Labels], prob: Floats | None = None
) -> dict[str, Any]:
    """Return what a catalogue says of spectra that repeats have labelled.

    Parameters
    ----------
    consensus : Consensus
    member_labels : sequence of (N,) int32
    prob : (N, K) or None
        Memberships, where they are a single clustering's; else of the consensus.

    Returns
    -------
    dict
        ``label`` (N,) int32, ``prob`` (N, K), ``entropy`` and ``stability`` (N,).
    """
    prob = consensus.predict_proba(member_labels) if prob is None else prob
    labels = labels_from_prob(prob)
    return {
        "label": labels,
        "prob": prob.astype(np.float32),
        "entropy": normalized_entropy(prob).astype(np.float32),
        "stability": consensus.membership_stability(member_labels, labels).astype(np.float32),
    }


def build_single_class_labeler(inputs: ClusteringInputs, display_umap: UmapEmbedding) -> EnsembleLabeler:
    """Return what labels spectra of a sample that nothing divides: all are of one class."""
    one = np.zeros(len(inputs), np.int32)
    everywhere = NearestCenterMembership(np.zeros((1, inputs.latents.shape[1])))
    repeat = EnsembleMember(0, FeatureSpace("latents"), everywhere)
    return EnsembleLabeler([repeat], {}, Consensus.from_members([one], one), None, display_umap)
