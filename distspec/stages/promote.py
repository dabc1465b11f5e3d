"""Retraining and promotion: train a candidate if needed, and promote it if it is not worse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayTaskError

from distspec.core import memory as memory_module
from distspec.core.errors import DistspecError, TrainingDivergedError, TrainingError
from distspec.core.records import JsonRecord
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.lease import Lease
from distspec.io.paths import join_url, model_url, store_url
from distspec.models.config import VAEConfig
from distspec.models.latents import read_latents
from distspec.models.model import load_model
from distspec.models.record import read_model_record
from distspec.models.registry import PromotedModel, promote, read_promoted
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
from distspec.stages.ensemble import train_alongside
from distspec.stages.pool import count_retries, get_result
from distspec.stages.result import StageResult
from distspec.stages.session import require_worker_slots
from distspec.stages.train import train
from distspec.store.store import Store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.record import (
    build_model_record,
    compute_model_id,
    get_defining_settings,
    get_model_settings,
)

log = logging.getLogger("distspec")
SECONDS_PER_DAY = 86_400
PROMOTION_FILE = "promotion.json"
"""File in a model's folder that records the result of its comparison with the promoted model."""


@dataclass(frozen=True)
class ModelSpec:
    """Settings of a model, and how it is evaluated.

    Attributes
    ----------
    vae : VAEConfig
        Architecture and objective.
    training : TrainingConfig
        Settings of the training.
    seed : int
        Random seed.
    spaces : sequence of str
        Spaces in which classes are searched.
    n_clusters : int
        Number of clusters of the clusterings whose stability is measured.
    n_models : int
        Number of models with these settings that a run needs, with different seeds.
    """

    vae: VAEConfig
    training: TrainingConfig
    seed: int
    spaces: Sequence[str]
    n_clusters: int
    n_models: int = 1

    def find_changed_settings(self, url: str) -> list[str]:
        """Return the names of the settings that differ from those of a model.

        Parameters
        ----------
        url : str
            Folder of the model.

        Returns
        -------
        list of str
            Names of settings, sorted.
        """
        requested = get_defining_settings(self.vae, self.training, self.seed)
        trained = get_model_settings(read_model_record(url))
        return sorted(name for name, value in requested.items() if trained[name] != value)

    def compute_model_id(self, store: Store, parent_model_id: str = "") -> str:
        """Return the name of the model that these settings give on a store.

        Parameters
        ----------
        store : Store
            Store of the spectra.
        parent_model_id : str
            Model whose weights the training starts from; empty to start from new weights.

        Returns
        -------
        str
        """
        digest = store.dataset_checksum()
        return compute_model_id(digest, self.vae, self.training, self.seed, parent_model_id)


@dataclass(frozen=True)
class PromotionRecord(JsonRecord):
    """Content of ``promotion.json``: the comparison of a candidate with the promoted model.

    Attributes
    ----------
    promoted_model_id : str
        Id of the model that was promoted before; empty if there was none.
    dataset_checksum : str
        Checksum of the spectra on which they were compared.
    user_requested : bool
        Whether the settings were changed, which promotes the candidate unless it is broken.
    promote : bool
        Whether the candidate was promoted.
    reason : str
        Reason of the decision.
    evaluations : tuple of mapping
        Summary of the `Evaluation` of each model; empty if the training or the comparison failed.
    """

    record_name: ClassVar[str] = PROMOTION_FILE
    promoted_model_id: str
    dataset_checksum: str
    user_requested: bool
    promote: bool
    reason: str
    evaluations: tuple[Mapping[str, Any], ...] = ()

    def is_same_comparison(self, other: PromotionRecord) -> bool:
        """Return whether another record compares the same models on the same spectra.

        Parameters
        ----------
        other : PromotionRecord
            Record of another comparison.

        Returns
        -------
        bool
        """
        return (self.promoted_model_id, self.dataset_checksum, self.user_requested) == (
            other.promoted_model_id,
            other.dataset_checksum,
            other.user_requested,
        )


def find_model_id(root: str, spec: ModelSpec) -> str:
    """Return the promoted model if it has the given settings, else the model that they would train.

    Parameters
    ----------
    root : str
        Root of the store and of the models.
    spec : ModelSpec
        Settings of the model.
    """
    promoted = read_promoted(root)
    if promoted is not None and not spec.find_changed_settings(model_url(root, promoted.model_id)):
        return promoted.model_id
    return spec.compute_model_id(open_store(store_url(root)))


def retrain_if_needed(
    root: str,
    spec: ModelSpec,
    config: RetrainConfig,
    lease: Lease,
    log_event: Callable[..., None] = lambda event_type, **payload: None,
) -> StageResult:
    """Train a candidate if needed, and promote it if it is not worse than the promoted model.

    Parameters
    ----------
    root : str
        Root of the store and of the models.
    spec : ModelSpec
        Settings of the candidate.
    config : RetrainConfig
        When to retrain, and how much worse a candidate may be.
    lease : Lease
        The lease of the root, held by this job.
    log_event : callable, optional
        Is called with the type and the values of the events "decision" and "promotion".

    Returns
    -------
    StageResult
        The name of the model that is promoted now, and the reason.

    Raises
    ------
    TrainingDivergedError
        If a gradient or a loss is not finite, and no model is promoted or the settings were changed.
    TrainingError
        If the candidate is broken in these cases; or as `distspec.stages.train.train`.
    """
    store, promoted = open_store(store_url(root)), read_promoted(root)
    previous_id = promoted.model_id if promoted else ""
    if promoted is None:
        decision = RetrainDecision(True, "there was no model", user_requested=True)
    else:
        decision = _decide_retraining(root, store, promoted, spec, config)
    log_event("decision", train=decision.train, reason=decision.reason, promoted=previous_id)
    if not decision.train:
        return _keep_promoted(previous_id, decision.reason)
    parent_id = previous_id if config.warm_start and not decision.user_requested else ""
    candidate_id = spec.compute_model_id(store, parent_id)
    if candidate_id == previous_id:
        reason = (
            f"{decision.reason}, but spectra, settings and seed are those of the promoted model, which would "
            "be trained again; change --seed for another one"
        )
        log.warning("train: %s", reason)
        return _keep_promoted(previous_id, reason)
    url = join_url(model_url(root, candidate_id), PROMOTION_FILE)
    record = PromotionRecord(previous_id, store.dataset_checksum(), decision.user_requested, False, "")
    previous = PromotionRecord.from_json(read_json(url)) if url_exists(url) else None
    if previous is not None and previous.is_same_comparison(record) and not previous.promote:
        reason = f"{candidate_id} was refused before: {previous.reason}"
        if config.force:
            log.warning("train: %s, but %s", decision.reason, reason)
        return _keep_promoted(previous_id, reason)
    log.info("train: training a candidate model: %s", decision.reason)
    comparison = _train_and_compare(root, store, previous_id, candidate_id, parent_id, spec, config, decision)
    promotion, summaries = comparison.promotion, comparison.summaries
    log_event(
        "promotion",
        candidate=candidate_id,
        promote=promotion.promote,
        reason=promotion.reason,
        models=summaries,
    )
    outcome = "is promoted" if promotion.promote else "is refused"
    log.info("train: %s %s: %s", candidate_id, outcome, promotion.reason)
    record = replace(record, promote=promotion.promote, reason=promotion.reason, evaluations=summaries)
    write_json(url, record.to_json())
    if promotion.promote:
        promote(root, lease, candidate_id, f"{decision.reason}; {promotion.reason}")
    elif not previous_id or decision.user_requested:
        raise TrainingError(
            f"model {candidate_id} is not promoted: {promotion.reason}; change --vae.* or --training.*"
        )
    promoted_id = candidate_id if promotion.promote else previous_id
    return StageResult({"model": promoted_id, "reason": promotion.reason, **comparison.metrics})


@dataclass(frozen=True)
class _Comparison:
    """Metrics of the candidate's training, the decision, and the summaries of the evaluations behind it."""

    metrics: Mapping[str, int | float | str]
    promotion: PromotionDecision
    summaries: tuple[Mapping[str, Any], ...] = ()


def _train_and_compare(
    root: str,
    store: Store,
    previous_id: str,
    candidate_id: str,
    parent_id: str,
    spec: ModelSpec,
    config: RetrainConfig,
    decision: RetrainDecision,
) -> _Comparison:
    """Train the candidate and compare it with the promoted model; a failure rejects the candidate."""
    record = build_model_record(store, candidate_id, spec.vae, spec.training, spec.seed, parent_id)
    try:
        # The first model is promoted unless it is broken; any other candidate may be refused.
        with train_alongside(root, record, 1 if previous_id else spec.n_models):
            trained = train(root, spec.vae, spec.training, spec.seed, parent_id)
    except TrainingDivergedError as error:
        if not previous_id or decision.user_requested:
            raise
        return _Comparison({}, PromotionDecision(False, str(error)))
    metrics = {name: value for name, value in trained.summary.items() if name != "model"}
    try:
        evaluations = _evaluate_models(root, store, [previous_id, candidate_id], spec)
    except _EvaluationError as error:
        return _Comparison(metrics, PromotionDecision(False, str(error)))
    previous = evaluations[0] if previous_id else None
    promotion = decide_promotion(previous, evaluations[-1], config, decision.user_requested)
    return _Comparison(metrics, promotion, tuple(evaluation.summary() for evaluation in evaluations))


def _keep_promoted(previous_id: str, reason: str) -> StageResult:
    """Return the result of a stage that trained nothing."""
    return StageResult({"model": previous_id, "reason": reason}, did_work=False)


def _decide_retraining(
    root: str, store: Store, promoted: PromotedModel, spec: ModelSpec, config: RetrainConfig
) -> RetrainDecision:
    """Compare the store and the settings with those of the promoted model; measure the drift if needed."""
    url = model_url(root, promoted.model_id)
    record = read_model_record(url)
    trained_rows = open_store(store_url(root), record.snapshot_id).trusted_rows()
    current_rows = store.trusted_rows()
    added_rows = np.setdiff1d(current_rows, trained_rows)
    kept_rows = np.intersect1d(trained_rows, current_rows)
    age = datetime.now(UTC) - datetime.fromisoformat(record.created)
    changes = ChangesSinceTraining(
        changed_settings=spec.find_changed_settings(url),
        n_trained=len(trained_rows),
        n_added=len(added_rows),
        n_withdrawn=len(trained_rows) - len(kept_rows),
        age_days=age.total_seconds() / SECONDS_PER_DAY,
        pin_reason=promoted.pin_reason,
    )
    decision = decide_retraining(changes, None, config)
    if decision.train or promoted.pin_reason or not len(added_rows) or not config.drift_threshold:
        return decision
    drift = _measure_drift(root, store, promoted.model_id, added_rows, kept_rows, spec)
    return decide_retraining(changes, drift, config)


def _measure_drift(
    root: str,
    store: Store,
    model_id: str,
    added_rows: NDArray[np.int64],
    kept_rows: NDArray[np.int64],
    spec: ModelSpec,
) -> Drift | None:
    """Embed the added rows with a model and compare them with held-out rows of its data set."""
    embed_store(root, model_id)
    latents = read_latents(open_store(store_url(root)), model_id, ("z_mean", "recon_chi2_red"))
    held_out = select_evaluation_rows(store, spec.training.validation_fraction)
    reference_rows = np.intersect1d(held_out, kept_rows)
    reference_rows = reference_rows if len(reference_rows) >= MIN_NEW_SPECTRA else kept_rows
    z_mean = latents["z_mean"]
    columns = {f"z_mean_{i:02d}": z_mean[:, i] for i in range(z_mean.shape[1])}
    columns["recon_chi2_red"] = latents["recon_chi2_red"]
    new, reference = (
        {name: values[rows] for name, values in columns.items()} for rows in (added_rows, reference_rows)
    )
    return measure_drift(new, reference)


class _EvaluationError(Exception):
    """A model cannot be evaluated: its files are damaged, or it does not fit the store."""


def _evaluate_models(root: str, store: Store, model_ids: Sequence[str], spec: ModelSpec) -> list[Evaluation]:
    """Evaluate models on the same held-out spectra, each in a task of its own; empty names are left out."""
    memory = memory_module.estimate_evaluation_memory(
        store.n_rows, min(MAX_EVALUATION_SPECTRA, store.n_rows), store.config.grid.n_pixels
    )
    require_worker_slots(
        "a task that compares models", {"CPU": 1.0, "memory": memory}, "use a grid with fewer pixels"
    )
    task: Any = _evaluate_task.options(memory=memory)
    try:
        evaluations = [
            task.remote(store.url, store.snapshot_id, model_url(root, model_id), spec)
            for model_id in model_ids
            if model_id
        ]
        return [get_result(evaluation) for evaluation in evaluations]
    except RayTaskError as error:
        if not isinstance(error.cause, DistspecError):
            raise
        raise _EvaluationError(str(error.cause)) from error


@ray.remote(num_cpus=1, max_retries=3)
@count_retries
def _evaluate_task(store_location: str, snapshot_id: str, model_location: str, spec: ModelSpec) -> Evaluation:
    """Evaluate a model on the held-out spectra of a snapshot."""
    store = open_store(store_location, snapshot_id)
    rows = select_evaluation_rows(store, spec.training.validation_fraction)
    return evaluate(load_model(model_location), store, rows, spec.spaces, spec.n_clusters, spec.seed)
