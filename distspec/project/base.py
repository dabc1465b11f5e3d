"""What all methods of a project share: its root and its storage settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from distspec.io.storage import StorageConfig, resolve_root, use_storage

P = ParamSpec("P")
ProjectT = TypeVar("ProjectT", bound="ProjectBase")
Result = TypeVar("Result")


class ProjectBase:
    """Root and storage settings of a project.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    storage : StorageConfig, optional
        Settings of the object store.
    """

    def __init__(self, root: str | Path, storage: StorageConfig | None = None) -> None:
        self.root = resolve_root(root)
        self.storage = storage or StorageConfig()


def with_storage(
    method: Callable[Concatenate[ProjectT, P], Result],
) -> Callable[Concatenate[ProjectT, P], Result]:
    """Make a method of a project use its storage settings.

    Parameters
    ----------
    method : callable
        Method of a `ProjectBase`.

    Returns
    -------
    callable
        The method, within `distspec.io.storage.use_storage` of ``project.storage``.
    """

    @wraps(method)
    def wrapper(project: ProjectT, *args: P.args, **kwargs: P.kwargs) -> Result:
        with use_storage(project.storage):
            return method(project, *args, **kwargs)

    return wrapper
