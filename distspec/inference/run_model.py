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

from distspec.anomaly.score import Scorer, Usual, fit
from distspec.clustering.algorithms import Centres, Neighbours, Predictor
from distspec.clustering.config import Space
from distspec.clustering.consensus import Consensus
from distspec.clustering.feature_space import Frame
from distspec.clustering.gaussian_mixture import Mixture
from distspec.clustering.labeler import Fitted, Repeat
from distspec.clustering.umap import Map, Neighbourhood
from distspec.core.spectrum import Floats, Floats32

YARDSTICK = "yardstick.npz"
"""Its file in a run's folder."""
_PREDICTORS: Mapping[str, type[Predictor]] = {kind.__name__: kind for kind in (Mixture, Neighbours, Centres)}
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Yardstick:
    """What labels spectra and says how odd they are against those of a run.

    Attributes
    ----------
    fitted : Fitted
    frames : sequence of Frame
        One a model, the run's own first.
    widths : (D,)
        Posterior widths of its latents.
    sample : (S, D)
        Latents of the sample that says what is ordinary, in those.
    seed : int
        Of the run.
    error : (L,)
        The model's usual error: `distspec.anomaly.residuals.model_error`.
    usual : Usual
    """

    fitted: Fitted
    frames: Sequence[Frame]
    widths: Floats
    sample: Floats32
    seed: int
    error: Floats32
    usual: Usual

    @cached_property
    def scorer(self) -> Scorer:
        """What is ordinary in latent space, fitted again: the same sample and seed give the same."""
        return fit(self.sample, self.seed)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays by name; what is no array is in one of them, as JSON."""
        fitted, usual = self.fitted, self.usual
        arrays: dict[str, NDArray[Any]] = {
            "widths": self.widths,
            "sample": self.sample,
            "error": self.error,
            "classes": fitted.consensus.labels,
            "chi2": usual.chi2.coef,
            "chi2_domain": usual.chi2.domain,
            "usual_of_classes": usual.classes,
        }
        arrays |= {f"steps/{name}": values for name, values in usual.steps.items()}
        arrays |= {f"sorted/{name}": values for name, values in usual.sorted.items()}
        for i, frame in enumerate(self.frames):
            arrays |= {f"frame/{i}/widths": frame.widths, f"frame/{i}/scale": frame.scale}
        repeats: list[dict[str, Any]] = []
        for i, repeat in enumerate(fitted.repeats):
            fields = vars(repeat.predictor)
            within = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
            arrays |= {f"repeat/{i}/{name}": value for name, value in within.items()}
            arrays[f"repeat/{i}/meaning"] = fitted.consensus.meaning[i]
            arrays[f"repeat/{i}/company"] = fitted.consensus.company[i]
            numbers = {name: value for name, value in fields.items() if name not in within}
            kind = type(repeat.predictor).__name__
            repeats.append({"model": repeat.model, "space": repeat.space, "kind": kind, "numbers": numbers})
        maps: list[dict[str, Any]] = []
        for key, each in [*fitted.places.items(), ((0, None), fitted.shown)]:
            if each is not None:
                maps.append({"model": key[0], "space": key[1], **_map_to(arrays, len(maps), key[0], each)})
        record = {"seed": self.seed, "single": fitted.single, "repeats": repeats, "maps": maps}
        arrays["record"] = np.array(json.dumps(record))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Yardstick:
        """Return it from `to_arrays`."""
        record = json.loads(str(arrays["record"]))
        repeats = [_repeat_of(arrays, i, each) for i, each in enumerate(record["repeats"])]
        found = [(each, _map_of(arrays, i, each)) for i, each in enumerate(record["maps"])]
        places = {(e["model"], Space(*e["space"])): m for e, m in found if e["space"] is not None}
        shown = next((m for e, m in found if e["space"] is None), None)
        meaning, company = (
            [arrays[f"repeat/{i}/{name}"] for i in range(len(repeats))] for name in ("meaning", "company")
        )
        consensus = Consensus(arrays["classes"], meaning, company)
        usual = Usual(
            Polynomial(arrays["chi2"], arrays["chi2_domain"]),
            arrays["usual_of_classes"],
            _below("steps", arrays),
            _below("sorted", arrays),
        )
        n_models = sum(name.startswith("frame/") for name in arrays) // 2
        frames = [Frame(arrays[f"frame/{i}/widths"], arrays[f"frame/{i}/scale"]) for i in range(n_models)]
        return cls(
            Fitted(repeats, places, consensus, record["single"], shown),
            frames,
            arrays["widths"],
            arrays["sample"],
            record["seed"],
            arrays["error"],
            usual,
        )


def _below(folder: str, arrays: Arrays) -> dict[str, Floats]:
    return {
        name.removeprefix(f"{folder}/"): values
        for name, values in arrays.items()
        if name.startswith(f"{folder}/")
    }


def _repeat_of(arrays: Arrays, i: int, record: Mapping[str, Any]) -> Repeat:
    within = _below(f"repeat/{i}", arrays)
    within = {name: value for name, value in within.items() if name not in {"meaning", "company"}}
    predictor = _PREDICTORS[record["kind"]](**within, **record["numbers"])
    return Repeat(record["model"], Space(*record["space"]), predictor)


def _map_to(arrays: dict[str, NDArray[Any]], i: int, model: int, place: Map) -> dict[str, Any]:
    """Put a map among arrays; the points that it is made of once for all maps of a model."""
    near = place.near
    arrays[f"map/{i}"], arrays[f"made_of/{model}"] = place.points, near.x
    return {"n_neighbors": near.n_neighbors, "has_graph": near.graph is not None}


def _map_of(arrays: Arrays, i: int, record: Mapping[str, Any]) -> Map:
    """Return a map on which points can be placed: of its graph no more is needed than that it has one."""
    x = arrays[f"made_of/{record['model']}"]
    graph = csr_matrix((len(x), len(x))) if record["has_graph"] else None
    return Map(Neighbourhood(x, record["n_neighbors"], graph, {}, []), arrays[f"map/{i}"])
