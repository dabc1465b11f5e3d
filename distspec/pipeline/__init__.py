"""The pipeline: configuration, recipes, and running the stages in order.

Holds `config` and `settings`, `recipes`, `runner`, `reproduce` (making a run again), `planning` with machines
and measured rates, and `exit` (how commands end). May import the stages and the layers below them, but
neither the command line nor the project.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.pipeline.config import Config
    from distspec.pipeline.planning import plan_resources
    from distspec.pipeline.recipes import list_recipes, make_config
    from distspec.pipeline.runner import run_stages

__all__ = ["Config", "list_recipes", "make_config", "plan_resources", "run_stages"]

_MODULES = {
    "Config": "config",
    "list_recipes": "recipes",
    "make_config": "recipes",
    "plan_resources": "planning",
    "run_stages": "runner",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the runner imports Ray."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
