"""Source of a root's spectra: archive, access and preprocessing settings, and the record ``archive.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.core.errors import ConfigError, NotFoundError
from distspec.core.records import JsonRecord, decode_value, encode_value
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.io.remote.config import AccessConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.store.sources import KEY_RADIUS, MATCH_RADIUS


@dataclass(frozen=True)
class IngestConfig:
    """How an archive is ingested."""

    task_mb: float = 24.0
    """Approximate size of the files that a Ray task reads [MB]."""
    in_flight: int = 0
    """Number of tasks that run at a time; 0: two for each CPU."""
    commit_rows: int = 8192
    """Number of rows in a commit; a run that is killed loses at most as many."""
    join_radius: float = MATCH_RADIUS
    """Largest distance [arcsec] of a spectrum from the first position of its source; fixed when a store is
    created."""
    key_radius: float = KEY_RADIUS
    """Largest distance [arcsec] of a spectrum from the first position of the source that its archive names;
    beyond it the position decides, and a warning names the pair."""
    max_bad_share: float = 0.5
    """Fail, after committing the good spectra, if more than this fraction of the spectra read is bad."""
    max_withdrawn: float = 0.2
    """Stop before anything is changed if the listing lacks more than this fraction of the store's current
    spectra, and at least two of them."""

    def __post_init__(self) -> None:
        if self.task_mb <= 0 or self.commit_rows < 1 or self.in_flight < 0:
            raise ConfigError(
                f"ingest.task_mb {self.task_mb} and ingest.commit_rows {self.commit_rows} must be positive, "
                f"ingest.in_flight {self.in_flight} must not be negative"
            )
        if not self.key_radius >= 0:
            raise ConfigError(f"ingest.key_radius {self.key_radius} must not be negative")
        for name in ("max_bad_share", "max_withdrawn"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"ingest.{name} {getattr(self, name)}: give a fraction from 0 to 1")

    def batch_size(self, archive: Archive) -> int:
        """Return the number of spectra of an archive that a task reads.

        Parameters
        ----------
        archive : Archive
            The archive to read.

        Returns
        -------
        int
            Number of spectra per task.
        """
        return max(1, int(self.task_mb * 1e6 / archive.spectrum_bytes))


@dataclass(frozen=True)
class ArchiveSource:
    """Source of a root's spectra: an archive, and how it is read, preprocessed and ingested.

    Parameters
    ----------
    archive : Archive
        Archive with the options that the user set.
    access : AccessConfig, optional
        Credentials, limits and timeouts.
    grid : GridConfig, optional
        Rest-frame wavelength grid.
    norm : NormConfig, optional
        Normalization.
    config : IngestConfig, optional
        Sizes of tasks and commits, and limits.
    """

    archive: Archive
    access: AccessConfig = field(default_factory=AccessConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    config: IngestConfig = field(default_factory=IngestConfig)


@dataclass(frozen=True)
class SourceRecord(JsonRecord):
    """Content of ``archive.json``: the source that a root was last ingested from.

    Parameters
    ----------
    archive : str
        Name of the archive.
    archive_settings : mapping
        Options of the archive, by field name.
    access, grid, norm, ingest
        Settings of the fields `ArchiveSource.access`, ``grid``, ``norm`` and ``config``.
    """

    record_name: ClassVar[str] = "archive.json"
    archive: str
    archive_settings: Mapping[str, Any]
    access: AccessConfig
    grid: GridConfig
    norm: NormConfig
    ingest: IngestConfig

    @classmethod
    def from_source(cls, source: ArchiveSource) -> SourceRecord:
        """Return the record of a source.

        Parameters
        ----------
        source : ArchiveSource
            An archive and its options.

        Returns
        -------
        SourceRecord
        """
        settings: Any = asdict(source.archive)  # pyright: ignore - archives are dataclasses
        return cls(
            source.archive.name,
            encode_value(settings),
            source.access,
            source.grid,
            source.norm,
            source.config,
        )

    def to_source(self) -> ArchiveSource:
        """Return the source.

        Returns
        -------
        ArchiveSource
            The archive, and the settings with which it is read.

        Raises
        ------
        ArchiveError
            If no installed package provides the archive.
        """
        archive: Any = decode_value(get_archive(self.archive), self.archive_settings)
        return ArchiveSource(archive, self.access, self.grid, self.norm, self.ingest)


def write_source(root: str, source: ArchiveSource) -> None:
    """Write the source of a root to ``archive.json``, unless the file describes it already.

    Parameters
    ----------
    root : str
        Root of the store.
    source : ArchiveSource
        The archive, and the settings with which it is read.
    """
    url = join_url(root, "archive.json")
    record = SourceRecord.from_source(source).to_json()
    if not url_exists(url) or read_json(url) != record:
        write_json(url, record)


def read_source(root: str) -> ArchiveSource:
    """Return the source that a root was last ingested from.

    Parameters
    ----------
    root : str
        Root of the store.

    Returns
    -------
    ArchiveSource
        The archive, and the settings with which it is read.

    Raises
    ------
    NotFoundError
        If nothing was ingested into the root.
    StoreError
        If another version of distspec wrote the record.
    """
    url = join_url(root, "archive.json")
    if not url_exists(url):
        raise NotFoundError(
            f"nothing was ingested into {root}: run `distspec run ingest RECIPE --root …` first"
        )
    return SourceRecord.from_json(read_json(url)).to_source()
