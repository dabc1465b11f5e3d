"""Writing of a simulated archive by Ray tasks, each of which writes its own range of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import ray

from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SimulationConfig
from distspec.core import memory
from distspec.core.errors import ArchiveError
from distspec.core.records import JsonRecord, compute_fingerprint, encode_value
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.stages.pool import count_retries, map_ordered
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.stages.session import default_max_in_flight

FILES_PER_TASK = 100
"""Number of files that a task writes."""
write_spectra_task = ray.remote(num_cpus=1, memory=memory.WORKER_BYTES)(count_retries(write_spectra))


@dataclass(frozen=True)
class SimulatedArchiveRecord(JsonRecord):
    """Content of ``simulation.json``, which is written when a simulated archive is complete.

    Parameters
    ----------
    fingerprint : str
        Fingerprint of the settings.
    config : mapping
        Settings of the archive, by field name of `SimulationConfig`.
    """

    record_name: ClassVar[str] = "simulation.json"
    fingerprint: str
    config: Mapping[str, Any]


def simulate_archive(url: str, config: SimulationConfig) -> StageResult:
    """Write a simulated archive, unless it exists already.

    Parameters
    ----------
    url : str
        Folder or bucket of the archive.
    config : SimulationConfig
        Settings of the archive.

    Returns
    -------
    StageResult
        Number of spectra and location of the archive.

    Raises
    ------
    ArchiveError
        If `url` holds a simulated archive with other settings.
    """
    settings = asdict(config)
    record = SimulatedArchiveRecord(compute_fingerprint(settings), encode_value(settings))
    record_url, summary = join_url(url, "simulation.json"), {"spectra": config.n_spectra, "archive": url}
    if url_exists(record_url):
        if SimulatedArchiveRecord.from_json(read_json(record_url)).fingerprint != record.fingerprint:
            raise ArchiveError(f"{url} holds another simulated archive: use another --root")
        return StageResult(summary, did_work=False)
    spans = [
        (start, min(start + FILES_PER_TASK, config.n_spectra))
        for start in range(0, config.n_spectra, FILES_PER_TASK)
    ]
    tasks = map_ordered(
        lambda span: write_spectra_task.remote(config, url, *span), spans, default_max_in_flight
    )
    with Progress("simulate", config.n_spectra, "spectrum") as progress:
        for (start, stop), _ in zip(spans, tasks, strict=True):
            progress.advance(stop - start)
    write_catalog_and_truth(config, url)
    write_json(record_url, record.to_json())
    return StageResult(summary)
