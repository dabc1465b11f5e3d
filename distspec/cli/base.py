"""Arguments that the verbs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distspec.io.storage import StorageConfig

if TYPE_CHECKING:
    from distspec.project.project import Project


@dataclass(frozen=True)
class RootCommand:
    """Base of the verbs that work on a root."""

    root: str
    """Root of the project: a folder or a bucket URL."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Settings of S3-compatible object stores; credentials come from the environment."""

    @property
    def project(self) -> Project:
        """The project below the root."""
        from distspec.project.project import Project

        return Project(self.root, self.storage)
