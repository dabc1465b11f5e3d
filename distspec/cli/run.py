"""The verb ``run``: the pipeline of a recipe, or one of its stages."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from typing import get_args

from distspec.cli.base import PrintFormat, print_table, terminal_width
from distspec.core.text import escape_unprintable, format_table
from distspec.io.paths import join_url, run_url
from distspec.pipeline.config import STAGE_NAMES, Config
from distspec.pipeline.exit import exit_on_signal, report_errors
from distspec.pipeline.recipes import parse

DRY_RUN = "--dry-run"
"""Flag with which a run is described and nothing is written."""
USAGE = f"""usage: distspec run [STAGE] RECIPE --root URL [{DRY_RUN}] [settings]

Run the pipeline of a recipe, or one of its stages: {", ".join(STAGE_NAMES)}.
Each stage does only the missing work. `distspec run RECIPE --help` lists the settings.
Common settings: --root (-r), --archive.url, --archive.catalog, --model, --training.max-epochs,
--clustering.n-null-draws, --ray.num-cpus, --ray.address.
With {DRY_RUN}, nothing is written: it shows what the archive's files were understood as, what is left out
and why, all that is missing, and the settings that are proposed from the data; with --format csv or json
as well (-f), a row for each spectrum.
"""
CLASSES_QUERY = (
    "SELECT coalesce(class_id, 'noise') AS class, class_name AS name, n_spectra, n_sources, "
    "round(z_p50, 2) AS z, round(recon_mse_p50, 4) AS error FROM classes ORDER BY cluster_label"
)
ANOMALIES_QUERY = (
    "SELECT anomaly_rank AS rank, object_id, round(z, 2) AS z, "
    "round(anomaly_score::DOUBLE, 2) AS score, reason FROM anomalies ORDER BY anomaly_rank LIMIT 10"
)


def main(args: Sequence[str] | None = None) -> None:
    """Run ``[STAGE] RECIPE --root URL [settings]``.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments; None: those of the command line.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        words = words or ["--help"]
    stage = words.pop(0) if words[0] in STAGE_NAMES else ""
    is_dry, words = DRY_RUN in words, [word for word in words if word != DRY_RUN]
    print_format, words = _take_format(words) if is_dry else ("table", words)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("distspec").setLevel(logging.INFO)
    with report_errors(), exit_on_signal():
        config = parse(words, prog=f"distspec run {stage}".rstrip())
        if is_dry:
            from distspec.pipeline.dry_run import dry_run, tabulate_listing

            if print_format != "table":
                print_table(tabulate_listing(config), print_format)
                return
            for line in dry_run(config):
                print(escape_unprintable(line))
            print("Nothing was written. A row for each spectrum: --format csv or json")
            return
        # Torch and matplotlib take seconds to import, for which help and refusals should not wait.
        from distspec.pipeline.runner import run_stages

        did_work = run_stages(config, [stage] if stage else list(STAGE_NAMES))
        if not stage:
            if not did_work:
                print("Nothing to do: the catalog is up to date with the archive.")
            print(format_summary(config))


def _take_format(words: Sequence[str]) -> tuple[PrintFormat, list[str]]:
    """Return the format in which a dry run is printed, and the arguments without it."""
    parser = argparse.ArgumentParser(f"distspec run {DRY_RUN}", add_help=False, allow_abbrev=False)
    parser.add_argument("--format", "-f", choices=get_args(PrintFormat), default="table")
    known, others = parser.parse_known_args(words)
    return known.format, others


def format_summary(config: Config) -> str:
    """Return the classes and whether they beat the null, the strongest anomalies, paths and next commands.

    Parameters
    ----------
    config : Config
        Settings of the run.
    """
    from distspec.catalog.editions import find_record
    from distspec.catalog.queries import format_example_query, query
    from distspec.operations.status import read_verdict
    from distspec.pipeline.runner import find_run

    root, width = config.root, terminal_width()
    classes, anomalies = query(root, CLASSES_QUERY), query(root, ANOMALIES_QUERY)
    _, run_id = find_run(config)
    return "\n".join(
        [
            f"\n{read_verdict(root, find_record(root))}",
            format_table(classes, width),
            "\nThe ten strongest anomalies",
            format_table(anomalies, width),
            f"\nCatalog  {join_url(root, 'catalog', run_id)}",
            f"Report   {join_url(run_url(root, run_id), 'report', 'index.html')}",
            f"DuckDB   {format_example_query(root)}",
            f'Query    distspec query "SELECT * FROM classes" --root {shlex.quote(root)}',
            f"Explore  distspec explore --root {shlex.quote(root)}",
        ]
    )
