"""Clustering on Ray: one map, then a sweep of trials shared out over actors."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.util import ActorPool
from tqdm import tqdm

from distspec.clustering import (
    Clustering,
    ClusteringConfig,
    Trial,
    choose,
    features,
    fit,
    plan_trials,
    score,
    single_class,
    umap_2d,
)
from distspec.diagnostics import strengths
from distspec.latents import n_embedded, read_latents
from distspec.lineage import has_run, now, run_id, save_run, versions
from distspec.outcome import Outcome
from distspec.places import get_json, join, model_url, run_url, store_url
from distspec.spectrum import Floats
from distspec.stages.session import n_cpus
from distspec.store import open_store

umap_task = ray.remote(num_cpus=1)(umap_2d)


@ray.remote(num_cpus=1)
class Sweeper:
    """Holds the map; runs trials on it."""

    def __init__(self, points: Floats, silhouette_sample: int) -> None:
        self.points = points
        self.silhouette_sample = silhouette_sample

    def cluster(self, trial: Trial) -> Clustering:
        """Return a trial's clustering."""
        return fit(self.points, trial)

    def run(self, trial: Trial) -> dict[str, Any]:
        """Return one row of the sweep."""
        start = time.monotonic()
        clustering = self.cluster(trial)
        return {
            **trial._asdict(),
            **score(self.points, clustering, self.silhouette_sample),
            "bic": clustering.bic,
            "sizes": np.bincount(clustering.labels, minlength=trial.k).tolist(),
            "seconds": time.monotonic() - start,
        }


def cluster(
    root: str,
    model: str,
    config: ClusteringConfig,
    seed: int,
    resolved: dict[str, Any],
) -> Outcome:
    """Map the latents to two dimensions, try every clustering, keep them all and choose the best.

    Parameters
    ----------
    root : str
    model : str
        Its name.
    config : ClusteringConfig
    seed : int
        Of map and sweep.
    resolved : dict
        The whole configuration, kept with the run.

    Raises
    ------
    FileNotFoundError
        When the model has not embedded every row.
    """
    store = open_store(store_url(root))
    name = run_id(model, config, seed)
    if has_run(run_url(root, name)):
        return Outcome({"run": name}, did_work=False)
    if n_embedded(store, model) < store.n_rows:
        raise FileNotFoundError(
            f"model {model} has embedded {n_embedded(store, model)} of {store.n_rows} rows of {store.url}: "
            "run `python -m jobs.embed` with these settings first"
        )
    rows = store.standing()
    answers = {name: values[rows] for name, values in read_latents(store, model).items()}
    beside = strengths(store.frozen.kind, config.measures, answers)
    points, adapted = ray.get(umap_task.remote(features(answers["z_mean"], beside), config, seed))
    trials, fewer = plan_trials(config, len(points), seed)
    chosen, sweep = _sweep(points, trials, config)
    trained = get_json(join(model_url(root, model), "model.json"))
    record = {
        "run_id": name,
        "recipe": resolved["recipe"],
        "model_id": model,
        "snapshot_id": store.snapshot_id,
        "seed": seed,
        "created": now(),
        "versions": versions(),
        "adaptations": [*trained.get("adaptations", []), *adapted, *fewer],
        "config": resolved,
    }
    object_id = store.ledger(["object_id"])["object_id"].take(pa.array(rows))
    save_run(run_url(root, name), object_id, points, chosen, sweep, record)
    return Outcome(
        {
            "run": name,
            "trials": len(sweep),
            "classes": len(np.unique(chosen.labels)),
            "best_silhouette": max(
                (row["silhouette"] for row in sweep if row["chosen"]), default=float("nan")
            ),
        }
    )


def _sweep(
    points: Floats, trials: list[Trial], config: ClusteringConfig
) -> tuple[Clustering, list[dict[str, Any]]]:
    """Run the trials on a pool of actors; return the chosen clustering, and a row a trial in their order."""
    if not trials:
        return single_class(len(points)), []
    shared: Any = ray.put(points)
    n_actors = min(config.actors or n_cpus(), n_cpus(), len(trials))
    actors: list[Any] = [Sweeper.remote(shared, config.silhouette_sample) for _ in range(n_actors)]
    results: Any = ActorPool(actors).map(lambda actor, trial: actor.run.remote(trial), trials)
    rows = list(tqdm(results, total=len(trials), desc="cluster", unit="trial", disable=None))
    best = choose([row["silhouette"] for row in rows])
    rows = [{**row, "chosen": i == best} for i, row in enumerate(rows)]
    if best is None:
        return single_class(len(points)), rows
    # By an actor of the pool: together they may hold every CPU, and a task would wait for ever.
    return ray.get(actors[0].cluster.remote(trials[best])), rows
