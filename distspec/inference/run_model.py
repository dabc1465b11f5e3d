"""What a run keeps by which other spectra are told: plain arrays in one file, nothing pickled."""

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

from distspec.anomaly.latent_scorer import LatentAnomalyScorer, fit_latent_scorer
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
"""Its file in a run's folder."""
_CLUSTERER_CLASSES: Mapping[str, type[MembershipModel]] = {
    kind.__name__: kind for kind in (GaussianMixture, KNeighborsMembership, NearestCenterMembership)
}
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class RunModel:
    """What labels spectra and says how odd they are against those of a run.

    Attributes
    ----------
    labeler : Fitted
    scalers : sequence of Frame
        One a model, the run's own first.
    posterior_widths : (D,)
        Posterior widths of its latents.
    reference_latents : (S, D)
        Latents of the sample that says what is ordinary, in those.
    seed : int
        Of the run.
    model_error : (L,)
        The model's usual error: `distspec.anomaly.residuals.estimate_model_error`.
    reference_distribution : Usual
    """

    labeler: EnsembleLabeler
    scalers: Sequence[LatentScaler]
    posterior_widths: Floats
    reference_latents: Floats32
    seed: int
    model_error: Floats32
    reference_distribution: ReferenceDistribution

    @cached_property
    def anomaly_scorer(self) -> LatentAnomalyScorer:
        """What is ordinary in latent space, fitted again: the same sample and seed give the same."""
        return fit_latent_scorer(self.reference_latents, self.seed)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays by name; what is no array is in one of them, as JSON."""
        fitted, usual = self.labeler, self.reference_distribution
        arrays: dict[str, NDArray[Any]] = {
            "widths": self.posterior_widths,
            "sample": self.reference_latents,
            "error": self.model_error,
            "classes": fitted.consensus.labels,
            "chi2": usual.chi2_trend.coef,
            "chi2_domain": usual.chi2_trend.domain,
            "usual_of_classes": usual.class_offsets,
        }
        arrays |= {f"steps/{name}": values for name, values in usual.snr_bins.items()}
        arrays |= {f"sorted/{name}": values for name, values in usual.sorted_scores.items()}
        for i, frame in enumerate(self.scalers):
            arrays |= {f"frame/{i}/widths": frame.latent_widths, f"frame/{i}/scale": frame.measurement_scale}
        repeats: list[dict[str, Any]] = []
        for i, repeat in enumerate(fitted.members):
            fields = vars(repeat.membership_model)
            within = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
            arrays |= {f"repeat/{i}/{name}": value for name, value in within.items()}
            arrays[f"repeat/{i}/meaning"] = fitted.consensus.class_given_cluster[i]
            arrays[f"repeat/{i}/company"] = fitted.consensus.cluster_given_class[i]
            numbers = {name: value for name, value in fields.items() if name not in within}
            kind = type(repeat.membership_model).__name__
            repeats.append(
                {"model": repeat.model_index, "space": repeat.space, "kind": kind, "numbers": numbers}
            )
        maps: list[dict[str, Any]] = []
        for key, each in [*fitted.umaps.items(), ((0, None), fitted.display_umap)]:
            if each is not None:
                maps.append(
                    {"model": key[0], "space": key[1], **_map_to_arrays(arrays, len(maps), key[0], each)}
                )
        record = {"seed": self.seed, "single": fitted.reference_member, "repeats": repeats, "maps": maps}
        arrays["record"] = np.array(json.dumps(record))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> RunModel:
        """Return it from `to_arrays`."""
        record = json.loads(str(arrays["record"]))
        repeats = [_member_from_arrays(arrays, i, each) for i, each in enumerate(record["repeats"])]
        found = [(each, _map_from_arrays(arrays, i, each)) for i, each in enumerate(record["maps"])]
        places = {(e["model"], FeatureSpace(*e["space"])): m for e, m in found if e["space"] is not None}
        shown = next((m for e, m in found if e["space"] is None), None)
        meaning, company = (
            [arrays[f"repeat/{i}/{name}"] for i in range(len(repeats))] for name in ("meaning", "company")
        )
        consensus = Consensus(arrays["classes"], meaning, company)
        usual = ReferenceDistribution(
            Polynomial(arrays["chi2"], arrays["chi2_domain"]),
            arrays["usual_of_classes"],
            _select_prefix("steps", arrays),
            _select_prefix("sorted", arrays),
        )
        n_models = sum(name.startswith("frame/") for name in arrays) // 2
        frames = [
            LatentScaler(arrays[f"frame/{i}/widths"], arrays[f"frame/{i}/scale"]) for i in range(n_models)
        ]
        return cls(
            EnsembleLabeler(repeats, places, consensus, record["single"], shown),
            frames,
            arrays["widths"],
            arrays["sample"],
            record["seed"],
            arrays["error"],
            usual,
        )


def _select_prefix(folder: str, arrays: Arrays) -> dict[str, Floats]:
    return {
        name.removeprefix(f"{folder}/"): values
        for name, values in arrays.items()
        if name.startswith(f"{folder}/")
    }


def _member_from_arrays(arrays: Arrays, i: int, record: Mapping[str, Any]) -> EnsembleMember:
    within = _select_prefix(f"repeat/{i}", arrays)
    within = {name: value for name, value in within.items() if name not in {"meaning", "company"}}
    predictor = _CLUSTERER_CLASSES[record["kind"]](**within, **record["numbers"])
    return EnsembleMember(record["model"], FeatureSpace(*record["space"]), predictor)


def _map_to_arrays(
    arrays: dict[str, NDArray[Any]], i: int, model: int, umap: UmapEmbedding
) -> dict[str, Any]:
    """Put a map among arrays; the points that it is made of once for all maps of a model."""
    near = umap.neighbor_graph
    arrays[f"map/{i}"], arrays[f"made_of/{model}"] = umap.coordinates, near.x
    return {"n_neighbors": near.n_neighbors, "has_graph": near.graph is not None}


def _map_from_arrays(arrays: Arrays, i: int, record: Mapping[str, Any]) -> UmapEmbedding:
    """Return a map on which points can be placed: of its graph no more is needed than that it has one."""
    x = arrays[f"made_of/{record['model']}"]
    graph = csr_matrix((len(x), len(x))) if record["has_graph"] else None
    return UmapEmbedding(NeighborGraph(x, record["n_neighbors"], graph, {}, []), arrays[f"map/{i}"])
