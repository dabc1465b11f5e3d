"""How far a stage is: lines where there is no terminal, a bar where there is, and what Prometheus reads."""

from __future__ import annotations

import io
import logging
import re
import time
import urllib.request

import pytest
import ray
import tqdm as tqdm_module

from distspec.stages import progress as progress_module
from distspec.stages.metrics import (
    BYTES_READ,
    EPOCH_LOSS,
    ITEMS_DONE,
    ITEMS_QUEUED,
    LEARNING_RATE,
    METRICS,
    QUARANTINE_FRACTION,
    SPECTRA_QUARANTINED,
    STAGE_RUNNING,
    increment_counter,
    set_gauge,
    track_running_stage,
)
from distspec.stages.progress import Progress, show_progress
from distspec.training.record import EpochMetrics

SCRAPED = 60.0
"""Ray tells its metrics within so long [s]."""
ALONE = "alone"
"""A recipe that no other test runs: counters last as long as the process."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_INTERVAL_SECONDS", 0.0)


def test_where_there_is_no_terminal_lines_are_logged(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="distspec"), Progress("ingest", 40, "spectrum") as progress:
        progress.advance(10, "1 quarantined")
    (said,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"ingest     10 of 40 \(spectrum\), [\d,]+ per second, \d+ s left; 1 quarantined", said
    )


def test_not_too_often(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr(progress_module, "LOG_INTERVAL_SECONDS", 3600.0)
    with caplog.at_level(logging.INFO, logger="distspec"), Progress("embed", 40, "spectrum") as progress:
        for _ in range(40):
            progress.advance(1)
    assert not caplog.records


def test_on_a_terminal_a_bar_is_drawn(local_ray, caplog, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(tqdm_module.tqdm, "monitor_interval", 0)
    with caplog.at_level(logging.INFO, logger="distspec"), Progress("embed", 4, "spectrum") as progress:
        for _ in range(4):
            progress.advance(1)
    assert "4/4" in screen.getvalue()
    assert not caplog.records


def test_what_a_far_process_posts_is_shown(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="distspec"), show_progress(3, "train", "epoch") as board:
        ray.get(board.update.remote(2, EpochMetrics(1, {"total": 3.0}, {"recon": 212.066}, 1e-3, 1.0)))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("train      2 of 3 (epoch)")
    assert said.endswith("validation 212.07")


def test_work_goes_on_where_the_board_dies(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="distspec"), show_progress(3, "train", "epoch") as board:
        metrics = EpochMetrics(0, {"total": 3.0}, {"recon": 1.0}, 1e-3, 1.0)
        ray.get(board.update.remote(1, metrics))
        while not caplog.records:
            time.sleep(0.05)
        ray.kill(board, no_restart=False)
        while ray.get(board.read.remote()).n_done:  # not dead yet
            time.sleep(0.05)
        ray.get(board.update.remote(3, metrics))
    assert [record.getMessage()[:27] for record in caplog.records] == [
        "train      1 of 3 (epoch), ",
        "train      3 of 3 (epoch), ",
    ]


def test_prometheus_reads_every_metric_by_its_name_and_tags(local_ray):
    with track_running_stage("ingest", ALONE):
        increment_counter(BYTES_READ, 81_000)
        increment_counter(SPECTRA_QUARANTINED, 1, reason="no_redshift")
        set_gauge(QUARANTINE_FRACTION, 0.25)
        set_gauge(EPOCH_LOSS, 3.5, term="val_recon")
        set_gauge(LEARNING_RATE, 1e-4)
        with Progress("ingest", 40, "spectrum") as progress:
            progress.advance(15)
            found = scraped()
    tags = {
        STAGE_RUNNING: {"stage": "ingest"},
        SPECTRA_QUARANTINED: {"reason": "no_redshift"},
        EPOCH_LOSS: {"term": "val_recon"},
    }
    tags |= {metric: {"stage": "ingest", "unit": "spectrum"} for metric in (ITEMS_DONE, ITEMS_QUEUED)}
    values = {
        STAGE_RUNNING: 1,
        ITEMS_DONE: 15,
        ITEMS_QUEUED: 25,
        BYTES_READ: 81_000,
        SPECTRA_QUARANTINED: 1,
        QUARANTINE_FRACTION: 0.25,
        EPOCH_LOSS: 3.5,
        LEARNING_RATE: 1e-4,
    }
    for metric in METRICS:
        expected = {"recipe": ALONE, **tags.get(metric, {})}
        (value,) = [v for labels, v in found[metric.prometheus_name] if expected.items() <= labels.items()]
        assert value == pytest.approx(values[metric]), metric.name


def scraped() -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return what this node tells Prometheus of us, once it tells everything."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    until = time.monotonic() + SCRAPED
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, labels, value in re.findall(r"^(ray_distspec_\w+)\{([^}]*)\} (\S+)$", text, re.MULTILINE):
            read = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            found.setdefault(name, []).append((read, float(value)))
        here = {name for name, each in found.items() if any(tags.get("recipe") == ALONE for tags, _ in each)}
        if {metric.prometheus_name for metric in METRICS} <= here:
            return found
        assert time.monotonic() < until, sorted(found)
        time.sleep(1.0)
