"""Which model serves, on Ray: a challenger is trained where there is reason to, and the better one serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from distspec.core import memory as memory_module
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.lease import Lease
from distspec.io.paths import join_url, model_url, store_url
from distspec.models.config import VAEConfig
from distspec.models.latents import read_latents
from distspec.models.model import load_model
from distspec.models.registry import PromotedModel, promote, read_promoted
from distspec.models.record import read_model_record
from distspec.operations.evaluation import MAX_EVALUATION_SPECTRA, evaluate, select_evaluation_rows
from distspec.operations.policy import (
    MIN_NEW_SPECTRA,
    ChangesSinceTraining,
    Drift,
    Evaluation,
    PromotionDecision,
    RetrainConfig,
    RetrainDecision,
    decide_promotion,
    decide_retraining,
    measure_drift,
)
from distspec.stages.embed import embed_store
from distspec.stages.result import StageResult
from distspec.stages.session import require_worker_slots
from distspec.stages.train import train
from distspec.store.store import Store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.record import compute_model_id, get_model_settings

log = logging.getLogger("distspec")
SECONDS_PER_DAY = 86_400
PROMOTION_FILE = "verdict.json"
"""Beside a model: what came of it when it challenged another."""


@dataclass(frozen=True)
class ModelSpec:
    """The settings of a model, and how it is put to the test.

    Attributes
    ----------
    vae : VAEConfig
    training : TrainingConfig
    seed : int
    spaces : sequence of str
        Where classes are looked for.
    n_clusters : int
        Clusters of the clusterings that must repeat.
    """

    vae: VAEConfig
    training: TrainingConfig
    seed: int
    spaces: Sequence[str]
    n_clusters: int

    def find_changed_settings(self, model_url: str) -> list[str]:
        """Return the names of the settings in which the model at a URL differs."""
        mine = {f"vae.{name}": value for name, value in asdict(self.vae).items()}
        mine |= {f"training.{name}": value for name, value in self.training.get_defining_settings().items()}
        mine["seed"] = self.seed
        theirs = get_model_settings(read_model_record(model_url))
        return sorted(name for name, value in mine.items() if theirs[name] != value)


def find_model_id(root: str, spec: ModelSpec) -> str:
    """Name the model that serves these settings: the champion, else the one that they would train."""
    now = read_promoted(root)
    if now is not None and not spec.find_changed_settings(model_url(root, now.model_id)):
        return now.model_id
    digest = open_store(store_url(root)).dataset_checksum()
    return compute_model_id(digest, spec.vae, spec.training, spec.seed)


def retrain_if_needed(
    root: str,
    spec: ModelSpec,
    config: RetrainConfig,
    lease: Lease,
    log_event: Callable[..., None] = lambda kind, **facts: None,
) -> StageResult:
    """Decide, train, compare, and let the better model serve.

    Parameters
    ----------
    root : str
    spec : Wanted
    config : RetrainConfig
    lease : Lease
    log_event : callable
        Takes events: a kind and facts.

    Raises
    ------
    FloatingPointError, RuntimeError, ValueError
        See `distspec.stages.train.train`; of a gradient that is not finite only where no model serves or
        these settings were asked for.
    """
    store, now = open_store(store_url(root)), read_promoted(root)
    if now is None:
        decision = RetrainDecision(True, "no model serves yet", user_requested=True)
    else:
        decision = _decide_retraining(root, store, now, spec, config)
    log_event(
        "decision", train=decision.train, reason=decision.reason, promoted=now.model_id if now else ""
    )
    if now is not None and not decision.train:
        return StageResult({"model": now.model_id, "why": decision.reason}, did_work=False)
    log.info("train: a challenger: %s", decision.reason)
    parent = now.model_id if now is not None and config.warm_start and not decision.user_requested else ""
    name = compute_model_id(store.dataset_checksum(), spec.vae, spec.training, spec.seed, parent)
    if now is not None and name == now.model_id:
        return StageResult(
            {"model": name, "why": f"{decision.reason}, but it would be the same"}, did_work=False
        )
    url = join_url(model_url(root, name), PROMOTION_FILE)
    against = {
        "against": now.model_id if now else "",
        "digest": store.dataset_checksum(),
        "asked": decision.user_requested,
    }
    if url_exists(url) and against.items() <= (known := read_json(url)).items() and not known["promote"]:
        assert now is not None, "a first model that is refused ends the run"
        why = f"{name} was refused: {known['why']}"
        return StageResult({"model": now.model_id, "why": why}, did_work=False)
    try:
        trained = train(root, spec.vae, spec.training, spec.seed, parent)
        verdict, tried = _compare_with_champion(root, store, now, name, spec, config, decision)
    except FloatingPointError as error:
        if now is None or decision.user_requested:
            raise
        trained, verdict, tried = StageResult({}), PromotionDecision(False, str(error)), []
    found: dict[str, Any] = {"promote": verdict.promote, "why": verdict.reason, "models": tried}
    log_event(
        "promotion", challenger=name, promote=verdict.promote, reason=verdict.reason, models=tried
    )
    log.info("train: %s %s: %s", name, "serves" if verdict.promote else "is refused", verdict.reason)
    write_json(url, {**against, **found})
    if verdict.promote:
        promote(root, lease, name, f"{decision.reason}; {verdict.reason}")
    elif now is None or decision.user_requested:
        raise FloatingPointError(f"model {name} cannot serve: {verdict.reason}")
    model = name if verdict.promote or now is None else now.model_id
    metrics = {key: value for key, value in trained.counts.items() if key != "model"}
    return StageResult({"model": model, "why": verdict.reason, **metrics})


def _decide_retraining(
    root: str, store: Store, champion: PromotedModel, spec: ModelSpec, config: RetrainConfig
) -> RetrainDecision:
    url = model_url(root, champion.model_id)
    record = read_model_record(url)
    then = open_store(store_url(root), str(record["snapshot_id"])).current_rows()
    standing = store.current_rows()
    added, kept = np.setdiff1d(standing, then), np.intersect1d(then, standing)
    since = datetime.fromisoformat(str(record["created"]))
    age = (datetime.now(UTC) - since).total_seconds() / SECONDS_PER_DAY
    differing = spec.find_changed_settings(url)
    change = ChangesSinceTraining(
        differing, len(then), len(added), len(then) - len(kept), age, champion.pin_reason
    )
    decision = decide_retraining(change, None, config)
    if decision.train or champion.pin_reason or not len(added) or not config.drift_threshold:
        return decision
    return decide_retraining(change, _measure_drift(root, store, champion, added, kept, spec), config)


def _measure_drift(
    root: str, store: Store, champion: PromotedModel, added_rows: Any, kept_rows: Any, spec: ModelSpec
) -> Drift | None:
    embed_store(root, champion.model_id)
    newest = open_store(store_url(root))
    said = read_latents(newest, champion.model_id, ("z_mean", "recon_chi2_red"))
    usual = np.intersect1d(select_evaluation_rows(store, spec.training.validation_fraction), kept_rows)
    usual = usual if len(usual) >= MIN_NEW_SPECTRA else kept_rows
    columns = {f"z_mean_{i:02d}": said["z_mean"][:, i] for i in range(said["z_mean"].shape[1])}
    columns["recon_chi2_red"] = said["recon_chi2_red"]
    return measure_drift(
        *({name: each[rows] for name, each in columns.items()} for rows in (added_rows, usual))
    )


def _compare_with_champion(
    root: str,
    store: Store,
    champion: PromotedModel | None,
    model_id: str,
    spec: ModelSpec,
    config: RetrainConfig,
    decision: RetrainDecision,
) -> tuple[PromotionDecision, list[dict[str, Any]]]:
    """Return the verdict on a challenger, and what either did."""
    names = [model_id] if champion is None else [champion.model_id, model_id]
    memory = memory_module.estimate_evaluation_memory(
        store.n_rows, min(MAX_EVALUATION_SPECTRA, store.n_rows), store.config.grid.n_pixels
    )
    require_worker_slots(
        "a task that compares models", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels"
    )
    task: Any = _evaluate_task.options(memory=memory)
    tasks: list[Any] = [
        task.remote(store.url, store.snapshot_id, model_url(root, each), spec) for each in names
    ]
    try:
        found: list[Evaluation] = ray.get(tasks)
    except RayTaskError as error:
        cause = error.cause
        if not isinstance(cause, ValueError | FileNotFoundError):
            raise
        return PromotionDecision(False, str(cause)), []
    before = None if champion is None else found[0]
    return decide_promotion(before, found[-1], config, decision.user_requested), [
        each.summary() for each in found
    ]


@ray.remote(num_cpus=1, max_retries=3)
def _evaluate_task(store_url: str, snapshot_id: str, model_url: str, spec: ModelSpec) -> Evaluation:
    there = open_store(store_url, snapshot_id)
    rows = select_evaluation_rows(there, spec.training.validation_fraction)
    return evaluate(load_model(model_url), there, rows, spec.spaces, spec.n_clusters, spec.seed)
