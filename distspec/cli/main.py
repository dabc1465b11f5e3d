"""Entry point of the command ``distspec``: a table of verbs, each imported only when it is used."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from textwrap import fill
from typing import Any

EXIT_USAGE = 2
"""Exit status after wrong arguments."""


@dataclass(frozen=True)
class Verb:
    """One verb of the command.

    Attributes
    ----------
    group : str
        Group under which ``distspec --help`` lists it.
    target : str
        ``module:class`` below `distspec.cli`; the class is a dataclass with a method ``run``.
    summary : str
        One line of help, the summary of the class.
    """

    group: str
    target: str
    summary: str

    def load(self) -> Any:
        """Import the class of the verb."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(f"distspec.cli.{module}"), name)


GROUPS = {
    "run": "Run the pipeline",
    "query": "Query published results",
    "inspect": "Inspect data and results",
    "label": "Label spectra",
    "operate": "Operate a schedule",
}
"""Groups of verbs with their titles."""
VERBS = {
    "plan": Verb("run", "plan:PlanCommand", "Estimate tasks, memory, hours and storage of a run."),
    "retry": Verb(
        "run", "operations:RetryCommand", "Read spectra again whose failure may have been transient."
    ),
    "reproduce": Verb(
        "run", "provenance:ReproduceCommand", "Make a run or a model again, and compare the results."
    ),
    "query": Verb("query", "catalog:QueryCommand", "Answer SQL over the tables of a published catalog."),
    "columns": Verb(
        "query", "catalog:ColumnsCommand", "List tables and columns with units and descriptions."
    ),
    "runs": Verb("query", "catalog:RunsCommand", "List the published editions of the catalog, oldest first."),
    "export": Verb("query", "catalog:ExportCommand", "Copy the store as plain Zarr, or a catalog as HATS."),
    "similar": Verb("query", "inference:SimilarCommand", "List the spectra that are most similar to one."),
    "predict": Verb(
        "query", "inference:PredictCommand", "Predict the classes of new spectra with the current run."
    ),
    "explore": Verb(
        "inspect", "explore:ExploreCommand", "Browse map, spectra and labels of the current catalog."
    ),
    "compare-encoders": Verb(
        "inspect", "encoders:CompareEncodersCommand", "Compare the model, weighted PCA and other embeddings."
    ),
    "quarantine": Verb(
        "inspect", "operations:QuarantineCommand", "List the spectra that could not be used, and why."
    ),
    "provenance": Verb("inspect", "provenance:ProvenanceCommand", "Show the provenance of a spectrum's row."),
    "describe": Verb(
        "inspect", "describe:DescribeCommand", "Show what files of spectra are understood as, or why not."
    ),
    "verify": Verb(
        "inspect", "provenance:VerifyCommand", "Check the store and everything that is published."
    ),
    "snapshots": Verb(
        "inspect", "operations:SnapshotsCommand", "List the snapshots of the store, or tag one."
    ),
    "label": Verb("label", "labels:LabelCommand", "Add the labels of a CSV or Parquet file."),
    "labels": Verb("label", "labels:LabelsCommand", "Count labels, and list spectra with tied labels."),
    "classify": Verb(
        "label", "labels:ClassifyCommand", "Learn the labels, and publish predictions for all spectra."
    ),
    "rerank": Verb("label", "labels:RerankCommand", "Rank anomalies anew with the marks that people gave."),
    "status": Verb(
        "operate", "operations:StatusCommand", "Show running job, promoted model, store and catalog."
    ),
    "history": Verb("operate", "operations:HistoryCommand", "List the jobs of a root and their decisions."),
    "unlock": Verb("operate", "operations:UnlockCommand", "Show which job holds the root, or release it."),
    "rollback": Verb(
        "operate", "operations:RollbackCommand", "Promote an earlier model with its last catalog."
    ),
    "gc": Verb("operate", "operations:GarbageCollectCommand", "Delete old snapshots that have no tag."),
}
"""Verbs by name, in the order of the help."""
RUN_USAGE = "distspec run [STAGE] RECIPE --root URL [--dry-run] [settings]"
RUN_SUMMARY = "Run the pipeline of a recipe, or one of its stages."
DESCRIPTION = "Classes and anomalies in growing archives of galaxy spectra."


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments; None: those of the command line.
    """
    try:
        try:
            _dispatch((sys.argv[1:] if args is None else list(args)) or ["--help"])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_output_closed():
            raise
        # A pager or `head` has ended. Python writes the rest of its buffer when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def _is_output_closed() -> bool:
    """Return whether standard output is a pipe that nobody reads; otherwise a connection was broken."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError):  # standard output is not a file
        return False


def _dispatch(args: Sequence[str]) -> None:
    verb, *rest = args
    if verb in ("-h", "--help"):
        print(format_help())
    elif verb == "--version":
        from distspec import __version__

        print(f"distspec {__version__}")
    elif verb == "run":
        from distspec.cli.run import main as run_pipeline

        run_pipeline(rest)
    elif verb in VERBS:
        _run_verb(verb, rest)
    else:
        _refuse_verb(verb)


def _run_verb(name: str, args: Sequence[str]) -> None:
    import tyro

    from distspec.pipeline.exit import parse_arguments, report_errors

    with report_errors():
        verb = VERBS[name].load()
        command = parse_arguments(lambda words: tyro.cli(verb, prog=f"distspec {name}", args=words), args)
        command.run()


def _refuse_verb(name: str) -> None:
    near = get_close_matches(name, ["run", *VERBS], 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`distspec --help` lists the verbs"
    print(f"error: there is no verb {name!r}: {hint}", file=sys.stderr)
    raise SystemExit(EXIT_USAGE)


def format_help() -> str:
    """Return the help of the command, with its verbs by group."""
    width = max(map(len, VERBS)) + 2
    lines = ["usage: distspec VERB [arguments]", f"       {RUN_USAGE}", "", DESCRIPTION]
    for group, title in GROUPS.items():
        lines += ["", f"{title}:"]
        verbs = {name: verb.summary for name, verb in VERBS.items() if verb.group == group}
        if group == "run":
            verbs = {"run": RUN_SUMMARY, **verbs}
        lines += [f"  {name.ljust(width)}{summary}" for name, summary in verbs.items()]
    lines += [
        "",
        fill(
            "`distspec VERB --help` describes the arguments of a verb; `distspec --version` prints the "
            "version. Most verbs need --root (-r); $DISTSPEC_ROOT is its default.",
            100,
        ),
    ]
    return "\n".join(lines)
