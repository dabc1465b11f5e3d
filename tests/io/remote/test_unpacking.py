import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.files import decompress_gzip


def reason(content, limit=1 << 20):
    with pytest.raises(InvalidSpectrumError) as caught:
        decompress_gzip(content, limit)
    assert caught.value.detail
    return caught.value.reason


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_every_gzip_member_is_decompressed(parts):
    assert decompress_gzip(b"".join(map(gzip.compress, parts)), 1 << 20) == b"".join(parts)


@given(st.binary(min_size=1, max_size=5000), st.data())
def test_truncated_gzip_is_refused(content, data):
    packed = gzip.compress(content, mtime=0)
    assert reason(packed[: data.draw(st.integers(1, len(packed) - 1))]) is QuarantineReason.UNREADABLE


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_flipped_bits_are_refused_or_harmless(content, data):
    packed = bytearray(gzip.compress(content, mtime=0))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert decompress_gzip(bytes(packed), 1 << 20) == content
    except InvalidSpectrumError:
        assert reason(bytes(packed)) in {QuarantineReason.UNREADABLE, QuarantineReason.TOO_LARGE}


def test_content_is_decompressed_up_to_the_limit():
    content = gzip.compress(b"\0" * 100_000)
    assert len(decompress_gzip(content, 100_000)) == 100_000
    assert reason(content, 99_999) is QuarantineReason.TOO_LARGE
    assert reason(gzip.compress(b"x" * 60) * 2, 100) is QuarantineReason.TOO_LARGE, "all members together"


def test_padding_is_accepted_and_other_bytes_are_refused():
    content = gzip.compress(b"x")
    assert decompress_gzip(content + b"\0" * 512, 100) == b"x"
    assert reason(content + b"junk") is QuarantineReason.UNREADABLE
    assert reason(b"\x1f\x8b") is QuarantineReason.UNREADABLE
