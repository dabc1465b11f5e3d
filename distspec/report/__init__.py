"""The report of a run: an HTML page with figures.

The package collects the data of a published run, scores it against known truth where there is any, draws
the figures and renders the page. It may import ``catalog`` and everything below it; matplotlib is imported
in ``figures`` alone. Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.report.collect import collect_report_data
    from distspec.report.data import ExampleSpectra, ReportData
    from distspec.report.page import write_report
    from distspec.report.truth import TruthScores, score_against_truth

__all__ = [
    "ExampleSpectra",
    "ReportData",
    "TruthScores",
    "collect_report_data",
    "score_against_truth",
    "write_report",
]

_MODULES = {
    "ExampleSpectra": "data",
    "ReportData": "data",
    "TruthScores": "truth",
    "collect_report_data": "collect",
    "score_against_truth": "truth",
    "write_report": "page",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
