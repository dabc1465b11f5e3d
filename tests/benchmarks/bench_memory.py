"""Is what tasks and actors are given what they take? Measured peaks over what `distspec.core.memory` says.

Two runs of recipe `demo`: 400 spectra of 640 pixels and 4,500 of 2,048, two epochs, two repeats. Peaks are
private memory of each process, looked at ten times a second. Then what a row of the store costs whoever asks
which rows stand.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.clustering.cost import SweepSize, estimate_actor_bytes, get_memory_usage
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows
from distspec.core import memory
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
from distspec.store.store import create_store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.setup import split_rows
from tests.benchmarks.archive import Repeated, fresh_roots, written
from tests.benchmarks.stage_costs import afresh
from tests.benchmarks.timing import Row
from tests.helpers.local_writer import LocalWriter

SIZES = ((400, 640), (4_500, 2_048))
FLAGS = ("--training.max-epochs", "2", "--clustering.n-seeds", "2", "--clustering.n-init", "1")
N_ROWS = (20_000, 120_000)
CHUNK_BYTES = 1_300_000


def run() -> list[Row]:
    rows: list[Row] = []
    with fresh_roots() as root:
        for n, pixels in SIZES:
            flags = [*FLAGS, "--grid.n-pixels", str(pixels)]
            config = parse(["demo", "--root", root(), "--synthetic.n-spectra", str(n), *flags])
            rows += _against(config, afresh(n, 2, config.root, flags))
        few, many = (_asked(root(), n) for n in N_ROWS)
    a_row = 1e6 * (many - few) / (N_ROWS[1] - N_ROWS[0])
    return [*rows, Row("a row of the store, to whoever asks which stand", "B", (a_row,))]


def _against(config: Config, ran: Mapping[str, Any]) -> list[Row]:
    n, pixels = ran["spectra"], config.grid.n_pixels
    peaks: dict[str, float] = {}
    for stage in ran["stages"].values():
        for title, peak in stage["peaks"].items():
            kind = title.partition(".")[0]
            peaks[kind] = max(peaks.get(kind, 0.0), peak)
    return [
        Row(
            f"{kind}, {n:,} spectra of {pixels:,} pixels: of {given / 1e6:,.0f} MB given",
            "",
            (peaks[kind] * 1e6 / given,),
        )
        for kind, given in declared(config, n).items()
        if kind in peaks
    ]


def declared(config: Config, n: int) -> dict[str, float]:
    """Return what each kind of task or actor is given for `n` spectra [bytes]."""
    training, pixels = config.training, config.grid.n_pixels
    held_out = round(n * training.validation_fraction)
    chunk = max(1, CHUNK_BYTES // (4 * pixels))
    given = training.cache_mb, training.shuffle_window_chunks * chunk, training.prefetch_windows
    sweep = config.clustering
    tried, _ = build_algorithm_grid(sweep, n)
    size = SweepSize(n, n, config.vae.n_latents, sum(len(job.trials) for job in plan_jobs(sweep, tried, 0)))
    most, _ = limit_rows(sweep, n, 4e9)
    batch = min(config.ingest.batch_size(config.archive), n) * config.archive.spectrum_bytes
    return {
        "write_shard": memory.WORKER_BYTES,
        "load_task": memory.estimate_loading_memory(batch),
        "write_task": memory.WORKER_BYTES,
        "RayTrainWorker": memory.estimate_training_memory(n, n - held_out, held_out, pixels, *given),
        "_evaluate": memory.estimate_evaluation_memory(n, min(MAX_EVALUATION_SPECTRA, n), pixels),
        "Embedder": memory.estimate_inference_memory(max(CHUNK_ROWS, chunk), pixels),
        "_measure": memory.estimate_measurement_memory(pixels),
        "Sweeper": memory.TORCH_WORKER_BYTES + estimate_actor_bytes(size, sweep, tried, most),
        "_judge": memory.estimate_inference_memory(CHUNK_ROWS, pixels),
    }


def _asked(root: str, n: int) -> float:
    """Return by how much asking raises the peak of a fresh process [MB], at `n` rows."""
    with written(100) as files:
        source = ArchiveSource(Repeated(files, n), grid=GridConfig(n_pixels=16))
        listing = source.archive.list_spectra(source.access)
        first = listing.slice(0, 100)
        spectra = [
            each
            for each in read_archive_spectra(files, source.access, listing_to_entries(first))
            if hasattr(each, "flux")
        ]
        frozen = make_store_config(
            spectra, first["z"].to_numpy(), source.grid, source.norm, archive_name=files.name
        )
        made = load_batch(
            source.archive, source.access, first, frozen.grid, source.norm, frozen.default_slope
        )
        committer = Committer(create_store(root, frozen), 1 << 20, LocalWriter())
        good = len(made.rows)
        whole = listing.slice(0, n // good * good)
        times = len(whole) // good
        rows = pa.concat_tables([made.rows] * times)
        for name in ("object_id", "ra", "dec", "source_key"):
            if name in whole.column_names:
                rows = rows.set_column(
                    rows.schema.get_field_index(name), name, whole[name].cast(rows.schema.field(name).type)
                )
        block = tuple(np.concatenate([each] * times) for each in made.block)
        committer.add(made._replace(rows=rows, block=block, rejected=[]))
        committer.finish(compare_listing(whole, None))
    command = [sys.executable, "-m", "tests.benchmarks.bench_memory", root]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(url: str) -> None:
    """Ask, and print how far the peak rose [MB]."""
    before = get_memory_usage().current_mb
    rows = split_rows(open_store(url), TrainingConfig())
    print(json.dumps(get_memory_usage().peak_mb - before), flush=True)
    assert len(rows.train)


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))
