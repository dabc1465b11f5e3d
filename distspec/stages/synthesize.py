"""Writing a synthetic archive on Ray: tasks write disjoint ranges of its files."""

from __future__ import annotations

from dataclasses import asdict

import ray

from distspec.archives.simulated.archive import write_shard, write_tables
from distspec.archives.simulated.survey import SyntheticConfig
from distspec.core import memory
from distspec.core.records import fingerprint
from distspec.io.files import exists, get_json, put_json
from distspec.io.paths import join
from distspec.stages.pool import in_order
from distspec.stages.progress import Progress
from distspec.stages.result import Outcome
from distspec.stages.session import two_a_cpu

SHARD = 100
"""Files a task."""
shard_task = ray.remote(num_cpus=1, memory=memory.WORKER)(write_shard)


def synthesize(url: str, config: SyntheticConfig) -> Outcome:
    """Write a synthetic archive at `url`, unless this one is there already.

    Raises
    ------
    ValueError
        When another synthetic archive is there.
    """
    done, made_of = join(url, "synthetic.json"), {"fingerprint": fingerprint(asdict(config))}
    if exists(done):
        if get_json(done)["fingerprint"] != made_of["fingerprint"]:
            raise ValueError(f"{url} holds another synthetic archive: use another --root")
        return Outcome({"spectra": config.n_spectra, "archive": url}, did_work=False)
    spans = [(start, min(start + SHARD, config.n_spectra)) for start in range(0, config.n_spectra, SHARD)]
    tasks = in_order(lambda span: shard_task.remote(config, url, *span), spans, two_a_cpu)
    with Progress("synthesize", config.n_spectra, "spectrum") as progress:
        for (start, stop), _ in zip(spans, tasks, strict=True):
            progress.advance(stop - start)
    write_tables(config, url)
    put_json(done, {**made_of, "config": asdict(config)})
    return Outcome({"spectra": config.n_spectra, "archive": url})
