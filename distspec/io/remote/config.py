"""Settings of the access to an archive, and the result of reading its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from distspec.core.errors import ConfigError


@dataclass(frozen=True)
class AccessConfig:
    """Settings of the access to an archive's files, and the limits on their size."""

    anonymous: bool = False
    """Read a public bucket without credentials."""
    endpoint_url: str = ""
    """S3-compatible endpoint of the archive; empty: that of the root."""
    region: str = ""
    """Region of the archive's bucket; empty: that of the root."""
    redirect_hosts: tuple[str, ...] = ()
    """Hosts (host or host:port), in addition to the archive's own, to which it may redirect."""
    in_flight: int = 64
    """Files that a task reads at a time."""
    attempts: int = 8
    """Attempts of one request, with random pauses that increase exponentially."""
    timeout: float = 30.0
    """Maximum time of one attempt [s]."""
    deadline: float = 180.0
    """Maximum time of one request with all its attempts [s]."""
    max_file_mb: float = 1024.0
    """Maximum size of a file [MB]."""
    max_unpacked_mb: float = 1024.0
    """Maximum uncompressed size of a gzip file [MB]."""
    max_catalog_mb: float = 8192.0
    """Maximum size of a catalog, compressed and uncompressed [MB]."""

    def __post_init__(self) -> None:
        if min(self.in_flight, self.attempts) < 1 or min(self.timeout, self.deadline) <= 0:
            raise ConfigError(
                f"access.in_flight {self.in_flight} and attempts {self.attempts} must be at least 1, "
                f"timeout {self.timeout} s and deadline {self.deadline} s positive"
            )


DEFAULT_ACCESS = AccessConfig()


class FileContent(NamedTuple):
    """Content of a file.

    Attributes
    ----------
    data : bytes
        The file's first bytes, a range of them, or all; uncompressed if the file is gzipped.
    file_size : int
        Size of the complete file [bytes]; the uncompressed size if it is gzipped.
    """

    data: bytes
    file_size: int


class ListedFile(NamedTuple):
    """A file in a listing.

    Attributes
    ----------
    url : str
        URL of the file.
    size : int
        Its size [bytes].
    etag : str
        Text that changes when the file does.
    """

    url: str
    size: int
    etag: str


class TransientError(Exception):
    """An attempt failed in a way that another attempt may not."""
