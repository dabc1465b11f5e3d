"""Writing a synthetic archive on Ray: tasks write disjoint ranges of its files."""

from __future__ import annotations

from dataclasses import asdict

import ray

from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SyntheticConfig
from distspec.core import memory
from distspec.core.records import compute_fingerprint
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.stages.pool import map_ordered
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.stages.session import default_max_in_flight

FILES_PER_TASK = 100
"""Files a task."""
write_shard_task = ray.remote(num_cpus=1, memory=memory.WORKER_BYTES)(write_spectra)


def simulate_archive(url: str, config: SyntheticConfig) -> StageResult:
    """Write a synthetic archive at `url`, unless this one is there already.

    Raises
    ------
    ValueError
        When another synthetic archive is there.
    """
    done, made_of = join_url(url, "synthetic.json"), {"fingerprint": compute_fingerprint(asdict(config))}
    if url_exists(done):
        if read_json(done)["fingerprint"] != made_of["fingerprint"]:
            raise ValueError(f"{url} holds another synthetic archive: use another --root")
        return StageResult({"spectra": config.n_spectra, "archive": url}, did_work=False)
    spans = [
        (start, min(start + FILES_PER_TASK, config.n_spectra))
        for start in range(0, config.n_spectra, FILES_PER_TASK)
    ]
    tasks = map_ordered(
        lambda span: write_shard_task.remote(config, url, *span), spans, default_max_in_flight
    )
    with Progress("synthesize", config.n_spectra, "spectrum") as progress:
        for (start, stop), _ in zip(spans, tasks, strict=True):
            progress.advance(stop - start)
    write_catalog_and_truth(config, url)
    write_json(done, {**made_of, "config": asdict(config)})
    return StageResult({"spectra": config.n_spectra, "archive": url})
