"""Clustering on Ray: the sweep, what is chosen of it, and what that says of every spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.score import Usual, combine
from distspec.catalog.runs import (
    clustering_table,
    confusion_table,
    has_run,
    latents_table,
    nulls_table,
    run_id,
    save_run,
    sweep_table,
)
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.diagnostics import confusion, latent_pairs
from distspec.clustering.feature_space import Frame, Sample, posterior_widths
from distspec.clustering.selection import Choice, Judgement
from distspec.clustering.trials import Result
from distspec.core.records import now, versions
from distspec.core.spectrum import Floats32
from distspec.inference.run_model import YARDSTICK, Yardstick
from distspec.io.files import put_arrays, remove_folder
from distspec.io.paths import join, model_url, run_url, store_url
from distspec.measurements.features import reconstructed, space
from distspec.measurements.measure import strengths
from distspec.models.latents import n_embedded, read_latents
from distspec.models.model import load_model
from distspec.models.serialization import read_record
from distspec.stages.assign import measure
from distspec.stages.label import label
from distspec.stages.result import Outcome
from distspec.stages.score import find_oddities
from distspec.store.store import Store, open_store


def cluster(
    root: str,
    model: str,
    config: ClusteringConfig,
    seed: int,
    resolved: dict[str, Any],
) -> Outcome:
    """Try every clustering of what a model says, keep them all, choose, and label every spectrum.

    Parameters
    ----------
    root : str
    model : str
        Its name.
    config : ClusteringConfig
    seed : int
        Of sample, maps and sweep.
    resolved : dict
        The whole configuration, kept with the run.

    Raises
    ------
    FileNotFoundError
        When a model has not embedded every row.
    """
    store = open_store(store_url(root))
    name = run_id(model, store.digest(), config, seed)
    url = run_url(root, name)
    if has_run(url):
        return Outcome({"run": name}, did_work=False)
    rows = store.standing()
    seen = [_seen(root, store, each, rows, config) for each in (model, *config.also)]
    found = label([each.sample for each in seen], config, seed, join(url, "work"))
    said, judgement, choice = found.said, found.judgement, found.choice
    vae, redshifts = load_model(model_url(root, model)), np.asarray(store.array("z"))[rows]
    pairs = latent_pairs(
        seen[0].answers["z_mean"],
        seen[0].answers["z_log_var"],
        lambda latent: vae.decode(latent, float(np.median(redshifts))),
        np.random.default_rng(seed),
    )
    answers = seen[0].answers
    widths = posterior_widths(answers["z_log_var"])
    latents = (answers["z_mean"] / widths).astype(np.float32)
    raw, error = find_oddities(store, model_url(root, model), rows, answers, latents, found.fitted, seed)
    ledger = store.ledger(["object_id", "snr"]).take(pa.array(rows))
    snr = ledger["snr"].to_numpy()
    odd = combine(raw, snr, said["label"], answers["artefact_score"])
    object_id = ledger["object_id"]
    measures = {name: seen[0].answers[name] for name in seen[0].measured}
    columns = reconstructed(store.frozen.kind) if measures else ()
    tables = {
        "clustering": clustering_table(object_id, found.points, said, odd, measures, columns),
        "sweep": sweep_table(found.results, judgement, choice),
        "nulls": nulls_table(found.results),
        "confusion": confusion_table(confusion(said["label"], said["prob"]), object_id),
        "latents": latents_table(pairs),
    }
    usual = Usual.of(raw, snr, said["label"])
    kept = Yardstick(
        found.how, [each.frame for each in seen], widths, latents[found.fitted], seed, error, usual
    )
    trained = {each: read_record(model_url(root, each)) for each in (model, *config.also)}
    record = {
        "run_id": name,
        "recipe": resolved["recipe"],
        "model_id": model,
        "models": {each: known["seal"] for each, known in trained.items()},
        "weights_sha256": trained[model]["weights_sha256"],
        "snapshot_id": store.snapshot_id,
        "data_digest": store.digest(),
        "seed": seed,
        "created": now(),
        "versions": versions(),
        "adaptations": [*trained[model].get("adaptations", []), *found.adapted],
        "clustering": _summary(judgement, choice, said, config, len(found.own)),
        "forecast": {"expected": asdict(found.expected), "took": asdict(found.took)},
        "config": resolved,
        "files": {YARDSTICK: put_arrays(join(url, YARDSTICK), kept.to_arrays())},
    }
    save_run(url, tables, record)
    remove_folder(join(url, "work"))
    return Outcome({"run": name, "trials": len(found.results), **_counts(found.own, said, judgement, choice)})


@dataclass(frozen=True)
class _Seen:
    """What one model says of every standing row, the names of what was measured on its reconstructions."""

    answers: Mapping[str, Floats32]
    measured: Sequence[str]
    sample: Sample
    frame: Frame


def _seen(root: str, store: Store, model: str, rows: NDArray[np.int64], config: ClusteringConfig) -> _Seen:
    done = n_embedded(store, model)
    if done < store.n_rows:
        raise FileNotFoundError(
            f"model {model} has embedded {done} of {store.n_rows} rows of {store.url}: "
            "run `python -m jobs.embed` with these settings first"
        )
    kind = store.frozen.kind
    answers = {name: values[rows] for name, values in read_latents(store, model).items()}
    measured: dict[str, Floats32] = {}
    features = np.zeros((len(rows), 0), np.float32)
    if "features" in config.spaces:
        of = answers["z_mean"], answers["z_log_var"]
        measured = measure(model_url(root, model), kind, store.frozen.grid.n_pixels, *of)
        answers |= measured
        features = space(kind, answers).astype(np.float32)
    consensus = config.rule == "consensus"
    widths = posterior_widths(answers["z_log_var"]) if consensus else np.ones(answers["z_mean"].shape[1])
    beside = strengths(kind, config.measures, answers)
    frame = Frame.of(answers["z_mean"], widths, beside)
    sample = frame.sample(answers["z_mean"], beside, features)
    return _Seen(answers, tuple(measured), sample, frame)


def _summary(
    judgement: Judgement,
    choice: Choice | None,
    said: Mapping[str, Any],
    config: ClusteringConfig,
    n_trials: int,
) -> dict[str, Any]:
    """Return what run.json says of the choice."""
    found: dict[str, Any] = {"rule": config.rule, "trials": n_trials}
    core = said["stability"] >= config.core_stability
    found |= {"core_stability": config.core_stability, "core_share": float(core.mean())}
    if choice is None:
        return found | {"why": "nothing could be divided", "beats_null": None}
    found |= {
        "way": str(choice.way),
        "space": choice.way.space,
        **choice.way.setting._asdict(),
        "why": choice.why,
        "stability": judgement.mean_stability(choice.way),
        "beats_null": judgement.beats_null(choice.way),
        "level": config.level,
        "null_draws": config.null_draws,
    }
    for score in ("silhouette", "repeatability"):
        test = getattr(judgement, score)
        if test is not None:
            found[f"{score}_null"] = {
                "percentile": test.percentile[choice.way],
                "mean": test.mean[choice.way],
                "excess": test.excess[choice.way],
                "chance": test.chance[choice.way],
            }
    return found


def _counts(
    own: Sequence[Result], said: Mapping[str, Any], judgement: Judgement, choice: Choice | None
) -> dict[str, int | float | str]:
    counts: dict[str, int | float | str] = {"classes": int(said["label"].max(initial=-1)) + 1}
    silhouettes = [each.scores["silhouette"] for each in own]
    counts["best_silhouette"] = max(silhouettes, default=float("nan"))
    if choice is not None:
        counts |= {"chosen": str(choice.way), "stability": judgement.mean_stability(choice.way)}
        beats = judgement.beats_null(choice.way)
        counts["null"] = "not drawn" if beats is None else "beaten" if beats else "not beaten"
    return counts
