"""The pipeline: the stages in order, each doing only what is missing, one line of log each."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from distspec.catalog import editions
from distspec.catalog.build import build_tables
from distspec.catalog.query import format_example_query, query
from distspec.catalog.runs import compute_run_id, has_run
from distspec.core.arrow import pc
from distspec.core.records import utc_now_iso
from distspec.core.text import format_table
from distspec.ingest.source import write_source
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.job_log import JobLog, track_job
from distspec.io.lease import Lease, hold_lease
from distspec.io.paths import join_url, run_url, store_url
from distspec.labels import annotations
from distspec.labels.annotations import read_marks
from distspec.models.serialization import import_model
from distspec.pipeline.config import Config
from distspec.pipeline.exit import EXPECTED_ERRORS, exit_on_sigterm, report_error
from distspec.pipeline.recipes import parse
from distspec.report import data as data_module
from distspec.report.page import write_report
from distspec.stages.cluster import cluster
from distspec.stages.embed import embed_store
from distspec.stages.ingest import ingest
from distspec.stages.metrics import track_running_stage
from distspec.stages.promote import ModelSpec, find_model_id, retrain_if_needed
from distspec.stages.result import StageResult
from distspec.stages.session import ray_session
from distspec.stages.synthesize import simulate_archive
from distspec.store.snapshots import run_tag, tag_snapshot
from distspec.store.store import Store, open_store

log = logging.getLogger("distspec")


@dataclass(frozen=True)
class StageContext:
    """What a stage works with: the settings, the root's lease, and who is told."""

    config: Config
    lease: Lease
    job_log: JobLog


def _synthesize(context: StageContext) -> StageResult:
    config = context.config
    if config.synthetic is None:
        return StageResult({"recipe": config.recipe}, did_work=False)
    return simulate_archive(config.synthetic_url(), config.synthetic)


def _ingest(context: StageContext) -> StageResult:
    config = context.config
    write_source(config.root, config.ingest_source())
    return ingest(config.root, config.ingest_source(), context.lease)


def _train(context: StageContext) -> StageResult:
    config = context.config
    if config.pretrained_model:
        return StageResult({"model": import_model(config.root, config.pretrained_model)}, did_work=False)
    return retrain_if_needed(
        config.root, _model_spec(config), config.retrain, context.lease, context.job_log.log_event
    )


def _embed(context: StageContext) -> StageResult:
    return embed_store(context.config.root, resolve_model_id(context.config))


def _cluster(context: StageContext) -> StageResult:
    config = context.config
    return cluster(config.root, resolve_model_id(config), config.clustering, config.seed, config.to_dict())


def _catalog(context: StageContext) -> StageResult:
    config = context.config
    store, run = find_run(config)
    made_with = {**asdict(config.catalog), "labels": annotations.labels_checksum(config.root)}
    if editions.is_current(config.root, run, store.snapshot_id, made_with):
        return StageResult({"run": run}, did_work=False)
    tables = build_tables(config.root, run, store, config.catalog)
    tag_snapshot(config.root, run_tag(run, store.snapshot_id), store.snapshot_id)
    record = editions.publish(config.root, tables, run, store.snapshot_id, made_with, lease=context.lease)
    return StageResult(
        {"run": run, "seal": record["seal"], **{name: len(table) for name, table in tables.items()}}
    )


def _report(context: StageContext) -> StageResult:
    config = context.config
    store, run = find_run(config)
    url = join_url(run_url(config.root, run), "report")
    if (editions.read_current_record(config.root) or {}).get("run_id") != run:
        raise FileNotFoundError(
            f"run {run} is not the published one: run `python -m jobs.catalog` with these settings first"
        )
    made_of = {
        "catalog": editions.read_current_record(config.root),
        "archive": json.loads(json.dumps(asdict(config.archive))),
    }
    if said := read_marks(config.root):
        made_of["marks"] = said
    if url_exists(join_url(url, "made_of.json")) and read_json(join_url(url, "made_of.json")) == made_of:
        return StageResult({"page": join_url(url, "index.html")}, did_work=False)
    records = [read_stage_record(config.root, name) for name in STAGES]
    stages = [record for record in records if record is not None]
    data = data_module.collect_report_data(config.root, run, store, config.archive, stages)
    page = write_report(data, url)
    write_json(join_url(url, "made_of.json"), made_of)
    return StageResult({"page": page})


STAGES: Mapping[str, Callable[[StageContext], StageResult]] = {
    "synthesize": _synthesize,
    "ingest": _ingest,
    "train": _train,
    "embed": _embed,
    "cluster": _cluster,
    "catalog": _catalog,
    "report": _report,
}


def resolve_model_id(config: Config) -> str:
    """Name the model that these settings use: the one that serves here, or the one that they name.

    That one is copied below the root, where it stays when its origin goes.
    """
    if config.pretrained_model:
        return import_model(config.root, config.pretrained_model)
    return find_model_id(config.root, _model_spec(config))


def _model_spec(config: Config) -> ModelSpec:
    """Return what is asked of a model; clusterings of as many clusters as are published must repeat on it."""
    k, published = config.clustering.k_min, editions.read_current_record(config.root)
    if published is not None:
        classes = editions.open_record_tables(config.root, published)["classes"]
        k = classes.count_rows(filter=pc.field("cluster_label") >= 0)
    return ModelSpec(config.vae, config.training, config.seed, config.clustering.spaces, max(k, 2))


def find_run(config: Config) -> tuple[Store, str]:
    """Return the store and the run that these settings make of it.

    Raises
    ------
    FileNotFoundError
        When that run has not been made.
    """
    store = open_store(store_url(config.root))
    run = compute_run_id(resolve_model_id(config), store.dataset_checksum(), config.clustering, config.seed)
    if not has_run(run_url(config.root, run)):
        raise FileNotFoundError(
            f"no run {run} under {config.root}: run `python -m jobs.cluster` with these settings first"
        )
    return store, run


def run_stages(config: Config, stage_names: list[str]) -> bool:
    """Run stages in order, holding the root; return whether any of them had something to do."""
    os.environ.update(config.storage.to_environment())
    what = stage_names[0] if len(stage_names) == 1 else "pipeline"
    with (
        hold_lease(config.root, what) as lease,
        track_job(JobLog(config.root, lease, what, config.recipe)) as journal,
        ray_session(config.ray, config.storage.to_environment()),
    ):
        at = StageContext(config, lease, journal)
        for name in stage_names:
            start = time.monotonic()
            with track_running_stage(name, config.recipe):
                outcome = STAGES[name](at)
            seconds = time.monotonic() - start
            nothing = "" if outcome.did_work else "nothing to do: "
            log.info("%-10s %6.1f s  %s%s", name, seconds, nothing, outcome)
            journal.log_event(
                "stage", stage=name, seconds=round(seconds, 2), worked=outcome.did_work, **outcome.counts
            )
            if outcome.did_work:
                journal.did_work = True
                write_stage_record(config.root, name, seconds, outcome)
    return journal.did_work


def write_stage_record(root: str, stage: str, seconds: float, outcome: StageResult) -> None:
    """Keep what a stage did when it last had something to do."""
    record: dict[str, Any] = {"stage": stage, "ended": utc_now_iso(), "seconds": round(seconds, 2)}
    write_json(join_url(root, "stages", f"{stage}.json"), {**record, "counts": dict(outcome.counts)})


def read_stage_record(root: str, stage: str) -> dict[str, Any] | None:
    """Return what a stage did when it last had something to do."""
    url = join_url(root, "stages", f"{stage}.json")
    return read_json(url) if url_exists(url) else None


def format_summary(config: Config) -> str:
    """Return the end of a run in words: classes, oddest spectra, where things are, how to query them."""
    classes = query(
        config.root,
        "SELECT coalesce(class_id, 'noise') AS class, class_name AS name, n_spectra, n_sources, "
        "round(z_p50, 2) AS z, round(recon_mse_p50, 4) AS error FROM classes ORDER BY cluster_label",
    )
    oddest = query(
        config.root,
        "SELECT anomaly_rank AS rank, object_id, round(z, 2) AS z, "
        "round(anomaly_score::DOUBLE, 2) AS score, reason FROM anomalies ORDER BY anomaly_rank LIMIT 10",
    )
    _, run = find_run(config)
    sql = format_example_query(config.root)
    return "\n".join(
        [
            f"\n{len(classes)} classes",
            format_table(classes),
            "\nThe ten oddest spectra",
            format_table(oddest),
            f"\nCatalogue  {join_url(config.root, 'catalog', run)}",
            f"Report     {join_url(run_url(config.root, run), 'report', 'index.html')}",
            f"DuckDB     {sql}",
            f'           (or: distspec query "SELECT * FROM classes" --root {config.root})',
        ]
    )


def main(*stage_names: str) -> None:
    """Run stages from a command line: ``python -m jobs.STAGE RECIPE --root URL``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    config = parse(prog=f"python -m jobs.{stage_names[0] if len(stage_names) == 1 else 'pipeline'}")
    try:
        with exit_on_sigterm():
            worked = run_stages(config, list(stage_names))
    except EXPECTED_ERRORS as error:
        raise report_error(error) from error
    if len(stage_names) > 1:
        if not worked:
            print("Nothing to do: the catalogue is up to date with the archive.")
        print(format_summary(config))
