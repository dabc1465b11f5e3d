"""Clustering on Ray: the sweep, what is chosen of it, and what that says of every spectrum."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from distspec.anomaly import combine
from distspec.choice import Choice, Judgement, choose, judge
from distspec.clustering import Labels, single_class
from distspec.consensus import Consensus, agree
from distspec.degeneracy import confusion, latent_pairs
from distspec.diagnostics import strengths
from distspec.features import reconstructed, space
from distspec.latents import n_embedded, read_latents
from distspec.lineage import has_run, now, run_id, save_run, versions
from distspec.maps import Map
from distspec.model import load_model
from distspec.outcome import Outcome
from distspec.places import get_json, join, model_url, remove_folder, run_url, store_url
from distspec.runs import clustering_table, confusion_table, latents_table, nulls_table, sweep_table
from distspec.sampling import sample_rows
from distspec.spaces import Sample, in_posterior_widths, joined
from distspec.spectrum import Floats32
from distspec.stages.assigning import Fitted, Repeat, assign, described, measure, place
from distspec.stages.oddities import find_oddities
from distspec.stages.session import n_cpus
from distspec.stages.sweeping import Sweep
from distspec.store import Store, open_store
from distspec.sweep import ClusteringConfig, Data, Job, Space, plan, settings
from distspec.trials import Result, limits

log = logging.getLogger("distspec")


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
    whole = [each.sample for each in seen]
    fitted = sample_rows(whole[0].latents, config.sample, np.random.default_rng([seed, len(rows)]))
    samples = [sample.take(fitted) for sample in whole]
    tried, adapted = settings(config, len(fitted))
    most, fewer = limits(config, len(fitted), ray.cluster_resources().get("memory", 8e9) / n_cpus())
    if len(fitted) < len(rows):
        fewer.insert(0, f"the sweep is fitted to {len(fitted):,} of {len(rows):,} spectra; all are labelled")
    with Sweep(samples, config, most, seed, join(url, "work")) as sweep:
        results = sweep.run(plan(config, tried, seed))
        own = [result for result in results if not result.trial.data.is_null]
        judgement = judge(results, config)
        choice = choose(own, judgement, config)
        found = _found(sweep, own, judgement, choice, samples, len(rows), seed)
        shown = _shown(sweep, config, seed)
    said = assign(found, whole) if isinstance(found, Fitted) else found
    points = shown.points if len(fitted) == len(rows) else place(shown, whole[0].latents)
    vae, redshifts = load_model(model_url(root, model)), np.asarray(store.array("z"))[rows]
    pairs = latent_pairs(
        seen[0].answers["z_mean"],
        seen[0].answers["z_log_var"],
        lambda latent: vae.decode(latent, float(np.median(redshifts))),
        np.random.default_rng(seed),
    )
    answers = seen[0].answers
    raw = find_oddities(
        store,
        model_url(root, model),
        rows,
        answers,
        in_posterior_widths(answers["z_mean"], answers["z_log_var"]),
        fitted,
        seed,
    )
    ledger = store.ledger(["object_id", "snr"]).take(pa.array(rows))
    odd = combine(raw, ledger["snr"].to_numpy(), said["label"], answers["artefact_score"])
    object_id = ledger["object_id"]
    measures = {name: seen[0].answers[name] for name in seen[0].measured}
    columns = reconstructed(store.frozen.kind) if measures else ()
    tables = {
        "clustering": clustering_table(object_id, points.astype(np.float32), said, odd, measures, columns),
        "sweep": sweep_table(results, judgement, choice),
        "nulls": nulls_table(results),
        "confusion": confusion_table(confusion(said["label"], said["prob"]), object_id),
        "latents": latents_table(pairs),
    }
    trained = get_json(join(model_url(root, model), "model.json"))
    record = {
        "run_id": name,
        "recipe": resolved["recipe"],
        "model_id": model,
        "snapshot_id": store.snapshot_id,
        "seed": seed,
        "created": now(),
        "versions": versions(),
        "adaptations": [*trained.get("adaptations", []), *adapted, *fewer, *shown.near.adapted],
        "clustering": _summary(judgement, choice, said, config, len(own)),
        "config": resolved,
    }
    save_run(url, tables, record)
    remove_folder(join(url, "work"))
    return Outcome({"run": name, "trials": len(results), **_counts(own, said, judgement, choice)})


@dataclass(frozen=True)
class _Seen:
    """What one model says of every standing row, the names of what was measured on its reconstructions."""

    answers: Mapping[str, Floats32]
    measured: Sequence[str]
    sample: Sample


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
        measured = measure(model_url(root, model), kind, answers["z_mean"], answers["z_log_var"])
        answers |= measured
        features = space(kind, answers).astype(np.float32)
    latents = answers["z_mean"]
    if config.rule == "consensus":
        latents = in_posterior_widths(latents, answers["z_log_var"])
    beside = strengths(kind, config.measures, answers)
    return _Seen(answers, tuple(measured), Sample(joined(latents, beside), features))


def _found(
    sweep: Sweep,
    own: Sequence[Result],
    judgement: Judgement,
    choice: Choice | None,
    samples: Sequence[Sample],
    n: int,
    seed: int,
) -> Fitted | dict[str, Any]:
    """Return `described` of every spectrum where the sample is all `n`, or else what labels them."""
    if choice is None:
        one = np.zeros(n, np.int32)
        return described(Consensus.of([one], one), [one], single_class(n))
    trials = [own[i].trial for i in judgement.repeats[choice.way]]
    others = [trial._replace(data=Data(draw=model)) for model in range(1, len(samples)) for trial in trials]
    elsewhere = sweep.run(_alone(others, len(own) + 1_000_000))
    repeats = [own[i] for i in judgement.repeats[choice.way]] + elsewhere
    labels: list[Labels] = [each.labels.astype(np.int32) for each in repeats]
    if choice.trial is not None:
        consensus = Consensus.of(labels, own[choice.trial].labels.astype(np.int32))
        single = repeats.index(own[choice.trial])
    else:
        consensus, single = agree(labels, choice.k, np.random.default_rng(seed)), None
    if n == len(samples[0]) and single is None:
        return described(consensus, labels)
    made = sweep.refit(_alone([each.trial for each in repeats], 0))
    places = {
        (data.draw, space): place
        for (data, space), place in sweep.maps((r.trial.data, r.trial.space) for r in repeats).items()
    }
    return Fitted(
        [Repeat(r.trial.data.draw, r.trial.space, each) for r, each in zip(repeats, made, strict=True)],
        places,
        consensus,
        single,
    )


def _alone(trials: Sequence[Any], first: int) -> list[Job]:
    """Return a job for each trial, numbered from `first`."""
    return [Job(first + i, each.data, each.space, (each,)) for i, each in enumerate(trials)]


def _shown(sweep: Sweep, config: ClusteringConfig, seed: int) -> Map:
    """Return the map on which spectra are drawn."""
    where = Data(), Space("map", config.n_neighbors[0], 2, seed * config.maps)
    return sweep.maps([where])[where]


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
                "threshold": test.threshold,
                "chance_anywhere": test.chance,
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
