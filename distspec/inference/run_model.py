"""The model of a run: it assigns spectra to classes and scores their anomaly, stored as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from distspec.anomaly.latent_density import LatentDensity, fit_latent_density
from distspec.anomaly.score import ReferenceDistribution
from distspec.clustering.algorithms import KNeighborsMembership, MembershipModel, NearestCenterMembership
from distspec.clustering.config import FeatureSpace
from distspec.clustering.consensus import Consensus
from distspec.clustering.feature_space import LatentScaler
from distspec.clustering.gaussian_mixture import GaussianMixture
from distspec.clustering.labeler import EnsembleLabeler, EnsembleMember
from distspec.clustering.umap import NeighborGraph, UmapEmbedding
from distspec.core.spectrum import Floats, Floats32

RUN_MODEL_FILE = "run_model.npz"
"""Name of its file in the folder of a run; nothing in it is pickled."""
_MEMBERSHIP_CLASSES: Mapping[str, type[MembershipModel]] = {
    membership_class.__name__: membership_class
    for membership_class in (GaussianMixture, KNeighborsMembership, NearestCenterMembership)
}
_CONSENSUS_ARRAYS = ("class_given_cluster", "cluster_given_class")
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class RunModel:
    """What assigns spectra to the classes of a run and scores their anomaly relative to the run's spectra.

    Attributes
    ----------
    labeler : EnsembleLabeler
        Assigns classes.
    scalers : sequence of LatentScaler
        Scale of the latents of each model, the run's own first.
    posterior_widths : ndarray of shape (n_latents,)
        Root mean square width of the posteriors of the first model.
    reference_latents : ndarray of shape (n_sample, n_latents)
        Latents of the sample that anomalies are measured against, in units of `posterior_widths`.
    seed : int
        Seed of the run.
    model_error : ndarray of shape (n_pixels,)
        Relative error of the first model's reconstructions:
        `distspec.anomaly.residuals.estimate_model_error`.
    reference_distribution : ReferenceDistribution
        Distribution of the raw anomaly scores of the run's spectra.
    """

    labeler: EnsembleLabeler
    scalers: Sequence[LatentScaler]
    posterior_widths: Floats
    reference_latents: Floats32
    seed: int
    model_error: Floats32
    reference_distribution: ReferenceDistribution

    @cached_property
    def latent_density(self) -> LatentDensity:
        """Density of the latents, fitted on first use to the same result as in the run."""
        return fit_latent_density(self.reference_latents, self.seed)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the model as arrays by name; values that are not arrays are JSON in the array ``record``.

        Returns
        -------
        dict of str to ndarray
        """
        reference = self.reference_distribution
        arrays: dict[str, NDArray[Any]] = {
            "posterior_widths": self.posterior_widths,
            "reference_latents": self.reference_latents,
            "model_error": self.model_error,
            "class_labels": self.labeler.consensus.labels,
            "chi2_trend/coef": reference.chi2_trend.coef,
            "chi2_trend/domain": reference.chi2_trend.domain,
            "class_offsets": reference.class_offsets,
            **{f"sorted_scores/{name}": values for name, values in reference.sorted_scores.items()},
        }
        for i, scaler in enumerate(self.scalers):
            arrays[f"scaler/{i}/latent_widths"] = scaler.latent_widths
            arrays[f"scaler/{i}/measurement_scale"] = scaler.measurement_scale
        record = {
            "seed": self.seed,
            "n_models": len(self.scalers),
            "reference_member": self.labeler.reference_member,
            "members": _members_to_arrays(arrays, self.labeler),
            "umaps": _umaps_to_arrays(arrays, self.labeler),
        }
        arrays["record"] = np.array(json.dumps(record))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> RunModel:
        """Return the model from the result of `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            Result of `to_arrays`, or the content of `RUN_MODEL_FILE`.

        Returns
        -------
        RunModel
        """
        record = json.loads(str(arrays["record"]))
        reference = ReferenceDistribution(
            Polynomial(arrays["chi2_trend/coef"], arrays["chi2_trend/domain"]),
            arrays["class_offsets"],
            _select_prefix("sorted_scores", arrays),
        )
        scalers = [
            LatentScaler(arrays[f"scaler/{i}/latent_widths"], arrays[f"scaler/{i}/measurement_scale"])
            for i in range(record["n_models"])
        ]
        return cls(
            _labeler_from_arrays(arrays, record),
            scalers,
            arrays["posterior_widths"],
            arrays["reference_latents"],
            record["seed"],
            arrays["model_error"],
            reference,
        )


def _members_to_arrays(arrays: dict[str, NDArray[Any]], labeler: EnsembleLabeler) -> list[dict[str, Any]]:
    """Add the arrays of ensemble members; return the values of each that are not arrays."""
    records: list[dict[str, Any]] = []
    for i, member in enumerate(labeler.members):
        fields = vars(member.membership_model)
        own_arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        arrays |= {f"member/{i}/{name}": value for name, value in own_arrays.items()}
        arrays[f"member/{i}/class_given_cluster"] = labeler.consensus.class_given_cluster[i]
        arrays[f"member/{i}/cluster_given_class"] = labeler.consensus.cluster_given_class[i]
        records.append(
            {
                "model_index": member.model_index,
                "space": member.space,
                "membership_class": type(member.membership_model).__name__,
                "values": {name: value for name, value in fields.items() if name not in own_arrays},
            }
        )
    return records


def _umaps_to_arrays(arrays: dict[str, NDArray[Any]], labeler: EnsembleLabeler) -> list[dict[str, Any]]:
    """Add the arrays of UMAP embeddings, the points of each model once; return the other values of each.

    The displayed map is that without a space.
    """
    umaps: list[tuple[int, FeatureSpace | None, UmapEmbedding]] = [
        (model_index, space, umap) for (model_index, space), umap in labeler.umaps.items()
    ]
    if labeler.display_umap is not None:
        umaps.append((0, None, labeler.display_umap))
    records: list[dict[str, Any]] = []
    for i, (model_index, space, umap) in enumerate(umaps):
        graph = umap.neighbor_graph
        arrays[f"umap/{i}"], arrays[f"umap_points/{model_index}"] = umap.coordinates, graph.x
        records.append(
            {
                "model_index": model_index,
                "space": space,
                "n_neighbors": graph.n_neighbors,
                "has_graph": graph.graph is not None,
            }
        )
    return records


def _labeler_from_arrays(arrays: Arrays, record: Mapping[str, Any]) -> EnsembleLabeler:
    members = [
        _member_from_arrays(arrays, i, member_record) for i, member_record in enumerate(record["members"])
    ]
    umaps = [
        (umap_record, _umap_from_arrays(arrays, i, umap_record))
        for i, umap_record in enumerate(record["umaps"])
    ]
    class_given_cluster, cluster_given_class = (
        [arrays[f"member/{i}/{name}"] for i in range(len(members))] for name in _CONSENSUS_ARRAYS
    )
    return EnsembleLabeler(
        members,
        {
            (umap_record["model_index"], FeatureSpace(*umap_record["space"])): umap
            for umap_record, umap in umaps
            if umap_record["space"] is not None
        },
        Consensus(arrays["class_labels"], class_given_cluster, cluster_given_class),
        record["reference_member"],
        next((umap for umap_record, umap in umaps if umap_record["space"] is None), None),
    )


def _member_from_arrays(arrays: Arrays, i: int, record: Mapping[str, Any]) -> EnsembleMember:
    fields = _select_prefix(f"member/{i}", arrays)
    fields = {name: value for name, value in fields.items() if name not in _CONSENSUS_ARRAYS}
    membership = _MEMBERSHIP_CLASSES[record["membership_class"]](**fields, **record["values"])
    return EnsembleMember(record["model_index"], FeatureSpace(*record["space"]), membership)


def _umap_from_arrays(arrays: Arrays, i: int, record: Mapping[str, Any]) -> UmapEmbedding:
    """Return an embedding onto which points can be projected; an empty graph means the original one."""
    x = arrays[f"umap_points/{record['model_index']}"]
    graph = csr_matrix((len(x), len(x))) if record["has_graph"] else None
    return UmapEmbedding(NeighborGraph(x, record["n_neighbors"], graph, {}, []), arrays[f"umap/{i}"])


def _select_prefix(prefix: str, arrays: Arrays) -> dict[str, Floats]:
    return {
        name.removeprefix(f"{prefix}/"): values
        for name, values in arrays.items()
        if name.startswith(f"{prefix}/")
    }
