"""Verbs that compare spectra with a run: similar, predict."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pyarrow as pa
import tyro

from distspec.catalog.output_formats import find_output_format, save_table
from distspec.cli.base import TableCommand, print_table, terminal_width
from distspec.core.errors import ConfigError, QuarantineReason
from distspec.core.text import escape_unprintable, format_table, use_minus_signs
from distspec.io.storage import default_root
from distspec.redshifts.config import RedshiftConfig


@dataclass(frozen=True)
class SimilarCommand(TableCommand):
    """List the spectra that are most similar to one.

    They are ranked by Bayes factor: how many times more probable the spectrum is if it has the latents of the
    other than if nothing is known of them.
    """

    object_id: tyro.conf.Positional[str] = tyro.MISSING
    """The archive's key of the spectrum, as in the catalog."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10
    """Number of spectra to list."""

    def run(self) -> None:
        """Print the most similar spectra."""
        neighbors = self.project.similar(self.object_id, self.n).table
        if self.format != "table":
            print_table(neighbors, self.format)
            return
        columns = {
            "object_id": neighbors["object_id"],
            "ln Bayes factor": _format_floats(neighbors["ln_bayes_factor"], 1),
            "z": _format_floats(neighbors["z"], 4),
            "class": neighbors["cluster_label"],
            "galaxy type": neighbors["galaxy_type"],
        }
        print_table(pa.table(columns))


@dataclass(frozen=True)
class PredictCommand(TableCommand):
    """Predict the classes of new spectra with the current run.

    Prints class, galaxy type, anomaly score and most similar spectra of each; nothing is trained. With
    --model, no root is needed, and galaxy type and measurements are printed, but no classes.

    Redshifts that neither --z, --redshifts nor the files give are measured: spectra are compared with those
    that the run's model, or --model, describes at all redshifts. About nine in ten are right: see
    docs/guides/redshifts.md for how good they are. Intervals and second solutions are columns of --to.
    """

    root: Annotated[str, tyro.conf.arg(aliases=["-r"])] = field(default_factory=default_root)
    """Root of the project, a folder or a bucket URL; default: $DISTSPEC_ROOT."""

    files: tyro.conf.Positional[tuple[str, ...]] = tyro.MISSING
    """Files or URLs, in the format of the root's archive, or of the model's."""
    model: str = ""
    """Model that describes the spectra instead of a run: prism-simulated (in the package), or a folder."""
    z: tuple[float, ...] = ()
    """Redshifts, one for all files or one for each; default: those of the files, others are measured."""
    redshifts: str = ""
    """Table of redshifts with columns file and z, instead of --z: CSV, ECSV or Parquet."""
    z_min: float = RedshiftConfig.z_min
    """Lowest redshift that is measured."""
    z_max: float = RedshiftConfig.z_max
    """Highest redshift that is measured."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 5
    """Number of most similar spectra to list."""
    to: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """File for the complete table, in the formats of `distspec query`; empty: do not write it."""

    def __post_init__(self) -> None:
        if not (self.root or self.model):
            raise ConfigError("name a root with --root, or a model with --model")

    def run(self) -> None:
        """Print the predictions and the rejected spectra; end with status 1 if all are rejected."""
        if self.to:
            find_output_format(self.to)
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("distspec.inference").setLevel(logging.INFO)
        limits = RedshiftConfig(z_min=self.z_min, z_max=self.z_max)
        prediction = self.project.predict(
            self.files, self.z, self.redshifts, self.n, self.model, redshift_config=limits
        )
        if self.to and prediction.table.num_columns:
            save_table(prediction.table, self.to)
        if self.format != "table":
            print_table(prediction.table, self.format)
        elif len(prediction.table):
            format_text = format_descriptions if self.model else format_predictions
            print(format_text(prediction.table, terminal_width()))
        messages = sys.stdout if self.format == "table" else sys.stderr
        for rejected in prediction.rejected:
            text = f"{rejected.uri}: {rejected.reason}: {rejected.detail}"
            print("\n" + escape_unprintable(text), file=messages)
        if any(rejected.reason is QuarantineReason.NO_REDSHIFT for rejected in prediction.rejected):
            print("\ngive redshifts with --z, or a table of them with --redshifts", file=messages)
        if not len(prediction.table):
            text = "none of the spectra can be used"
            if any(rejected.reason is QuarantineReason.BAD_TABLE for rejected in prediction.rejected):
                text += ": files must be in the format of the archive of the " + (
                    f"model {self.model}" if self.model else "root"
                )
            print(f"error: {text}", file=sys.stderr)
            raise SystemExit(1)


def format_predictions(table: pa.Table, width: int | None = None) -> str:
    """Return one line for each spectrum, then the reasons and the neighbors of each.

    Parameters
    ----------
    table : pyarrow.Table
        Predictions, one row for each spectrum.
    width : int, optional
        Longest line of the table.
    """
    columns = {
        "object_id": table["object_id"],
        **_format_redshifts(table),
        "S/N": _format_floats(table["snr"], 1),
        "class": table["cluster_label"],
        "probability": _format_floats(table["cluster_prob"], 2),
        "stability": _format_floats(table["cluster_stability"], 2),
        **_format_types(table),
        "score": _format_floats(table["anomaly_score"], 2),
        "rank": table["anomaly_rank"],
    }
    blocks = [format_table(pa.table(columns), width), *(_format_reasons(row) for row in table.to_pylist())]
    return "\n\n".join(blocks)


def format_descriptions(table: pa.Table, width: int | None = None) -> str:
    """Return one line for each spectrum that a model describes, then the reasons of the galaxy types.

    Parameters
    ----------
    table : pyarrow.Table
        Result of `distspec.inference.predict.ModelPredictor`.
    width : int, optional
        Longest line of the table.
    """
    columns = {
        "object_id": table["object_id"],
        **_format_redshifts(table),
        "S/N": _format_floats(table["snr"], 1),
        **_format_types(table),
        "χ² per pixel": _format_floats(table["recon_chi2_red"], 2),
    }
    reasons = [
        f"{row['object_id']}\n  galaxy type: {row['galaxy_type_reason']}"
        for row in table.to_pylist()
        if _is_known(row["galaxy_type_confidence"])
    ]
    note = "Classes and anomaly ranks belong to a run: `distspec run RECIPE --model MODEL` makes one."
    return "\n\n".join([format_table(pa.table(columns), width), *reasons, note])


def _format_reasons(row: Mapping[str, Any]) -> str:
    neighbors = ", ".join(
        f"{name} {use_minus_signs(f'{value:.1f}')}"
        for name, value in zip(row["neighbors"], row["ln_bayes_factors"], strict=True)
    )
    has_type = _is_known(row["galaxy_type_confidence"])
    type_line = f"  galaxy type: {row['galaxy_type_reason']}\n" if has_type else ""
    return f"{row['object_id']}\n{type_line}  anomaly:     {row['reason']}\n  neighbors:   {neighbors}"


def _format_redshifts(table: pa.Table) -> dict[str, Any]:
    """Return the redshifts, and if some were measured, their intervals and second solutions."""
    columns: dict[str, Any] = {"z": _format_floats(table["z"], 4)}
    if "model" not in table["z_source"].to_pylist():
        return columns
    rows = table.select(["z_model_p16", "z_model_p84", "z_model_second"]).to_pylist()
    interval = [
        "given" if row["z_model_p16"] is None else f"{row['z_model_p16']:.4f}–{row['z_model_p84']:.4f}"
        for row in rows
    ]
    second = ["" if row["z_model_second"] is None else f"{row['z_model_second']:.4f}" for row in rows]
    return {**columns, "68 % of p(z)": interval, "second z": second}


def _format_types(table: pa.Table) -> dict[str, Any]:
    """Return the columns of the galaxy types; none if the archive has no rules, and so no confidences."""
    confidence = table["galaxy_type_confidence"]
    if not any(map(_is_known, confidence.to_pylist())):
        return {}
    return {"galaxy type": table["galaxy_type"], "confidence": _format_floats(confidence, 2)}


def _is_known(confidence: float | None) -> bool:
    return confidence is not None and math.isfinite(confidence)


def _format_floats(values: pa.ChunkedArray, n_digits: int) -> list[str]:
    return [f"{value:.{n_digits}f}" for value in values.to_pylist()]
