"""Parsing of SPEC1D tables from bytes in memory on one core, compared with astropy, the same three columns.

The 78 real files if they are available, else simulated ones. distspec's parser gets the beginning of a file,
as ingest reads it, or the whole file, of which it then checks every header; astropy needs the whole file. All
results are compared before anything is timed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from distspec.archives.msaexp import find_valid_pixels, parse_spec1d
from distspec.core.spectrum import Floats
from distspec.io.remote.files import decompress_gzip
from tests.benchmarks.archive import simulated_files
from tests.benchmarks.timing import Row, rate_row, time_pair
from tests.conftest import DATA

N_FILES = 64
HEAD_BYTES = 28 * 2880
"""Length of a beginning that contains the SPEC1D table of every real file [bytes]."""
GZIP_MAGIC = b"\x1f\x8b"


def run() -> list[Row]:
    title, contents = _read_files()
    heads = [(content[:HEAD_BYTES], len(content)) for content in contents]
    files = [(content, len(content)) for content in contents]
    for content, head, file in zip(contents, heads, files, strict=True):
        for spectrum in (parse_spec1d(*head), parse_spec1d(*file)):
            columns = spectrum.wave, spectrum.flux, spectrum.err
            assert all(map(_are_equal, columns, parse_with_astropy(content)))
    spectra = [parse_spec1d(*head) for head in heads]

    def parse_heads() -> None:
        for head in heads:
            parse_spec1d(*head)

    def parse_files() -> None:
        for file in files:
            parse_spec1d(*file)

    def parse_all_with_astropy() -> None:
        for content in contents:
            parse_with_astropy(content)

    def find_valid() -> None:
        for spectrum in spectra:
            find_valid_pixels(spectrum.flux, spectrum.err)

    n = len(contents)
    head_seconds, beside_heads = time_pair(parse_heads, parse_all_with_astropy)
    file_seconds, beside_files = time_pair(parse_files, parse_all_with_astropy)
    valid_seconds, _ = time_pair(find_valid, lambda: None)
    reference = rate_row(f"astropy, {title}", n, "files", beside_heads)
    return [
        rate_row(f"beginnings, {title}", n, "files", head_seconds).relative_to(reference),
        rate_row(f"whole files, {title}", n, "files", file_seconds).relative_to(
            rate_row(f"astropy, {title}", n, "files", beside_files)
        ),
        reference,
        rate_row("valid pixels", n, "spectra", valid_seconds),
    ]


def parse_with_astropy(content: bytes) -> tuple[Floats, ...]:
    """Return wave, flux and err as astropy reads them, in the machine's byte order."""
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        table: Any = hdus["SPEC1D"]
        return tuple(np.array(table.data[name], dtype=np.float64) for name in ("wave", "flux", "err"))


def _are_equal(a: Floats, b: Floats) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _read_files() -> tuple[str, Sequence[bytes]]:
    """Return a title and the uncompressed contents of files."""
    real = sorted((DATA / "dja").glob("*.fits"))
    if real:
        return f"{len(real)} real files", [_decompress(path.read_bytes()) for path in real]
    with simulated_files(N_FILES, write_2d_spectra=True) as archive:
        paths = sorted(Path(archive.url).rglob("*.spec.fits"))
        return f"{len(paths)} simulated files", [path.read_bytes() for path in paths]


def _decompress(content: bytes) -> bytes:
    return decompress_gzip(content, 1 << 30) if content.startswith(GZIP_MAGIC) else content
