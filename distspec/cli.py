"""The command ``distspec``: everything that is not a stage."""

from __future__ import annotations

import signal
from typing import Annotated

import tyro

from distspec import catalog, schema
from distspec.pipeline import format_table


def query(sql: tyro.conf.Positional[str], root: str) -> None:
    """Answer SQL over the current catalogue.

    Its tables: objects, classes, class_medians, anomalies, sweep, quarantine.

    Parameters
    ----------
    sql : str
        DuckDB's SQL.
    root : str
        Root of the project.
    """
    print(format_table(catalog.query(root, sql)))


def columns(root: str) -> None:
    """List the tables and columns of the current catalogue with units and meaning.

    Parameters
    ----------
    root : str
        Root of the project.
    """
    for name, dataset in catalog.open_tables(root).items():
        print(f"\n{name}: {dataset.count_rows():,} rows")
        print(format_table(schema.dictionary(dataset.schema)))


def main() -> None:
    """Run ``distspec VERB``."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `distspec … | head` ends quietly
    verbs = (
        Annotated[None, tyro.conf.subcommand("query", constructor=query)]
        | Annotated[None, tyro.conf.subcommand("columns", constructor=columns)]
    )
    try:
        tyro.cli(verbs, prog="distspec", description="Query what distspec has published under a root.")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error
