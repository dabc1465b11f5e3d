"""Measured memory of tasks and actors divided by what they request from Ray (`distspec.core.memory`).

Two runs of recipe `demo`, with 400 spectra of 640 pixels and 4,500 of 2,048, with two epochs and two ensemble
members. The measured value is the largest private memory of any process of a kind, sampled ten times a
second. The last row is the memory per row of the store in a process that reads which rows are current.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from distspec.clustering.cost import SweepSize, estimate_actor_bytes, get_memory_usage
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows
from distspec.core import memory
from distspec.core.spectrum import Spectrum
from distspec.ingest.commit import Committer
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import listing_to_entries, load_batch, read_archive_spectra
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import make_store_config
from distspec.models.latents import CHUNK_ROWS
from distspec.operations.evaluation import MAX_EVALUATION_SPECTRA
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import parse
from distspec.preprocessing.resampling import GridConfig
from distspec.stages.assign import ROWS_PER_SCORING_TASK
from distspec.store.store import create_store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.setup import split_rows
from tests.benchmarks.archive import RepeatedArchive, new_roots, simulated_files
from tests.benchmarks.stage_costs import RunCost, run_in_new_process
from tests.benchmarks.timing import Row
from tests.helpers.local_writer import LocalWriter

SIZES = ((400, 640), (4_500, 2_048))
"""Numbers of spectra and of pixels."""
FLAGS = ("--training.max-epochs", "2", "--clustering.n-seeds", "2", "--clustering.n-init", "1")
N_STORE_ROWS = (20_000, 120_000)
CHUNK_BYTES = 1_300_000
ACTOR_MEMORY = 4e9
"""Memory for the points of an actor of the sweep [bytes]; the sweeps here need less."""


def run() -> list[Row]:
    rows: list[Row] = []
    with new_roots() as new_root:
        for n, n_pixels in SIZES:
            flags = [*FLAGS, "--grid.n-pixels", str(n_pixels)]
            config = parse(["demo", "--root", new_root(), "--simulation.n-spectra", str(n), *flags])
            rows += _compare(config, run_in_new_process(n, 2, config.root, flags))
        small, large = (_measure_row_selection(new_root(), n) for n in N_STORE_ROWS)
    bytes_per_row = 1e6 * (large - small) / (N_STORE_ROWS[1] - N_STORE_ROWS[0])
    return [*rows, Row("selection of current rows, per row of the store", "B", (bytes_per_row,))]


def _compare(config: Config, cost: RunCost) -> list[Row]:
    """Return the measured memory of each kind of process divided by the requested memory."""
    n, n_pixels = cost.n_spectra, config.grid.n_pixels
    peaks: dict[str, float] = defaultdict(float)
    for stage in cost.stages.values():
        for title, peak in stage.peak_mb.items():
            function = title.partition(".")[0]
            peaks[function] = max(peaks[function], peak)
    return [
        Row(
            f"{title}, {n:,} spectra of {n_pixels:,} pixels: fraction of {requested / 1e6:,.0f} MB",
            "",
            (peaks[function] * 1e6 / requested,),
        )
        for function, (title, requested) in requested_memory(config, n).items()
        if function in peaks
    ]


def requested_memory(config: Config, n: int) -> dict[str, tuple[str, float]]:
    """Return a title and the requested memory [bytes] of each Ray task or actor, by its name in Ray."""
    training, n_pixels = config.training, config.grid.n_pixels
    n_validation = round(n * training.validation_fraction)
    chunk_rows = max(1, CHUNK_BYTES // (4 * n_pixels))
    window_rows = training.shuffle_window_chunks * chunk_rows
    sweep = config.clustering
    specs, _ = build_algorithm_grid(sweep, n)
    n_trials = sum(len(job.trials) for job in plan_jobs(sweep, specs, 0))
    size = SweepSize(n, n, config.vae.n_latents, n_trials)
    max_rows, _ = limit_rows(sweep, n, ACTOR_MEMORY)
    batch_bytes = min(config.ingest.batch_size(config.archive), n) * config.archive.spectrum_bytes
    return {
        "write_spectra": ("task that simulates spectra", memory.WORKER_BYTES),
        "load_batch_task": ("task that ingests", memory.estimate_loading_memory(batch_bytes)),
        "write_chunks_task": ("task that writes chunks", memory.WORKER_BYTES),
        "_train_in_task": (
            "worker that trains",
            memory.estimate_training_memory(
                n,
                n - n_validation,
                n_validation,
                n_pixels,
                training.cache_mb,
                window_rows,
                training.prefetch_windows,
            ),
        ),
        "_evaluate_task": (
            "task that compares models",
            memory.estimate_evaluation_memory(n, min(MAX_EVALUATION_SPECTRA, n), n_pixels),
        ),
        "_embed_in_task": (
            "task that embeds",
            memory.estimate_inference_memory(max(CHUNK_ROWS, chunk_rows), n_pixels),
        ),
        "Embedder": (
            "actor that embeds",
            memory.estimate_inference_memory(max(CHUNK_ROWS, chunk_rows), n_pixels),
        ),
        "_compute_features": (
            "task that measures reconstructions",
            memory.estimate_measurement_memory(n_pixels),
        ),
        "SweepActor": (
            "actor of the sweep",
            memory.TORCH_WORKER_BYTES + estimate_actor_bytes(size, sweep, specs, max_rows),
        ),
        "_score_rows": (
            "task that scores anomalies",
            memory.estimate_inference_memory(ROWS_PER_SCORING_TASK, n_pixels),
        ),
    }


def _measure_row_selection(url: str, n: int) -> float:
    """Return by how much the peak of a new process rises when it selects rows to train on [MB]."""
    _write_store(url, n)
    command = [sys.executable, "-m", "tests.benchmarks.bench_memory", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _write_store(url: str, n: int) -> None:
    """Write a store of nearly `n` rows, which repeat the spectra of one batch with other identifiers."""
    with simulated_files(100) as files:
        source = ArchiveSource(RepeatedArchive(files, n), grid=GridConfig(n_pixels=16))
        listing = source.archive.list_spectra(source.access)
        first = listing.slice(0, 100)
        outcomes = read_archive_spectra(files, source.access, listing_to_entries(first))
        spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
        z = first["z"].to_numpy()
        store_config = make_store_config(spectra, z, source)
        batch = load_batch(
            source.archive, source.access, first, store_config.grid, source.norm, store_config.default_slope
        )
    n_times = n // len(batch.rows)
    listed = listing.slice(0, n_times * len(batch.rows))
    rows = pa.concat_tables([batch.rows] * n_times)
    for name in ("object_id", "ra", "dec", "source_key"):
        if name in listed.column_names:
            index, column_type = rows.schema.get_field_index(name), rows.schema.field(name).type
            rows = rows.set_column(index, name, listed[name].cast(column_type))
    block = tuple(np.concatenate([values] * n_times) for values in batch.block)
    committer = Committer(create_store(url, store_config), 1 << 20, LocalWriter())
    committer.add(replace(batch, rows=rows, block=block, rejected=[]))
    committer.finish(compare_listing(listed, None))


def main(url: str) -> None:
    """Select rows to train on, and print by how much the peak of memory rose [MB]."""
    before = get_memory_usage().current_mb
    split = split_rows(open_store(url), TrainingConfig())
    print(json.dumps(get_memory_usage().peak_mb - before), flush=True)
    assert len(split.train)


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))
