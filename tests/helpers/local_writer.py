"""A `distspec.ingest.commit.ChunkWriter` that does everything in this process, for ingest without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import icechunk

from distspec.core.spectrum import Floats32
from distspec.ingest.commit import ChunkPieces, concatenate_slices
from distspec.store.transactions import Transaction, write_chunks_to_fork


class LocalWriter:
    """Writes chunks one after the other, from blocks in memory."""

    def fetch_block(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return the block."""
        return block

    def write_chunks(
        self, transaction: Transaction, chunks: Sequence[ChunkPieces], n_total_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write each chunk into a fork of its own."""
        return [
            write_chunks_to_fork(
                transaction.session.fork(), chunk.start, n_total_rows, *concatenate_slices(chunk.slices)
            )
            for chunk in chunks
        ]
