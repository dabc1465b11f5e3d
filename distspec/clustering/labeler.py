"""Class assignment by an ensemble of fitted clusterings, and the result of assigning spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distspec.clustering.algorithms import Labels, MembershipModel, NearestCenterMembership, labels_from_prob
from distspec.clustering.config import FeatureSpace
from distspec.clustering.consensus import Consensus
from distspec.clustering.diagnostics import normalized_entropy
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.umap import Neighbors, UmapEmbedding, find_neighbors
from distspec.core.spectrum import Floats, Floats32


@dataclass(frozen=True)
class Assignment:
    """Classes of spectra.

    Attributes
    ----------
    labels : ndarray of int32, shape (n_spectra,)
        Most probable class; -1 is noise.
    prob : ndarray of shape (n_spectra, n_classes)
        Membership probabilities; 1 minus a row's sum is the probability of noise.
    entropy : ndarray of shape (n_spectra,)
        `distspec.clustering.diagnostics.normalized_entropy` of `prob`.
    stability : ndarray of shape (n_spectra,)
        `distspec.clustering.consensus.Consensus.membership_stability`.
    umap_coordinates : ndarray of shape (n_spectra, 2) or None
        Position on the displayed map; None if the labeler has no map.
    """

    labels: Labels
    prob: Floats32
    entropy: Floats32
    stability: Floats32
    umap_coordinates: Floats32 | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def own_prob(self) -> Floats32:
        """Probability of the assigned class, (n_spectra,); 0 for noise."""
        own = np.take_along_axis(self.prob, np.maximum(self.labels, 0)[:, None], 1)[:, 0]
        return np.where(self.labels >= 0, own, 0.0)

    @classmethod
    def from_members(
        cls, consensus: Consensus, member_labels: Sequence[Labels], prob: Floats | None = None
    ) -> Assignment:
        """Combine the labels of ensemble members.

        Parameters
        ----------
        consensus : Consensus
            Relates clusters to classes.
        member_labels : sequence of ndarray of int32, shape (n_spectra,)
            Clusters of the spectra by each member.
        prob : ndarray of shape (n_spectra, n_classes), optional
            Membership probabilities of a single clustering whose clusters are the classes; by default they
            follow from the consensus.

        Returns
        -------
        Assignment
        """
        prob = consensus.predict_proba(member_labels) if prob is None else prob
        labels = labels_from_prob(prob)
        return cls(
            labels,
            prob.astype(np.float32),
            normalized_entropy(prob).astype(np.float32),
            consensus.membership_stability(member_labels, labels).astype(np.float32),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Assignment]) -> Assignment:
        """Join the assignments of consecutive blocks of spectra.

        Parameters
        ----------
        parts : sequence of Assignment
            Assignments of consecutive blocks.

        Returns
        -------
        Assignment
            The assignment of all spectra, in order.
        """
        coordinates = [part.umap_coordinates for part in parts if part.umap_coordinates is not None]
        return cls(
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.prob for part in parts]),
            np.concatenate([part.entropy for part in parts]),
            np.concatenate([part.stability for part in parts]),
            np.concatenate(coordinates) if coordinates else None,
        )


@dataclass(frozen=True)
class EnsembleMember:
    """One fitted clustering of an ensemble.

    Attributes
    ----------
    model_index : int
        Number of the model whose latents it clusters.
    space : FeatureSpace
        Space that it clusters in.
    membership_model : MembershipModel
        Assigns points of that space to its clusters.
    """

    model_index: int
    space: FeatureSpace
    membership_model: MembershipModel


@dataclass(frozen=True)
class EnsembleLabeler:
    """Assigns spectra to the classes of a run.

    Attributes
    ----------
    members : sequence of EnsembleMember
        Fitted clusterings.
    umaps : mapping of (int, FeatureSpace) to UmapEmbedding
        Maps that members cluster on, by model number and space.
    consensus : Consensus
        Relates the members' clusters to the classes.
    reference_member : int or None
        Number of the member whose clusters are the classes; None if the classes are those of the consensus.
    display_umap : UmapEmbedding or None
        Map of the first model's latents that is displayed.
    """

    members: Sequence[EnsembleMember]
    umaps: Mapping[tuple[int, FeatureSpace], UmapEmbedding]
    consensus: Consensus
    reference_member: int | None
    display_umap: UmapEmbedding | None = None

    @classmethod
    def single_class(cls, inputs: ClusteringInputs, display_umap: UmapEmbedding) -> EnsembleLabeler:
        """Return a labeler that assigns all spectra to one class, for a sample that cannot be divided.

        Parameters
        ----------
        inputs : ClusteringInputs
            Latents and features of the sample.
        display_umap : UmapEmbedding
            The embedding that the catalog publishes.

        Returns
        -------
        EnsembleLabeler
        """
        labels = np.zeros(len(inputs), np.int32)
        membership = NearestCenterMembership(np.zeros((1, inputs.latents.shape[1])))
        member = EnsembleMember(0, FeatureSpace("latents"), membership)
        return cls([member], {}, Consensus.from_members([labels], labels), None, display_umap)

    def assign(self, model_inputs: Sequence[ClusteringInputs]) -> Assignment:
        """Assign spectra to classes.

        Parameters
        ----------
        model_inputs : sequence of ClusteringInputs
            The spectra as derived from each model.

        Returns
        -------
        Assignment
            With `umap_coordinates` if there is a displayed map.
        """
        # Maps that differ only in seed or dimensions share their neighbors, which take most of the time to
        # find.
        neighbors: dict[tuple[int, int], Neighbors | None] = {}
        points: dict[tuple[int, FeatureSpace], Floats] = {}

        def project(umap: UmapEmbedding, model_index: int, x: Floats) -> Floats:
            key = model_index, umap.neighbor_graph.n_neighbors
            if key not in neighbors:
                neighbors[key] = find_neighbors(umap.neighbor_graph, x)
            return umap.transform(x, neighbors[key])

        member_prob: list[Floats] = []
        for member in self.members:
            key = member.model_index, member.space
            if key not in points:
                x = model_inputs[member.model_index].get_points(member.space).astype(np.float64)
                points[key] = project(self.umaps[key], member.model_index, x) if member.space.umap_dims else x
            member_prob.append(member.membership_model.predict_proba(points[key]))
        prob = None if self.reference_member is None else member_prob[self.reference_member]
        member_labels = [labels_from_prob(each) for each in member_prob]
        assignment = Assignment.from_members(self.consensus, member_labels, prob)
        if self.display_umap is None:
            return assignment
        coordinates = project(self.display_umap, 0, model_inputs[0].latents.astype(np.float64))
        return replace(assignment, umap_coordinates=coordinates.astype(np.float32))
