"""What every verb takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from distspec.io.storage import StorageConfig


@dataclass(frozen=True)
class RootCommand:
    """What every verb takes."""

    root: str
    """Root of the project: a folder or a bucket URL."""
    storage: StorageConfig = field(default_factory=StorageConfig)
