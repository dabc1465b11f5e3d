"""The pipeline: stages in order, each of which does only the missing work and commits it.

A stage imports what it needs when it runs: torch, SciPy and matplotlib take seconds, which a job of another
stage need not wait for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from distspec.core.errors import NotFoundError
from distspec.core.records import encode_value, utc_now_iso
from distspec.io.files import read_bytes, read_json, url_exists, write_json
from distspec.io.job_log import JobLog
from distspec.io.lease import Lease
from distspec.io.paths import join_url, run_url, store_url
from distspec.io.stage_log import StageRecord, read_stage_record, write_stage_record
from distspec.io.storage import full_disk_errors, use_storage
from distspec.models.pretrained import find_pretrained_model
from distspec.pipeline.config import STAGE_NAMES, Config
from distspec.stages.job import ray_job
from distspec.stages.metrics import track_running_stage
from distspec.stages.pool import take_retries
from distspec.stages.result import StageResult
from distspec.store.store import Store, open_store

if TYPE_CHECKING:
    from distspec.stages.promote import ModelSpec

log = logging.getLogger("distspec")
INPUTS_FILE = "inputs.json"
"""File in a report's folder that records the inputs of the report."""


@dataclass(frozen=True)
class StageContext:
    """What a stage works with.

    Attributes
    ----------
    config : Config
        All settings.
    lease : Lease
        Lease of the root, held while the stages run.
    job_log : JobLog
        Log of the job's events.
    """

    config: Config
    lease: Lease
    job_log: JobLog


def _simulate(context: StageContext) -> StageResult:
    from distspec.stages.simulate import simulate_archive

    config = context.config
    if config.simulation is None:
        return StageResult({"recipe": config.recipe}, did_work=False)
    return simulate_archive(config.simulation_url, config.simulation)


def _ingest(context: StageContext) -> StageResult:
    from distspec.ingest.source import write_source
    from distspec.stages.ingest import ingest

    source = context.config.ingest_source()
    write_source(context.config.root, source)
    return ingest(
        context.config.root,
        source,
        context.lease,
        min_redshift_probability=context.config.redshifts.min_probability,
    )


def _train(context: StageContext) -> StageResult:
    from distspec.stages.ensemble import train_ensemble
    from distspec.stages.promote import retrain_if_needed

    config = context.config
    if config.pretrained_model:
        return StageResult({"model": resolve_model_id(config)}, did_work=False)
    result = retrain_if_needed(
        config.root, _model_spec(config), config.retrain, context.lease, context.job_log.log_event
    )
    n_models = config.clustering.n_clustered_models
    if n_models == 1:
        return result
    n_trained = train_ensemble(config.root, str(result.summary["model"]), n_models)
    summary = {**result.summary, "models_like_it": n_models - 1}
    return StageResult(summary, did_work=result.did_work or n_trained > 0)


def _redshifts(context: StageContext) -> StageResult:
    """Measure redshifts; then ingest again, because they decide at which redshifts spectra are used."""
    from distspec.stages.redshifts import measure_redshifts

    config = context.config
    if not config.redshifts.check and config.archive.redshifts == "catalog":
        return StageResult({"redshifts": "catalog"}, did_work=False)
    measured = measure_redshifts(
        config.root, config.ingest_source(), resolve_model_id(config), config.redshifts
    )
    if config.archive.redshifts == "catalog":
        return measured
    ingested = _ingest(context)
    summary = {name: value for name, value in ingested.summary.items() if name != "listed"}
    return StageResult({**measured.summary, **summary}, measured.did_work or ingested.did_work)


def _embed(context: StageContext) -> StageResult:
    from distspec.stages.embed import embed_store

    first, *others = [embed_store(context.config.root, name) for name in resolve_model_ids(context.config)]
    if not others:
        return first
    did_work = any(result.did_work for result in (first, *others))
    return StageResult({**first.summary, "models": 1 + len(others)}, did_work)


def _cluster(context: StageContext) -> StageResult:
    from distspec.stages.cluster import cluster

    config = context.config
    return cluster(config.root, resolve_model_ids(config), config.clustering, config.seed, config.to_dict())


def _catalog(context: StageContext) -> StageResult:
    from distspec.catalog import editions
    from distspec.catalog.build import build_tables
    from distspec.catalog.observations import OBSERVATION_TABLES
    from distspec.catalog.redshifts import REDSHIFT_TABLES
    from distspec.labels.consensus import labels_checksum
    from distspec.redshifts.measured import read_current
    from distspec.store.snapshots import run_tag, tag_snapshot

    config = context.config
    store, run_id = find_run(config)
    inputs = {**asdict(config.catalog), "labels": labels_checksum(config.root)}
    if measurement := read_current(config.root):
        inputs["redshifts"] = measurement.to_json()
    tables = (*OBSERVATION_TABLES, *REDSHIFT_TABLES)
    if editions.is_current(config.root, run_id, store.snapshot_id, inputs, tables):
        return StageResult({"run": run_id}, did_work=False)
    tables = build_tables(config.root, run_id, store, config.catalog)
    tag_snapshot(config.root, run_tag(run_id, store.snapshot_id), store.snapshot_id)
    record = editions.publish(config.root, tables, run_id, store.snapshot_id, inputs, lease=context.lease)
    rows = {name: len(table) for name, table in tables.items()}
    return StageResult({"run": run_id, "checksum": record.checksum, **rows})


def _report(context: StageContext) -> StageResult:
    from distspec.catalog import editions
    from distspec.labels.consensus import read_marks
    from distspec.report.collect import collect_report_data
    from distspec.report.page import write_report

    config = context.config
    store, run_id = find_run(config)
    url = join_url(run_url(config.root, run_id), "report")
    published = editions.read_current_record(config.root)
    if published is None or published.run_id != run_id:
        raise NotFoundError(
            f"run {run_id} is not the published one: "
            f"run `distspec run catalog {config.recipe} --root {config.root}` with the same settings first"
        )
    inputs = {"catalog": published.to_json(), "archive": encode_value(config.to_dict()["archive"])}
    if config.report.table:
        table = {"sha256": sha256(read_bytes(config.report.table)).hexdigest()}
        inputs["report"] = {**encode_value(asdict(config.report)), **table}
    if marks := read_marks(config.root):
        inputs["marks"] = marks
    inputs_url = join_url(url, INPUTS_FILE)
    if url_exists(inputs_url) and read_json(inputs_url) == inputs:
        return StageResult({"page": join_url(url, "index.html")}, did_work=False)
    records = [read_stage_record(config.root, name) for name in STAGES]
    stages = [record for record in records if record is not None]
    data = collect_report_data(config.root, run_id, store, config.archive, stages, config.report)
    page = write_report(data, url)
    write_json(inputs_url, inputs)
    return StageResult({"page": page})


_FUNCTIONS = (_simulate, _ingest, _train, _redshifts, _embed, _cluster, _catalog, _report)
STAGES: Mapping[str, Callable[[StageContext], StageResult]] = dict(zip(STAGE_NAMES, _FUNCTIONS, strict=True))
"""The stages by name, in order."""


def resolve_model_id(config: Config) -> str:
    """Return the id of the model that these settings use: the promoted model or the pretrained one.

    A pretrained model is copied below the root first, so that the root stays complete.

    Parameters
    ----------
    config : Config
        Settings of the run.

    Returns
    -------
    str
    """
    from distspec.models.serialization import import_model
    from distspec.stages.promote import find_model_id

    if config.pretrained_model:
        return import_model(config.root, find_pretrained_model(config.pretrained_model))
    return find_model_id(config.root, _model_spec(config))


def resolve_model_ids(config: Config) -> list[str]:
    """Return the ids of all models whose latents are clustered: that of `resolve_model_id`, then the others.

    A pretrained model is used alone: there are no spectra on which others could be trained like it.

    Parameters
    ----------
    config : Config
        Settings of the run.

    Raises
    ------
    NotFoundError
        If the first model is trained and others are not.
    """
    from distspec.stages.ensemble import list_ensemble

    model_id = resolve_model_id(config)
    n_models = 1 if config.pretrained_model else config.clustering.n_clustered_models
    return list_ensemble(config.root, model_id, n_models)


def _model_spec(config: Config) -> ModelSpec:
    """Return the model's settings, and the number of clusters to compare models with: that of the catalog."""
    from distspec.catalog import editions
    from distspec.stages.promote import ModelSpec

    n_clusters, published = config.clustering.k_min, editions.read_current_record(config.root)
    if published is not None:
        n_clusters = editions.count_classes(config.root, published)
    clustering = config.clustering
    return ModelSpec(
        config.vae,
        config.training,
        config.seed,
        clustering.spaces,
        max(n_clusters, 2),
        clustering.n_clustered_models,
    )


def find_run(config: Config) -> tuple[Store, str]:
    """Return the store and the id of the run that these settings make of it.

    Parameters
    ----------
    config : Config
        Settings of the run.

    Returns
    -------
    tuple[Store, str]

    Raises
    ------
    NotFoundError
        If that run has not been made.
    """
    from distspec.catalog.run_record import has_run
    from distspec.catalog.runs import compute_run_id

    store = open_store(store_url(config.root))
    run_id = compute_run_id(
        resolve_model_ids(config), store.dataset_checksum(), config.clustering, config.seed
    )
    if not has_run(run_url(config.root, run_id)):
        raise NotFoundError(
            f"no run {run_id} under {config.root}: "
            f"run `distspec run cluster {config.recipe} --root {config.root}` with the same settings first"
        )
    return store, run_id


def run_stages(config: Config, stage_names: Sequence[str] = tuple(STAGES)) -> bool:
    """Run stages in order under the root's lease.

    Parameters
    ----------
    config : Config
        All settings.
    stage_names : sequence of str
        Stages to run; by default all of them.

    Returns
    -------
    bool
        Whether any of the stages had something to do.

    Raises
    ------
    LeaseHeldError
        If another job works on the root.
    NotFoundError
        If the first stage needs the result of another one, which is missing.
    """
    operation = stage_names[0] if len(stage_names) == 1 else "pipeline"
    with use_storage(config.storage):
        if stage_names[0] not in ("simulate", "ingest"):
            open_store(store_url(config.root))  # before Ray starts and the root is created
        with ray_job(config.root, operation, config.ray, config.recipe) as job_log:
            context = StageContext(config, job_log.lease, job_log)
            for name in stage_names:
                _run_stage(context, name)
    return job_log.did_work


def _run_stage(context: StageContext, name: str) -> None:
    """Run a stage, and record its result."""
    start = time.monotonic()
    take_retries()  # those of an earlier stage that failed
    with track_running_stage(name, context.config.recipe), full_disk_errors(context.config.root):
        result = STAGES[name](context)
    if n_retries := take_retries():
        result = replace(result, summary={**result.summary, "retried_tasks": n_retries})
    seconds = time.monotonic() - start
    idle = "" if result.did_work else "nothing to do: "
    log.info("%-10s %6.1f s  %s%s", name, seconds, idle, result)
    rounded = round(seconds, 2)
    context.job_log.log_event(
        "stage", stage=name, seconds=rounded, did_work=result.did_work, **result.summary
    )
    if result.did_work:
        context.job_log.did_work = True
        record = StageRecord(name, utc_now_iso(), rounded, dict(result.summary))
        write_stage_record(context.config.root, record)
