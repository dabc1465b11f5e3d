"""Verbs that find spectra like one, and tell new ones by a run."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import tyro

from distspec.cli.base import RootCommand
from distspec.core.errors import QuarantineReason
from distspec.core.text import escape_unprintable, format_table
from distspec.inference.predict import predict
from distspec.inference.similarity import find_similar
from distspec.io.files import write_table


@dataclass(frozen=True)
class SimilarCommand(RootCommand):
    """List the spectra that are nearest to one in latent space, in posterior widths."""

    object_id: tyro.conf.Positional[str] = tyro.MISSING
    """Of the spectrum, as in the catalogue."""
    n: int = 10
    """How many."""

    def run(self) -> None:
        """Print them."""
        found = find_similar(self.root, self.object_id, self.n)
        values = {
            "object_id": found["object_id"],
            "distance": _format_floats(found["distance"], 3),
            "z": _format_floats(found["z"], 4),
            "class": found["cluster_label"],
            "kind": found["galaxy_type"],
        }
        print(format_table(pa.table(values)))


@dataclass(frozen=True)
class PredictCommand(RootCommand):
    """Tell new spectra by the current run, without training: class, kind, how odd, what is near."""

    files: tyro.conf.Positional[tuple[str, ...]] = tyro.MISSING
    """Files or URLs, in the format of the root's archive."""
    z: tuple[float, ...] = ()
    """Redshifts, one for all or one a file, where the files do not say."""
    redshifts: str = ""
    """Or a table of them, with columns file and z: CSV, ECSV or Parquet."""
    n: int = 5
    """Neighbours that are named."""
    to: str = ""
    """Write all that is said of them to this Parquet file."""

    def run(self) -> None:
        """Print what is said of them, and which could not be used; status 1 if none could."""
        placed = predict(self.root, self.files, z=self.z, redshift_table=self.redshifts, n_neighbors=self.n)
        if self.to:
            write_table(self.to, placed.table)
        if len(placed.table):
            print(_format_predictions(placed.table))
        for each in placed.rejected:
            print("\n" + escape_unprintable(f"{each.uri}: {each.reason}: {each.detail}"))
        if any(each.reason is QuarantineReason.NO_REDSHIFT for each in placed.rejected):
            print("\ngive redshifts with --z, or a table of them with --redshifts")
        if not len(placed.table):
            raise SystemExit("error: none of these could be used")


def _format_floats(values: pa.ChunkedArray, digits: int) -> list[str]:
    return [f"{value:.{digits}f}" for value in values.to_pylist()]


def _format_predictions(table: pa.Table) -> str:
    """Return a line a spectrum, then in words what is said of each."""
    values = {
        "object_id": table["object_id"],
        "z": _format_floats(table["z"], 4),
        "S/N": _format_floats(table["snr"], 1),
        "class": table["cluster_label"],
        "probability": _format_floats(table["cluster_prob"], 2),
        "stability": _format_floats(table["cluster_stability"], 2),
        "kind": table["galaxy_type"],
        "confidence": _format_floats(table["galaxy_type_confidence"], 2),
        "score": _format_floats(table["anomaly_score"], 2),
        "rank": table["anomaly_rank"],
    }
    lines = [format_table(pa.table(values))]
    for row in table.to_pylist():
        near = ", ".join(f"{a} {b:.2f}" for a, b in zip(row["neighbors"], row["distances"], strict=True))
        lines += [
            f"\n{row['object_id']}",
            f"  kind: {row['galaxy_type_reason']}",
            f"  odd:  {row['reason']}",
            f"  near: {near}",
        ]
    return "\n".join(lines)
