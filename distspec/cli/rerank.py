"""The verb that re-ranks anomalies by what people marked."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from distspec.cli.base import RootCommand
from distspec.core.arrow import pc
from distspec.core.text import format_table
from distspec.inference.rerank import rerank_anomalies
from distspec.io.files import write_table


@dataclass(frozen=True)
class RerankCommand(RootCommand):
    """List the oddest spectra that nobody has marked yet, by what was marked so far."""

    n: int = 20
    """How many."""
    seed: int = 0
    """Of the forest that learns from the marks."""
    to: str = ""
    """Write all ranks to this Parquet file."""

    def run(self) -> None:
        """Print them."""
        table = rerank_anomalies(self.root, self.seed)
        if self.to:
            write_table(self.to, table)
        rest = table.filter(pc.field("mark") == "")
        values = {
            "rank": rest["feedback_rank"],
            "object_id": rest["object_id"],
            "z": [f"{z:.4f}" for z in rest["z"].to_pylist()],
            "score": [f"{score:.2f}" for score in rest["feedback_score"].to_pylist()],
            "run's rank": rest["anomaly_rank"],
        }
        print(format_table(pa.table(values).slice(0, self.n)))
        n_marked = len(table) - len(rest)
        print(
            f"\n{n_marked:,} of {len(table):,} spectra are marked" + ("" if n_marked else ": the run's order")
        )
