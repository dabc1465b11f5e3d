import asyncio
import gzip
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import AccessConfig, FileContent
from distspec.io.remote.files import is_url_below, open_archive_client
from tests.faults import servers
from tests.faults.servers import serving

CONTENT = bytes(range(256)) * 40
CONFIG = AccessConfig(attempts=2, timeout=5.0, deadline=10.0, max_file_mb=1.0, max_unpacked_mb=0.1)


@pytest.fixture(params=["disk", "http"])
def archive(request, tmp_path):
    """A place for files: its URL, how to put one there, and how often each was asked for."""
    if request.param == "disk":

        def put(name, content):
            (tmp_path / name).write_bytes(content)

        yield f"file://{tmp_path}", put
        return
    with serving() as server:
        yield server.url, lambda name, content: server.serve(f"/{name}", content)


def do(base, what, config=CONFIG):
    async def run():
        async with open_archive_client(base, config) as files:
            return await what(files)

    return asyncio.run(run())


def head(base, name, n, config=CONFIG):
    return do(base, lambda files: files.get_file(f"{base}/{name}").read_head(n), config)


def whole(base, name, config=CONFIG):
    return do(base, lambda files: files.get_file(f"{base}/{name}").read_all(), config)


def ranges(base, name, spans):
    return do(base, lambda files: files.get_file(f"{base}/{name}").read_ranges(spans))


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
    assert head(base, "noise.gz", 100) == (noise, len(noise)), "a beginning cannot be unpacked alone"


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

        do(server.url, read)
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

        do(server.url, read, replace(CONFIG, in_flight=3))
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
            do(f"file://{tmp_path}", open_one)
        assert caught.value.reason is QuarantineReason.OUTSIDE


def test_names_that_the_disk_refuses(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    base = f"file://{tmp_path}"
    for name in ("folder", "file/below", "x" * 300, "none"):
        with pytest.raises(InvalidSpectrumError, match="not_found"):
            whole(base, name)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """As an object store may: less comes than is said to be there."""
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
    """What passes is, however a file system takes it, below: no step leads up or out."""
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
