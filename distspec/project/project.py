"""A project: the store, models, runs and catalogs below one root, and the operations on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distspec.catalog.editions import read_current_record
from distspec.core.errors import ConfigError
from distspec.io.storage import StorageConfig
from distspec.project.base import with_storage
from distspec.project.html import format_project
from distspec.project.inspection import InspectionMethods
from distspec.project.labels import LabelMethods
from distspec.project.operation import OperationMethods
from distspec.project.query import QueryMethods


class Project(QueryMethods, LabelMethods, InspectionMethods, OperationMethods):
    """Everything below one root; `distspec.open` returns it.

    Its methods have the names of the verbs of the command line, which call them.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    storage : StorageConfig, optional
        Settings of the object store.
    """

    def __repr__(self) -> str:
        return f"<Project {self.root}>"

    @with_storage
    def _repr_html_(self) -> str:
        tables = {} if read_current_record(self.root) is None else self.tables
        return format_project(self.root, self.status(), tables)


def open_project(root: str | Path, storage: StorageConfig | None = None) -> Project:
    """Open a project; nothing is read yet.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    storage : StorageConfig, optional
        Settings of the object store.

    Returns
    -------
    Project

    Examples
    --------
    >>> import distspec
    >>> distspec.open("/data/dja")
    <Project /data/dja>
    """
    return Project(root, storage)


def run_recipe(recipe: str, root: str | Path, stages: Sequence[str] = (), **settings: Any) -> Project:
    """Run the pipeline, or some of its stages, with the settings of a recipe.

    Parameters
    ----------
    recipe : str
        Name of the recipe, for example "demo" or "dja".
    root : str
        Folder or bucket URL that holds everything the project produces.
    stages : sequence of str
        Stages to run; by default all of them. Each does only the missing work.
    **settings
        Settings that replace those of the recipe: a mapping for a group (``clustering={"n_seeds": 5}``), or
        dotted names (``**{"clustering.n_seeds": 5}``).

    Returns
    -------
    Project
        The project.

    Raises
    ------
    ConfigError
        If the recipe, a stage or a setting does not exist, or a value is not allowed.
    LeaseHeldError
        If another job works on the root.
    """
    from distspec.pipeline.recipes import make_config
    from distspec.pipeline.runner import STAGES, run_stages

    if unknown := sorted(set(stages) - set(STAGES)):
        raise ConfigError(f"there is no stage {', '.join(unknown)}: choose of {', '.join(STAGES)}")
    config = make_config(recipe, str(root), settings)
    run_stages(config, list(stages) or list(STAGES))
    return Project(config.root, config.storage)
