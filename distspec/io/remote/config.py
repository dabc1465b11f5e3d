"""How an archive is reached, and what is refused of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class AccessConfig:
    """How an archive's files are reached, and what is refused of them."""

    anonymous: bool = False
    """Read a public bucket without credentials."""
    endpoint_url: str = ""
    """S3-compatible endpoint of the archive; empty: as the root's."""
    region: str = ""
    """Region of the archive's bucket; empty: as the root's."""
    redirect_hosts: tuple[str, ...] = ()
    """Hosts (host or host:port) besides the archive's own to which it may redirect."""
    in_flight: int = 64
    """Files a task reads at a time."""
    attempts: int = 8
    """Tries of one request, with growing random pauses."""
    timeout: float = 30.0
    """Longest time of one try [s]."""
    deadline: float = 180.0
    """Longest time of one request with all its tries [s]."""
    max_file_mb: float = 1024.0
    """Refuse to read more of a file [MB]."""
    max_unpacked_mb: float = 1024.0
    """Refuse what a gzipped file unpacks to beyond this [MB]."""
    max_catalog_mb: float = 8192.0
    """Refuse catalogues that are or unpack to more [MB]."""

    def __post_init__(self) -> None:
        if min(self.in_flight, self.attempts) < 1 or min(self.timeout, self.deadline) <= 0:
            raise ValueError(
                f"access.in_flight {self.in_flight} and attempts {self.attempts} must be at least 1, "
                f"timeout {self.timeout} s and deadline {self.deadline} s positive"
            )


DEFAULT_ACCESS = AccessConfig()


class FileContent(NamedTuple):
    """The first bytes of a file, or all of them, unpacked; and how large all of it is."""

    data: bytes
    file_size: int


class ListedFile(NamedTuple):
    """One file that a folder holds."""

    url: str
    size: int
    etag: str


class TransientError(Exception):
    """What another try may mend."""
