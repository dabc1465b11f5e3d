"""Parsing SPEC1D tables from bytes in memory, one core: ours against astropy's, the same three columns.

The 78 real files where they are, else made-up ones. Ours gets a file's first bytes, as ingest reads them, or
the whole file, every header of which it then checks; astropy gets the whole file, as it must. That all give
equal columns is made sure of before anything is timed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from distspec.archives.msaexp import find_valid_pixels, parse_spec1d
from distspec.core.spectrum import Floats
from distspec.io.remote.files import decompress_gzip
from tests.benchmarks.archive import written
from tests.benchmarks.timing import Row, paired, rate
from tests.conftest import DATA

N_FILES = 64
HEAD = 28 * 2880
"""Holds every real file's SPEC1D table [bytes]."""
GZIP = b"\x1f\x8b"


def run() -> list[Row]:
    what, contents = _contents()
    heads = [(content[:HEAD], len(content)) for content in contents]
    wholes = [(content, len(content)) for content in contents]
    for content, head, whole in zip(contents, heads, wholes, strict=True):
        for ours in (parse_spec1d(*head), parse_spec1d(*whole)):
            assert all(map(_equal, ours, parse_with_astropy(content)))
    spectra = [parse_spec1d(*head) for head in heads]

    def beginnings() -> None:
        for head in heads:
            parse_spec1d(*head)

    def checked() -> None:
        for whole in wholes:
            parse_spec1d(*whole)

    def astropy() -> None:
        for content in contents:
            parse_with_astropy(content)

    def valid() -> None:
        for _, flux, err in spectra:
            find_valid_pixels(flux, err)

    n = len(contents)
    ours, theirs = paired(beginnings, astropy)
    whole_ours, whole_theirs = paired(checked, astropy)
    valid_ours, _ = paired(valid, lambda: None)
    reference = rate(f"astropy, {what}", n, "files", theirs)
    return [
        rate(f"beginnings, {what}", n, "files", ours).run_null_test(reference),
        rate(f"whole files, {what}", n, "files", whole_ours).run_null_test(
            rate(f"astropy, {what}", n, "files", whole_theirs)
        ),
        reference,
        rate("valid pixels", n, "spectra", valid_ours),
    ]


def parse_with_astropy(content: bytes) -> tuple[Floats, ...]:
    """Return wave, flux and err as astropy reads them, as native numbers."""
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        data = hdus["SPEC1D"].data
        return tuple(np.array(data[name], dtype=np.float64) for name in ("wave", "flux", "err"))


def _equal(ours: Floats, theirs: Floats) -> bool:
    return np.array_equal(ours, theirs, equal_nan=True)


def _contents() -> tuple[str, Sequence[bytes]]:
    real = sorted((DATA / "dja").glob("*.fits"))
    if real:
        return f"{len(real)} real files", [_unpacked(path.read_bytes()) for path in real]
    with written(N_FILES, images=True) as archive:
        made = sorted(Path(archive.url).rglob("*.spec.fits"))
        return f"{len(made)} made-up files", [path.read_bytes() for path in made]


def _unpacked(content: bytes) -> bytes:
    return decompress_gzip(content, 1 << 30) if content.startswith(GZIP) else content
