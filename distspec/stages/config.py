"""Settings of the connection to Ray, apart from Ray itself so that reading settings does not import it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RayConfig:
    """Settings of the connection to Ray."""

    address: str = ""
    """Address of a cluster; empty: $RAY_ADDRESS, else a local Ray on this machine."""
    num_cpus: int = 0
    """CPUs of a local Ray; 0: all."""
    temp_dir: str = ""
    """Folder for the sessions and sockets of a local Ray; empty: Ray's default."""
