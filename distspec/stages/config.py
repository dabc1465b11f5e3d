"""NEEDS A DOCSTRING."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RayConfig:
    """Which Ray to use."""

    address: str = ""
    """A cluster's address; empty: $RAY_ADDRESS, else a Ray of our own on this machine."""
    num_cpus: int = 0
    """CPUs of a Ray of our own; 0: all."""
    temp_dir: str = ""
    """Folder for the sessions and sockets of a Ray of our own; empty: Ray's own choice."""
