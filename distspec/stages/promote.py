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
from distspec.io.files import exists, get_json, put_json
from distspec.io.lease import Lease
from distspec.io.paths import join, model_url, store_url
from distspec.models.config import VAEConfig
from distspec.models.latents import read_latents
from distspec.models.model import load_model
from distspec.models.registry import Champion, champion, crown
from distspec.models.serialization import read_record
from distspec.operations.evaluation import MOST, evaluate, held_out
from distspec.operations.policy import (
    MIN_NEW,
    Change,
    Decision,
    Drift,
    Evaluation,
    RetrainConfig,
    Verdict,
    decide,
    drift_of,
    judge,
)
from distspec.stages.embed import embed_store
from distspec.stages.result import Outcome
from distspec.stages.session import places
from distspec.stages.train import train
from distspec.store.store import Store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.record import model_id, settings_of

log = logging.getLogger("distspec")
SECONDS_A_DAY = 86_400
VERDICT = "verdict.json"
"""Beside a model: what came of it when it challenged another."""


@dataclass(frozen=True)
class Wanted:
    """The settings of a model, and how it is put to the test.

    Attributes
    ----------
    vae : VAEConfig
    training : TrainingConfig
    seed : int
    spaces : sequence of str
        Where classes are looked for.
    k : int
        Clusters of the clusterings that must repeat.
    """

    vae: VAEConfig
    training: TrainingConfig
    seed: int
    spaces: Sequence[str]
    k: int

    def differing(self, model: str) -> list[str]:
        """Return the names of the settings in which the model at a URL differs."""
        mine = {f"vae.{name}": value for name, value in asdict(self.vae).items()}
        mine |= {f"training.{name}": value for name, value in self.training.defining().items()}
        mine["seed"] = self.seed
        theirs = settings_of(read_record(model))
        return sorted(name for name, value in mine.items() if theirs[name] != value)


def serving(root: str, wanted: Wanted) -> str:
    """Name the model that serves these settings: the champion, else the one that they would train."""
    now = champion(root)
    if now is not None and not wanted.differing(model_url(root, now.model_id)):
        return now.model_id
    digest = open_store(store_url(root)).digest()
    return model_id(digest, wanted.vae, wanted.training, wanted.seed)


def serve(
    root: str,
    wanted: Wanted,
    config: RetrainConfig,
    lease: Lease,
    say: Callable[..., None] = lambda kind, **facts: None,
) -> Outcome:
    """Decide, train, compare, and let the better model serve.

    Parameters
    ----------
    root : str
    wanted : Wanted
    config : RetrainConfig
    lease : Lease
    say : callable
        Takes events: a kind and facts.

    Raises
    ------
    FloatingPointError, RuntimeError, ValueError
        See `distspec.stages.train.train`; of a gradient that is not finite only where no model serves or
        these settings were asked for.
    """
    store, now = open_store(store_url(root)), champion(root)
    if now is None:
        decision = Decision(True, "no model serves yet", asked=True)
    else:
        decision = _decided(root, store, now, wanted, config)
    say("decision", train=decision.train, why=decision.why, serving=now.model_id if now else "")
    if now is not None and not decision.train:
        return Outcome({"model": now.model_id, "why": decision.why}, did_work=False)
    log.info("train: a challenger: %s", decision.why)
    parent = now.model_id if now is not None and config.warm and not decision.asked else ""
    name = model_id(store.digest(), wanted.vae, wanted.training, wanted.seed, parent)
    if now is not None and name == now.model_id:
        return Outcome({"model": name, "why": f"{decision.why}, but it would be the same"}, did_work=False)
    url = join(model_url(root, name), VERDICT)
    against = {"against": now.model_id if now else "", "digest": store.digest(), "asked": decision.asked}
    if exists(url) and against.items() <= (known := get_json(url)).items() and not known["promote"]:
        assert now is not None, "a first model that is refused ends the run"
        why = f"{name} was refused: {known['why']}"
        return Outcome({"model": now.model_id, "why": why}, did_work=False)
    try:
        trained = train(root, wanted.vae, wanted.training, wanted.seed, parent)
        verdict, tried = _judged(root, store, now, name, wanted, config, decision)
    except FloatingPointError as error:
        if now is None or decision.asked:
            raise
        trained, verdict, tried = Outcome({}), Verdict(False, str(error)), []
    found: dict[str, Any] = {"promote": verdict.promote, "why": verdict.why, "models": tried}
    say("verdict", challenger=name, **found)
    log.info("train: %s %s: %s", name, "serves" if verdict.promote else "is refused", verdict.why)
    put_json(url, {**against, **found})
    if verdict.promote:
        crown(root, lease, name, f"{decision.why}; {verdict.why}")
    elif now is None or decision.asked:
        raise FloatingPointError(f"model {name} cannot serve: {verdict.why}")
    model = name if verdict.promote or now is None else now.model_id
    metrics = {key: value for key, value in trained.counts.items() if key != "model"}
    return Outcome({"model": model, "why": verdict.why, **metrics})


def _decided(root: str, store: Store, now: Champion, wanted: Wanted, config: RetrainConfig) -> Decision:
    url = model_url(root, now.model_id)
    record = read_record(url)
    then = open_store(store_url(root), str(record["snapshot_id"])).standing()
    standing = store.standing()
    added, kept = np.setdiff1d(standing, then), np.intersect1d(then, standing)
    since = datetime.fromisoformat(str(record["created"]))
    age = (datetime.now(UTC) - since).total_seconds() / SECONDS_A_DAY
    differing = wanted.differing(url)
    change = Change(differing, len(then), len(added), len(then) - len(kept), age, now.held)
    decision = decide(change, None, config)
    if decision.train or now.held or not len(added) or not config.drift:
        return decision
    return decide(change, _drift(root, store, now, added, kept, wanted), config)


def _drift(root: str, store: Store, now: Champion, added: Any, kept: Any, wanted: Wanted) -> Drift | None:
    embed_store(root, now.model_id)
    newest = open_store(store_url(root))
    said = read_latents(newest, now.model_id, ("z_mean", "recon_chi2_red"))
    usual = np.intersect1d(held_out(store, wanted.training.validation_share), kept)
    usual = usual if len(usual) >= MIN_NEW else kept
    columns = {f"z_mean_{i:02d}": said["z_mean"][:, i] for i in range(said["z_mean"].shape[1])}
    columns["recon_chi2_red"] = said["recon_chi2_red"]
    return drift_of(*({name: each[rows] for name, each in columns.items()} for rows in (added, usual)))


def _judged(
    root: str,
    store: Store,
    now: Champion | None,
    name: str,
    wanted: Wanted,
    config: RetrainConfig,
    decision: Decision,
) -> tuple[Verdict, list[dict[str, Any]]]:
    """Return the verdict on a challenger, and what either did."""
    names = [name] if now is None else [now.model_id, name]
    memory = memory_module.evaluating(store.n_rows, min(MOST, store.n_rows), store.frozen.grid.n_pixels)
    places("a task that compares models", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels")
    task: Any = _evaluate.options(memory=memory)
    tasks: list[Any] = [
        task.remote(store.url, store.snapshot_id, model_url(root, each), wanted) for each in names
    ]
    try:
        found: list[Evaluation] = ray.get(tasks)
    except RayTaskError as error:
        cause = error.cause
        if not isinstance(cause, ValueError | FileNotFoundError):
            raise
        return Verdict(False, str(cause)), []
    before = None if now is None else found[0]
    return judge(before, found[-1], config, decision.asked), [each.summary() for each in found]


@ray.remote(num_cpus=1, max_retries=3)
def _evaluate(store: str, snapshot_id: str, model: str, wanted: Wanted) -> Evaluation:
    there = open_store(store, snapshot_id)
    rows = held_out(there, wanted.training.validation_share)
    return evaluate(load_model(model), there, rows, wanted.spaces, wanted.k, wanted.seed)
