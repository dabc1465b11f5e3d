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
from distspec.catalog.build import build
from distspec.catalog.query import duckdb_line, query
from distspec.catalog.runs import has_run, run_id
from distspec.core.arrow import pc
from distspec.core.records import now
from distspec.core.text import format_table
from distspec.ingest.source import remember
from distspec.io.files import exists, get_json, put_json
from distspec.io.job_log import Journal, kept
from distspec.io.lease import Lease, hold
from distspec.io.paths import join, run_url, store_url
from distspec.labels import annotations
from distspec.labels.annotations import marked
from distspec.models.serialization import adopt
from distspec.pipeline.config import Config
from distspec.pipeline.exit import FAILURES, ending, stoppable
from distspec.pipeline.recipes import parse
from distspec.report import data as data_module
from distspec.report.page import write_report
from distspec.stages.cluster import cluster
from distspec.stages.embed import embed_store
from distspec.stages.ingest import ingest
from distspec.stages.metrics import running
from distspec.stages.promote import Wanted, serve, serving
from distspec.stages.result import Outcome
from distspec.stages.session import session
from distspec.stages.synthesize import synthesize
from distspec.store.snapshots import run_tag, tag
from distspec.store.store import Store, open_store

log = logging.getLogger("distspec")


@dataclass(frozen=True)
class At:
    """What a stage works with: the settings, the root's lease, and who is told."""

    config: Config
    lease: Lease
    journal: Journal


def _synthesize(at: At) -> Outcome:
    config = at.config
    if config.synthetic is None:
        return Outcome({"recipe": config.recipe}, did_work=False)
    return synthesize(config.synthetic_url(), config.synthetic)


def _ingest(at: At) -> Outcome:
    config = at.config
    remember(config.root, config.source())
    return ingest(config.root, config.source(), at.lease)


def _train(at: At) -> Outcome:
    config = at.config
    if config.model:
        return Outcome({"model": adopt(config.root, config.model)}, did_work=False)
    return serve(config.root, _wanted(config), config.retrain, at.lease, at.journal.say)


def _embed(at: At) -> Outcome:
    return embed_store(at.config.root, model_of(at.config))


def _cluster(at: At) -> Outcome:
    config = at.config
    return cluster(config.root, model_of(config), config.clustering, config.seed, config.resolved())


def _catalog(at: At) -> Outcome:
    config = at.config
    store, run = current_run(config)
    made_with = {**asdict(config.catalog), "labels": annotations.digest(config.root)}
    if editions.is_current(config.root, run, store.snapshot_id, made_with):
        return Outcome({"run": run}, did_work=False)
    tables = build(config.root, run, store, config.catalog)
    tag(config.root, run_tag(run, store.snapshot_id), store.snapshot_id)
    record = editions.publish(config.root, tables, run, store.snapshot_id, made_with, lease=at.lease)
    return Outcome(
        {"run": run, "seal": record["seal"], **{name: len(table) for name, table in tables.items()}}
    )


def _report(at: At) -> Outcome:
    config = at.config
    store, run = current_run(config)
    url = join(run_url(config.root, run), "report")
    if (editions.current(config.root) or {}).get("run_id") != run:
        raise FileNotFoundError(
            f"run {run} is not the published one: run `python -m jobs.catalog` with these settings first"
        )
    made_of = {
        "catalog": editions.current(config.root),
        "archive": json.loads(json.dumps(asdict(config.archive))),
    }
    if said := marked(config.root):
        made_of["marks"] = said
    if exists(join(url, "made_of.json")) and get_json(join(url, "made_of.json")) == made_of:
        return Outcome({"page": join(url, "index.html")}, did_work=False)
    records = [read_record(config.root, name) for name in STAGES]
    stages = [record for record in records if record is not None]
    data = data_module.gather(config.root, run, store, config.archive, stages)
    page = write_report(data, url)
    put_json(join(url, "made_of.json"), made_of)
    return Outcome({"page": page})


STAGES: Mapping[str, Callable[[At], Outcome]] = {
    "synthesize": _synthesize,
    "ingest": _ingest,
    "train": _train,
    "embed": _embed,
    "cluster": _cluster,
    "catalog": _catalog,
    "report": _report,
}


def model_of(config: Config) -> str:
    """Name the model that these settings use: the one that serves here, or the one that they name.

    That one is copied below the root, where it stays when its origin goes.
    """
    if config.model:
        return adopt(config.root, config.model)
    return serving(config.root, _wanted(config))


def _wanted(config: Config) -> Wanted:
    """Return what is asked of a model; clusterings of as many clusters as are published must repeat on it."""
    k, published = config.clustering.k_min, editions.current(config.root)
    if published is not None:
        classes = editions.tables_of(config.root, published)["classes"]
        k = classes.count_rows(filter=pc.field("cluster_label") >= 0)
    return Wanted(config.vae, config.training, config.seed, config.clustering.spaces, max(k, 2))


def current_run(config: Config) -> tuple[Store, str]:
    """Return the store and the run that these settings make of it.

    Raises
    ------
    FileNotFoundError
        When that run has not been made.
    """
    store = open_store(store_url(config.root))
    run = run_id(model_of(config), store.digest(), config.clustering, config.seed)
    if not has_run(run_url(config.root, run)):
        raise FileNotFoundError(
            f"no run {run} under {config.root}: run `python -m jobs.cluster` with these settings first"
        )
    return store, run


def run_stages(config: Config, names: list[str]) -> bool:
    """Run stages in order, holding the root; return whether any of them had something to do."""
    os.environ.update(config.storage.environment())
    what = names[0] if len(names) == 1 else "pipeline"
    with (
        hold(config.root, what) as lease,
        kept(Journal(config.root, lease, what, config.recipe)) as journal,
        session(config.ray, config.storage.environment()),
    ):
        at = At(config, lease, journal)
        for name in names:
            start = time.monotonic()
            with running(name, config.recipe):
                outcome = STAGES[name](at)
            seconds = time.monotonic() - start
            nothing = "" if outcome.did_work else "nothing to do: "
            log.info("%-10s %6.1f s  %s%s", name, seconds, nothing, outcome)
            journal.say(
                "stage", stage=name, seconds=round(seconds, 2), worked=outcome.did_work, **outcome.counts
            )
            if outcome.did_work:
                journal.worked = True
                write_record(config.root, name, seconds, outcome)
    return journal.worked


def write_record(root: str, stage: str, seconds: float, outcome: Outcome) -> None:
    """Keep what a stage did when it last had something to do."""
    record: dict[str, Any] = {"stage": stage, "ended": now(), "seconds": round(seconds, 2)}
    put_json(join(root, "stages", f"{stage}.json"), {**record, "counts": dict(outcome.counts)})


def read_record(root: str, stage: str) -> dict[str, Any] | None:
    """Return what a stage did when it last had something to do."""
    url = join(root, "stages", f"{stage}.json")
    return get_json(url) if exists(url) else None


def summary(config: Config) -> str:
    """Return the end of a run in words: classes, oddest spectra, where things are, how to query them."""
    classes = query(
        config.root,
        "SELECT coalesce(class_id, 'noise') AS class, class_name AS name, n_spectra, n_sources, "
        "round(z_p50, 2) AS z, round(recon_mse_p50, 4) AS error FROM classes ORDER BY cluster_label",
    )
    oddest = query(
        config.root,
        "SELECT anomaly_rank AS rank, object_id, round(z, 2) AS z, "
        "round(anomaly_score::DOUBLE, 2) AS score, why FROM anomalies ORDER BY anomaly_rank LIMIT 10",
    )
    _, run = current_run(config)
    sql = duckdb_line(config.root)
    return "\n".join(
        [
            f"\n{len(classes)} classes",
            format_table(classes),
            "\nThe ten oddest spectra",
            format_table(oddest),
            f"\nCatalogue  {join(config.root, 'catalog', run)}",
            f"Report     {join(run_url(config.root, run), 'report', 'index.html')}",
            f"DuckDB     {sql}",
            f'           (or: distspec query "SELECT * FROM classes" --root {config.root})',
        ]
    )


def main(*names: str) -> None:
    """Run stages from a command line: ``python -m jobs.STAGE RECIPE --root URL``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    config = parse(prog=f"python -m jobs.{names[0] if len(names) == 1 else 'pipeline'}")
    try:
        with stoppable():
            worked = run_stages(config, list(names))
    except FAILURES as error:
        raise ending(error) from error
    if len(names) > 1:
        if not worked:
            print("Nothing to do: the catalogue is up to date with the archive.")
        print(summary(config))
