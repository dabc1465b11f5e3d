"""Operation of a root over years: retraining, promotion, rollback, provenance and integrity.

Holds `policy` (when to train, and the comparison of a new model with the promoted one), `evaluation` (of one
model on held-out spectra, for that comparison), `rollback`, `trace` (provenance of a spectrum), `integrity`
(checks of records and files) and `status`. May import the catalog and the layers below it, but neither Ray
nor the stages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.operations.evaluation import evaluate
    from distspec.operations.integrity import find_integrity_problems
    from distspec.operations.policy import RetrainConfig, decide_promotion, decide_retraining, measure_drift
    from distspec.operations.rollback import roll_back, unpin_model
    from distspec.operations.status import ProjectStatus, read_history, read_status
    from distspec.operations.trace import Provenance, trace_spectrum

__all__ = [
    "ProjectStatus",
    "Provenance",
    "RetrainConfig",
    "decide_promotion",
    "decide_retraining",
    "evaluate",
    "find_integrity_problems",
    "measure_drift",
    "read_history",
    "read_status",
    "roll_back",
    "trace_spectrum",
    "unpin_model",
]

_MODULES = {
    "ProjectStatus": "status",
    "Provenance": "trace",
    "RetrainConfig": "policy",
    "decide_promotion": "policy",
    "decide_retraining": "policy",
    "evaluate": "evaluation",
    "find_integrity_problems": "integrity",
    "measure_drift": "policy",
    "read_history": "status",
    "read_status": "status",
    "roll_back": "rollback",
    "trace_spectrum": "trace",
    "unpin_model": "rollback",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: some of the modules import torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
