"""Real files of every archive, damaged at random: refused, or read as astropy reads the same bytes."""

import gzip
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError
from distspec.core.spectrum import Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import AccessConfig
from tests.conftest import DATA
from tests.faults import oracle
from tests.faults.damage import BLOCK, opened
from tests.faults.samples import sample

ALL = ("dja", "sdss", "jades", "desi", "spex")
KINDS = tuple(kind for kind in ALL if kind == "dja" or (DATA / kind).exists())
ACCESS = AccessConfig(max_unpacked_mb=16.0)
STRUCTURE = {
    "dja": ["SPEC1D"],
    "sdss": [0, "COADD", "SPALL"],
    "jades": ["DATA", "ERR", "WAVELENGTH"],
    "desi": ["FIBERMAP", "B_WAVELENGTH", "R_FLUX", "Z_IVAR"],
    "spex": [0],
}
"""Where most damage is done: the HDUs that are read."""


@cache
def original(kind):
    """A file's bytes, unpacked, and the (start, stop) of the parts that are damaged."""
    files = sample(kind)
    content = files.contents[files.victim]
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    spans = [(0, len(content)), (0, BLOCK)]
    with opened(content) as hdus:
        for name in STRUCTURE[kind]:
            info = hdus[name].fileinfo()
            start, data = info["hdrLoc"], info["datLoc"]
            # The first cards describe the layout of the data.
            spans += [
                (start, min(start + 20 * 80, data)),
                (start, data),
                (data, data + max(1, info["datSpan"])),
            ]
    return content, spans


@cache
def archive_of(kind, folder):
    """The archive, and the listing's row of the file that is damaged."""
    files = sample(kind)
    archive = files.write(folder / kind)
    stem = files.victim.partition(".")[0].removeprefix("coadd-")
    return (
        archive,
        next(e for e in listing_to_entries(archive.list_spectra()) if stem in e.object_id),
        folder / kind / files.victim,
    )


@st.composite
def damaged(draw, kinds=KINDS):
    kind = draw(st.sampled_from(kinds))
    content, spans = original(kind)
    content = bytearray(content)

    def anywhere():
        low, high = draw(st.sampled_from(spans))
        return draw(st.integers(low, min(high, len(content)) - 1))

    how = draw(
        st.sampled_from(["flip", "flip", "flip", "write", "cut", "cut-blocks", "splice", "drop", "repeat"])
    )
    if how == "flip":
        for _ in range(draw(st.integers(1, 4))):
            content[anywhere()] ^= 1 << draw(st.integers(0, 7))
    elif how == "write":
        start = anywhere()
        text = draw(
            st.sampled_from([b"-1", b"999999999999", b"T", b"'", b" " * 80, b"END" + b" " * 77, b"\0" * 9])
        )
        content[start : start + len(text)] = text
    elif how == "cut":
        del content[anywhere() :]
    elif how == "cut-blocks":
        del content[anywhere() // BLOCK * BLOCK :]
    else:
        step = draw(st.sampled_from([1, 80, BLOCK]))
        start, length = anywhere() // step * step, step * draw(st.integers(1, 8))
        if how == "drop":
            del content[start : start + length]
        elif how == "repeat":
            content[start:start] = content[start : start + length]
        else:
            other = original(draw(st.sampled_from(kinds)))[0]
            at = draw(st.integers(0, max(0, len(other) - length))) // step * step
            content[start : start + length] = other[at : at + length]
    if len(content) % BLOCK and draw(st.booleans()):
        content += b"\0" * (-len(content) % BLOCK)  # or every cut would be found by its length
    return kind, bytes(content)


def same(ours, theirs):
    numbers = all(
        np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True)
        for name in ("wave", "flux", "ivar", "z", "ra", "dec")
    )
    return numbers and ours.unit == theirs.unit


def check(kind, content, folder, packed):
    archive, entry, path = archive_of(kind, folder)
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    outcomes = read_archive_spectra(archive, ACCESS, [entry])
    assert len(outcomes) == 1
    if isinstance(outcomes[0], InvalidSpectrumError):
        assert outcomes[0].detail
        return
    assert isinstance(outcomes[0], Spectrum)
    assert same(outcomes[0], oracle.read(archive, entry, content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_undamaged_files_are_read_as_astropy_reads_them(folder):
    for kind in KINDS:
        archive, entry, path = archive_of(kind, folder)
        path.write_bytes(original(kind)[0])
        ours = read_archive_spectra(archive, ACCESS, [entry])[0]
        assert isinstance(ours, Spectrum), ours
        assert same(ours, oracle.read(archive, entry, original(kind)[0]))


def test_the_comparison_detects_a_changed_value(folder):
    """A changed number in the table changes the spectrum."""
    content = bytearray(original("dja")[0])
    with opened(bytes(content)) as hdus:
        start = hdus["SPEC1D"].fileinfo()["datLoc"]
    content[start + 72 * 200 + 8] ^= 1
    archive, entry, path = archive_of("dja", folder)
    path.write_bytes(original("dja")[0])
    assert not same(
        read_archive_spectra(archive, ACCESS, [entry])[0], oracle.read(archive, entry, bytes(content))
    )


@settings(max_examples=250)
@given(damaged(), st.integers(0, 9).map(lambda n: n == 0))
def test_damaged_files_are_refused_or_read_as_astropy_reads_them(folder, case, packed):
    check(*case, folder, packed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_many_damaged_files_are_refused_or_read_as_astropy_reads_them(folder, kind):
    sample(kind)

    @settings(max_examples=4000)
    @given(damaged((kind,)), st.booleans())
    def long(case, packed):
        check(*case, folder, packed)

    long()


@settings(max_examples=60)
@given(st.data())
def test_damaged_gzip_files_are_refused_or_unchanged(folder, data):
    """The checksum of gzip detects every change of the content."""
    kind = data.draw(st.sampled_from([kind for kind in ("spex", "sdss") if kind in KINDS] or ["dja"]))
    archive, entry, path = archive_of(kind, folder)
    packed = bytearray(_packed(kind))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, 20), st.integers(0, len(packed) - 1)))
        packed[at] ^= 1 << data.draw(st.integers(0, 7))
    del packed[data.draw(st.one_of(st.just(len(packed)), st.integers(0, len(packed)))) :]
    path.write_bytes(packed)
    outcome = read_archive_spectra(archive, ACCESS, [entry])[0]
    if isinstance(outcome, Spectrum):
        assert same(outcome, oracle.read(archive, entry, original(kind)[0]))


@cache
def _packed(kind):
    return gzip.compress(original(kind)[0], 6, mtime=0)
