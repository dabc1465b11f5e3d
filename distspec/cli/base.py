"""Arguments that the verbs share."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import pyarrow as pa
import tyro

from distspec.core.text import format_table
from distspec.io.storage import StorageConfig, default_root

if TYPE_CHECKING:
    from distspec.project.project import Project

PrintFormat = Literal["table", "csv", "json"]


@dataclass(frozen=True)
class RootCommand:
    """Base of the verbs that work on a root."""

    root: Annotated[str, tyro.conf.arg(aliases=["-r"])] = field(
        default_factory=lambda: default_root() or tyro.MISSING
    )
    """Root of the project, a folder or a bucket URL; default: $DISTSPEC_ROOT."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Settings of S3-compatible object stores; credentials come from the environment."""

    @property
    def project(self) -> Project:
        """The project below the root."""
        from distspec.project.project import Project

        return Project(self.root, self.storage)


@dataclass(frozen=True)
class TableCommand(RootCommand):
    """Base of the verbs that print a table."""

    format: Annotated[PrintFormat, tyro.conf.arg(aliases=["-f"])] = "table"
    """table: as wide as the terminal; csv, json: all columns with all digits, for scripts."""


def print_table(table: pa.Table, output_format: PrintFormat = "table", if_empty: str = "") -> None:
    """Print a table.

    Parameters
    ----------
    table : pyarrow.Table
        The table.
    output_format : {"table", "csv", "json"}
        For reading, as wide as the terminal; or with all digits, for scripts.
    if_empty : str
        What is printed for reading if the table has no rows; empty: its header.
    """
    if output_format != "table" and not table.num_columns:
        print("[]" if output_format == "json" else "")
    elif output_format != "table":
        from distspec.catalog.output_formats import write_table

        sys.stdout.flush()
        write_table(table, output_format, sys.stdout.buffer)
    elif len(table) or not if_empty:
        print(format_table(table, terminal_width()))
    else:
        print(if_empty)


def terminal_width() -> int | None:
    """Return the width of the terminal [characters]; None if the output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
