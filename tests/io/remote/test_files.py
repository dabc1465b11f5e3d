import asyncio
import gzip
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import AccessConfig, FileContent
from distspec.io.remote.files import (
    decompress_gzip,
    is_url_below,
    open_archive_client,
    run_coroutine,
)
from tests.faults import servers
from tests.faults.servers import serving

CONTENT = bytes(range(256)) * 40
CONFIG = AccessConfig(attempts=2, timeout=5.0, deadline=10.0, max_file_mb=1.0, max_unpacked_mb=0.1)


@pytest.fixture(params=["disk", "http"])
def archive(request, tmp_path):
    """URL of an archive on disk or on a server, and a function that adds a file."""
    if request.param == "disk":

        def put(name, content):
            (tmp_path / name).write_bytes(content)

        yield f"file://{tmp_path}", put
        return
    with serving() as server:
        yield server.url, lambda name, content: server.serve(f"/{name}", content)


def with_client(base, function, config=CONFIG):
    async def run():
        async with open_archive_client(base, config) as files:
            return await function(files)

    return asyncio.run(run())


def head(base, name, n, config=CONFIG):
    return with_client(base, lambda files: files.get_file(f"{base}/{name}").read_head(n), config)


def whole(base, name, config=CONFIG):
    return with_client(base, lambda files: files.get_file(f"{base}/{name}").read_all(), config)


def ranges(base, name, spans):
    return with_client(base, lambda files: files.get_file(f"{base}/{name}").read_ranges(spans))


def test_head_whole_file_and_ranges(archive):
    base, put = archive
    put("a.fits", CONTENT)
    assert head(base, "a.fits", 100) == (CONTENT[:100], len(CONTENT))
    assert head(base, "a.fits", 99_999) == (CONTENT, len(CONTENT))
    assert whole(base, "a.fits") == (CONTENT, len(CONTENT))
    assert ranges(base, "a.fits", [(0, 4), (300, 310), (10_000, 10_240)]) == [
        CONTENT[:4],
        CONTENT[300:310],
        CONTENT[10_000:],
    ]
    assert ranges(base, "a.fits", []) == []


def test_a_range_beyond_the_end(archive):
    base, put = archive
    put("a.fits", CONTENT)
    with pytest.raises(InvalidSpectrumError, match=r"unreadable: .*ends at byte 10,240, before 10,300"):
        ranges(base, "a.fits", [(10_000, 10_300)])


def test_gzip_content_is_decompressed_whatever_the_name(archive):
    base, put = archive
    put("a.fits", gzip.compress(CONTENT))
    assert whole(base, "a.fits") == (CONTENT, len(CONTENT))
    noise = b"".join(hash((i, "x")).to_bytes(8, "little", signed=True) for i in range(5000))
    put("noise.gz", gzip.compress(noise))
    assert head(base, "noise.gz", 100) == (noise, len(noise)), "the first bytes cannot be decompressed alone"


def test_too_large_files_are_refused(archive):
    base, put = archive
    put("a.fits", b"x" * 1_000_001)
    assert len(head(base, "a.fits", 2880).data) == 2880
    for read in (whole, lambda *args: head(*args, 2_000_000)):
        with pytest.raises(InvalidSpectrumError, match=r"too_large: .*1,000,001 bytes, more than 1,000,000"):
            read(base, "a.fits")
    put("b.fits", b"x" * 1_000_000)
    assert whole(base, "b.fits").file_size == 1_000_000
    put("c.gz", gzip.compress(b"x" * 100_001))
    with pytest.raises(InvalidSpectrumError, match=r"too_large: .*decompress to more than 100,000"):
        head(base, "c.gz", 10)


def test_missing_files(archive):
    base, _ = archive
    with pytest.raises(InvalidSpectrumError, match="not_found: no file at"):
        whole(base, "none.fits")


def test_nothing_is_read_twice():
    with serving() as server:
        server.serve("/a.fits", CONTENT)

        async def read(files):
            file = files.get_file(f"{server.url}/a.fits")
            await asyncio.gather(*(file.read_head(100) for _ in range(5)), file.read_head(50))
            await file.read_ranges([(0, 10)])
            await file.read_ranges([(0, 10)])
            await file.read_all()
            await file.read_head(3000)

        with_client(server.url, read)
        spans = [request.headers["Range"] for request in server.requests]
        assert spans == ["bytes=0-99", "bytes=0-9", "bytes=0-999999"]


def test_the_number_of_concurrent_requests_is_limited():
    at_once, most = [], []

    def slowly(handler, content):
        at_once.append(1)
        most.append(len(at_once))
        handler.state.released.wait(0.02)
        at_once.pop()
        servers.serve_ranges(handler, content)

    with serving() as server:
        for i in range(12):
            server.serve(f"/{i}", CONTENT, always=slowly)

        async def read(files):
            await asyncio.gather(*(files.get_file(f"{server.url}/{i}").read_head(10) for i in range(12)))

        with_client(server.url, read, replace(CONFIG, in_flight=3))
        assert 1 <= max(most) <= 3
        assert len(server.requests) == 12


def test_a_missing_server():
    with serving() as server:
        url = server.url
    with pytest.raises(
        InvalidSpectrumError, match=r"unreachable: .*ClientConnector\w*Error from 127.*, 2 times"
    ):
        whole(url, "a.fits")


def test_files_outside_the_archive_are_refused(tmp_path):
    for url in (
        f"file://{tmp_path}/../x",
        f"file://{tmp_path}x/y",
        "http://example.org/x",
        "/etc/passwd",
        "",
    ):

        async def open_one(files, url=url):
            return files.get_file(url)

        with pytest.raises(InvalidSpectrumError) as caught:
            with_client(f"file://{tmp_path}", open_one)
        assert caught.value.reason is QuarantineReason.OUTSIDE


def test_unreadable_local_names_are_not_found(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    base = f"file://{tmp_path}"
    for name in ("folder", "file/below", "x" * 300, "none"):
        with pytest.raises(InvalidSpectrumError, match="not_found"):
            whole(base, name)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """The response is shorter than the announced length, as from an object store."""
    (tmp_path / "a").write_bytes(CONTENT)
    monkeypatch.setattr(
        "distspec.io.remote.files._read_local", lambda *_: FileContent(CONTENT[:50], len(CONTENT))
    )
    with pytest.raises(InvalidSpectrumError, match=r"unreadable: .* 50 bytes from byte 0, of 10,240"):
        head(f"file://{tmp_path}", "a", 100)


SEGMENT = st.text("ab.\\%~é \0\n/@:?#", max_size=6)


@given(st.lists(SEGMENT, max_size=5))
@example(["..", "x"])
@example(["a", "..", "..", "x"])
@example(["", "..", "x"])
@example(["a\\..\\..", "x"])
def test_accepted_urls_stay_below_the_archive(parts):
    """No prefix of an accepted path leaves the archive, whatever the file system's separator."""
    base = "file:///data/archive"
    url = "/".join([base, *parts])
    if not is_url_below(url, base):
        return
    inside = url.removeprefix(base)
    depth = 0
    for step in inside.replace("\\", "/").split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(step, 1)
        assert depth >= 0
    assert inside.isprintable()
    assert "\0" not in inside


@given(
    st.lists(
        st.text("abc123._-+ ", min_size=1, max_size=8).filter(lambda s: s not in {".", ".."}), min_size=1
    )
)
def test_plain_paths_are_accepted(parts):
    assert is_url_below("/".join(["s3://bucket/a", *parts]), "s3://bucket/a")
    assert is_url_below("/".join(["s3://bucket/a", *parts]), "s3://bucket/a/")
    assert not is_url_below("/".join(["s3://bucket/ab", *parts]), "s3://bucket/a")
    assert not is_url_below("/".join(["s3://bucket/a", "..", *parts]), "s3://bucket/a")


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"in_flight": 0}, "in_flight 0"), ({"attempts": 0}, "attempts 0"), ({"timeout": 0.0}, "timeout 0"),
     ({"deadline": -1.0}, "deadline -1")],
)  # fmt: skip
def test_impossible_settings_are_refused(changed, named):
    with pytest.raises(ValueError, match=rf"access\.in_flight.*{named}|access\.{named}"):
        AccessConfig(**changed)


class CountedRepr:
    """An object that counts how often it is formatted."""

    n_formatted = 0

    def __repr__(self) -> str:
        self.n_formatted += 1
        return "CountedRepr()"


def test_result_of_a_coroutine_is_not_formatted():
    item = CountedRepr()

    async def work() -> list[CountedRepr]:
        return [item]

    assert run_coroutine(work()) == [item]
    assert item.n_formatted == 0


def test_coroutine_runs_within_an_event_loop():
    async def work() -> int:
        return 7

    async def notebook_cell() -> int:
        return run_coroutine(work())

    assert asyncio.run(notebook_cell()) == 7


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
    assert reason(gzip.compress(b"x" * 60) * 2, 100) is QuarantineReason.TOO_LARGE, (
        "the limit applies to all members together"
    )


def test_padding_is_accepted_and_other_bytes_are_refused():
    content = gzip.compress(b"x")
    assert decompress_gzip(content + b"\0" * 512, 100) == b"x"
    assert reason(content + b"junk") is QuarantineReason.UNREADABLE
    assert reason(b"\x1f\x8b") is QuarantineReason.UNREADABLE
