"""Progress of a stage: log lines, a bar on terminals, and metrics for Prometheus."""

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

SCRAPE_TIMEOUT = 60.0
"""Longest time until Ray exports all metrics [s]."""
RECIPE = "progress-test"
"""A recipe that no other test uses, because counters persist for the lifetime of the process."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def log_every_update(monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_INTERVAL_SECONDS", 0.0)


def test_progress_is_logged_without_a_terminal(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="distspec"), Progress("ingest", 40, "spectrum") as progress:
        progress.advance(10, "1 quarantined")
    (message,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"ingest     10 of 40 \(spectrum\), [\d,]+ per second, \d+ s left; 1 quarantined", message
    )


def test_log_interval_is_respected(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr(progress_module, "LOG_INTERVAL_SECONDS", 3600.0)
    with caplog.at_level(logging.INFO, logger="distspec"), Progress("embed", 40, "spectrum") as progress:
        for _ in range(40):
            progress.advance(1)
    assert not caplog.records


def test_terminal_shows_a_bar(local_ray, caplog, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(tqdm_module.tqdm, "monitor_interval", 0)
    with caplog.at_level(logging.INFO, logger="distspec"), Progress("embed", 4, "spectrum") as progress:
        for _ in range(4):
            progress.advance(1)
    assert "4/4" in screen.getvalue()
    assert not caplog.records


def test_updates_of_other_processes_are_logged(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="distspec"), show_progress(3, "train", "epoch") as board:
        ray.get(board.update.remote(2, EpochMetrics(1, {"total": 3.0}, {"recon": 212.066}, 1e-3, 1.0)))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("train      2 of 3 (epoch)")
    assert message.endswith("validation 212.07")


def test_dead_progress_actor_is_restarted(local_ray, caplog, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="distspec"), show_progress(3, "train", "epoch") as board:
        metrics = EpochMetrics(0, {"total": 3.0}, {"recon": 1.0}, 1e-3, 1.0)
        ray.get(board.update.remote(1, metrics))
        while not caplog.records:
            time.sleep(0.05)
        ray.kill(board, no_restart=False)
        while ray.get(board.read.remote()).n_done:  # wait for the restart
            time.sleep(0.05)
        ray.get(board.update.remote(3, metrics))
    assert [record.getMessage()[:27] for record in caplog.records] == [
        "train      1 of 3 (epoch), ",
        "train      3 of 3 (epoch), ",
    ]


def test_every_metric_is_exported_with_its_tags(local_ray):
    with track_running_stage("ingest", RECIPE):
        increment_counter(BYTES_READ, 81_000)
        increment_counter(SPECTRA_QUARANTINED, 1, reason="no_redshift")
        set_gauge(QUARANTINE_FRACTION, 0.25)
        set_gauge(EPOCH_LOSS, 3.5, term="val_recon")
        set_gauge(LEARNING_RATE, 1e-4)
        with Progress("ingest", 40, "spectrum") as progress:
            progress.advance(15)
            found = scrape_metrics()
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
        expected = {"recipe": RECIPE, **tags.get(metric, {})}
        (value,) = [v for labels, v in found[metric.prometheus_name] if expected.items() <= labels.items()]
        assert value == pytest.approx(values[metric]), metric.name


def scrape_metrics() -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the exported samples of distspec by metric, once all metrics are exported."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + SCRAPE_TIMEOUT
    while True:
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, labels, value in re.findall(r"^(ray_distspec_\w+)\{([^}]*)\} (\S+)$", text, re.MULTILINE):
            read = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            found.setdefault(name, []).append((read, float(value)))
        scraped_names = {
            name
            for name, samples in found.items()
            if any(tags.get("recipe") == RECIPE for tags, _ in samples)
        }
        if {metric.prometheus_name for metric in METRICS} <= scraped_names:
            return found
        assert time.monotonic() < deadline, sorted(found)
        time.sleep(1.0)
