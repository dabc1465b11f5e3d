"""Reading files: `DJA.read`, one core, local disk, files in the page cache, against bare bytes.

Files with and without the two-dimensional spectra, which are read and not parsed.
"""

from __future__ import annotations

from pathlib import Path

from distspec.ingestion import entries
from tests.benchmarks.archive import written
from tests.benchmarks.timing import Row, paired, rate

N_FILES = 256


def run() -> list[Row]:
    return [*_measure("table only", images=False), *_measure("with images", images=True)]


def _measure(what: str, images: bool) -> list[Row]:
    with written(N_FILES, images) as archive:
        todo = entries(archive.list())
        paths = [Path(entry.uri.removeprefix("file://")) for entry in todo]
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e3

        def parse() -> None:
            for entry in todo:
                archive.read(entry)

        def bare() -> None:
            for path in paths:
                path.read_bytes()

        ours, theirs = paired(parse, bare)
    bytes_only = rate(f"bytes of the same files ({what})", len(todo), "files", theirs)
    parsed = rate(f"DJA.read, {what}, {kilobytes:.0f} kB", len(todo), "files", ours)
    return [parsed.against(bytes_only), bytes_only]
