"""NEEDS A DOCSTRING."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.core.records import lists_to_tuples
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.store.sources import MATCH_RADIUS


def write_source(root: str, source: ArchiveSource) -> None:
    """Keep under a root what it is ingested from, for `recall`."""
    settings = asdict(source)
    record = {"archive_settings": settings.pop("archive"), "archive": source.archive.name, **settings}
    url = join_url(root, "archive.json")
    record = json.loads(json.dumps(record))
    if not url_exists(url) or read_json(url) != record:
        write_json(url, record)


def read_source(root: str) -> ArchiveSource:
    """Return what a root was last ingested from.

    Raises
    ------
    FileNotFoundError
        When nothing was ingested there.
    """
    url = join_url(root, "archive.json")
    if not url_exists(url):
        raise FileNotFoundError(f"nothing was ingested into {root}: run `python -m jobs.ingest` first")
    record = read_json(url)
    archive = get_archive(record["archive"])(**lists_to_tuples(record["archive_settings"]))
    access, grid = AccessConfig(**lists_to_tuples(record["access"])), GridConfig(**record["grid"])
    norm, ingest = NormConfig(**lists_to_tuples(record["norm"])), IngestConfig(**record["config"])
    return ArchiveSource(archive, access, grid, norm, ingest)


@dataclass(frozen=True)
class IngestConfig:
    """How an archive is read."""

    task_mb: float = 24.0
    """What a Ray task reads, about [MB]."""
    in_flight: int = 0
    """Tasks at a time; 0: two a CPU."""
    commit_rows: int = 8192
    """Rows a commit: a killed run loses at most so many."""
    join_radius: float = MATCH_RADIUS
    """A spectrum this near [arcsec] to a source's first position is of that source; frozen with a store."""
    max_bad_share: float = 0.5
    """Fail, after committing what is good, when more than this share of what was read is bad."""

    def __post_init__(self) -> None:
        if self.task_mb <= 0 or self.commit_rows < 1 or self.in_flight < 0:
            raise ValueError(
                f"ingest.task_mb {self.task_mb} and commit_rows {self.commit_rows} must be positive, "
                f"in_flight {self.in_flight} not negative"
            )
        if not 0.0 <= self.max_bad_share <= 1.0:
            raise ValueError(f"ingest.max_bad_share {self.max_bad_share}: give a share from 0 to 1")

    def batch_size(self, archive: Archive) -> int:
        """Return how many spectra of an archive a task reads."""
        return max(1, int(self.task_mb * 1e6 / archive.spectrum_bytes))


@dataclass(frozen=True)
class ArchiveSource:
    """Where spectra come from and how they are read."""

    archive: Archive
    access: AccessConfig = field(default_factory=AccessConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    config: IngestConfig = field(default_factory=IngestConfig)
