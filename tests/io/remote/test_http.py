import asyncio
from dataclasses import replace

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io import storage
from distspec.io.remote import http
from distspec.io.remote.config import AccessConfig, TransientError
from distspec.io.remote.http import read_http, sign_url
from tests.faults import servers
from tests.faults.servers import serving

CONTENT = bytes(range(256)) * 40
CONFIG = AccessConfig(attempts=1, timeout=5.0)


@pytest.fixture
def server():
    with serving() as server:
        yield server


def read(url, start=0, stop=100, config=CONFIG):
    async def once():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=config.timeout)) as session:
            return await read_http(session, url, start, stop, config)

    return asyncio.run(once())


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 100), (100, 300), (10_000, 20_000), (0, 10_240)])
@pytest.mark.parametrize("always", [None, servers.ignore_ranges, servers.tell_no_length])
def test_a_range_from_servers_with_and_without_range_requests(server, start, stop, always):
    server.serve("/a.fits", CONTENT, always=always)
    content = read(f"{server.url}/a.fits", start, stop)
    assert content == (
        CONTENT[start:stop] if always is not servers.tell_no_length else CONTENT[start:],
        10_240,
    )


def test_a_range_beyond_the_end_is_empty(server):
    server.serve("/a.fits", CONTENT)
    assert read(f"{server.url}/a.fits", 20_000, 20_100) == (b"", 10_240)
    server.serve("/empty.fits", b"")
    assert read(f"{server.url}/empty.fits") == (b"", 0)


def test_a_response_without_a_length_is_read_up_to_the_limit(server):
    server.serve("/a.fits", CONTENT, always=servers.tell_no_length)
    content = read(f"{server.url}/a.fits", config=replace(CONFIG, max_file_mb=0.005))
    assert len(content.data) == 5001, "one more byte shows that the limit is exceeded"


def test_names_are_quoted_where_necessary(server):
    for name in ("a b.fits", "λ+1.fits", "50%.fits", "(1)[2]'3'.fits"):
        server.serve(f"/{name}", CONTENT)
        assert read(f"{server.url}/{name}").file_size == len(CONTENT), name


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 0-99/700", (0, 99, 700)),
        ("bytes 600-699/700", (600, 699, 700)),
        ("bytes */700", (0, -1, 700)),
        ("bytes */0", (0, -1, 0)),
    ],
)
def test_content_range(header, expected):
    assert http._parse_content_range(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes 0-99",
        "bytes 0-99/*",
        "bytes 99-0/700",
        "bytes 0-700/700",
        "bytes -5-99/700",
        "bytes 0-/700",
        "bytes x-y/700",
        "octets 0-99/700",
        "bytes 0-99/-700",
        "bytes 0-99/700 ",
        "bytes 0-99/²",
        "bytes 0-99/" + "9" * 5000,
    ],
)
def test_invalid_content_ranges(header):
    with pytest.raises(TransientError, match="Content-Range"):
        http._parse_content_range(header)


@given(st.text())
def test_any_content_range_is_parsed_or_refused(header):
    try:
        first, last, size = http._parse_content_range(header)
    except TransientError:
        return
    assert (first, last) == (0, -1) or 0 <= first <= last < size


def test_another_range_than_the_requested_one_is_refused(server):
    server.serve("/a.fits", CONTENT, always=servers.other_range)
    with pytest.raises(TransientError, match="requested bytes 0–99, received 1–99"):
        read(f"{server.url}/a.fits")
    server.serve("/a.fits", CONTENT, always=servers.less)
    assert len(read(f"{server.url}/a.fits", stop=500).data) == 500
    with pytest.raises(TransientError, match="requested bytes 0–1999, received 0–999"):
        read(f"{server.url}/a.fits", stop=2000)
    longer = servers.status(206, CONTENT[:200], Content_Range="bytes 0-199/10240")
    server.serve("/a.fits", CONTENT, always=longer)
    with pytest.raises(TransientError, match="received 0–199"):
        read(f"{server.url}/a.fits")


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("3", 3),
        ("0", 0),
        ("86400", http.MAX_RETRY_AFTER),
        ("", 0),
        ("-1", 0),
        ("soon", 0),
        ("²", 0),
        ("9" * 5000, 0),
    ],
)
def test_retry_after_is_respected_within_limits(server, monkeypatch, answer, seconds):
    paused = []

    async def pause(time):
        paused.append(time)

    monkeypatch.setattr("distspec.io.remote.http.asyncio.sleep", pause)
    server.serve("/a.fits", b"", always=servers.status(503, Retry_After=answer.encode().decode("latin-1")))
    with pytest.raises(TransientError, match="status 503"):
        read(f"{server.url}/a.fits")
    assert paused == [seconds]


@pytest.mark.parametrize("status", sorted(http.TRANSIENT_STATUSES))
def test_transient_statuses(server, status):
    server.serve("/a.fits", b"", always=servers.status(status))
    with pytest.raises(TransientError, match=str(status)):
        read(f"{server.url}/a.fits")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, QuarantineReason.DENIED),
        (401, QuarantineReason.DENIED),
        (403, QuarantineReason.DENIED),
        (404, QuarantineReason.NOT_FOUND),
        (410, QuarantineReason.NOT_FOUND),
        (414, QuarantineReason.NOT_FOUND),
        (405, QuarantineReason.UNREACHABLE),
        (451, QuarantineReason.UNREACHABLE),
        (204, QuarantineReason.UNREACHABLE),
        (304, QuarantineReason.UNREACHABLE),
        (505, QuarantineReason.UNREACHABLE),
    ],
)
def test_permanent_statuses(server, status, reason):
    server.serve("/a.fits", b"", always=servers.status(status))
    with pytest.raises(InvalidSpectrumError) as caught:
        read(f"{server.url}/a.fits")
    assert caught.value.reason is reason
    assert f"{server.url}/a.fits" in caught.value.detail


@pytest.mark.parametrize("code", ["ExpiredToken", "TokenRefreshRequired", "InvalidToken"])
@pytest.mark.parametrize("status", [400, 403])
def test_expired_credentials_are_requested_again(server, code, status):
    body = f"<Error><Code>{code}</Code></Error>".encode()
    server.serve("/a.fits", b"", always=servers.status(status, body))
    with pytest.raises(TransientError, match="credentials have expired"):
        read(f"{server.url}/a.fits")


REDIRECTS = [
    ("https://a.org/x", "https://a.org/y", ()),
    ("http://a.org/x", "http://a.org/y", ()),
    ("http://a.org/x", "https://a.org/y", ()),
    ("https://a.org/x", "/y", ()),
    ("https://a.org/x", "https://b.org/y", ("b.org",)),
    ("https://a.org/x", "https://b.org:8443/y", ("b.org:8443",)),
]
REFUSED = [
    ("https://a.org/x", "http://a.org/y", ()),
    ("https://a.org/x", "http://b.org/y", ("b.org",)),
    ("https://a.org/x", "https://b.org/y", ()),
    ("https://a.org/x", "https://a.org.b.org/y", ()),
    ("https://a.org/x", "https://a.org:8443/y", ()),
    ("https://a.org/x", "https://a.org@b.org/y", ()),
    ("https://a.org/x", "https://b.org:8443/y", ("b.org",)),
    ("https://a.org/x", "//b.org/y", ()),
    ("https://a.org/x", "ftp://a.org/y", ()),
    ("https://a.org/x", "file:///etc/passwd", ("",)),
    ("http://a.org/x", "http://169.254.169.254/latest", ()),
    ("http://a.org/x", "http://[::1/", ()),
]


@pytest.mark.parametrize(("target", "location", "hosts"), REDIRECTS)
def test_permitted_redirects(target, location, hosts):
    assert http._resolve_redirect("url", target, location, AccessConfig(redirect_hosts=hosts)).endswith("/y")


@pytest.mark.parametrize(("target", "location", "hosts"), REFUSED)
def test_refused_redirects(target, location, hosts):
    with pytest.raises(InvalidSpectrumError, match="outside: url is redirected"):
        http._resolve_redirect("url", target, location, AccessConfig(redirect_hosts=hosts))


def test_at_most_five_redirects(server):
    for i in range(5):
        server.serve(f"/{i}", b"", always=servers.redirect(f"/{i + 1}"))
    server.serve("/5", CONTENT)
    assert read(f"{server.url}/1").file_size == len(CONTENT)
    with pytest.raises(InvalidSpectrumError, match="more than 5 times"):
        read(f"{server.url}/0")


def test_redirects_carry_no_cookie_and_no_signature(server):
    server.serve("/a.fits", CONTENT, always=None)
    read(f"{server.url}/a.fits")
    assert not {"Cookie", "Authorization"} & set(server.requests[0].headers)
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("url", "config", "expected"),
    [
        ("s3://b/k 1.fits", {}, "https://b.s3.us-east-1.amazonaws.com/k%201.fits"),
        ("s3://b/k/+.fits", {"region": "eu-west-1"}, "https://b.s3.eu-west-1.amazonaws.com/k/%2B.fits"),
        ("s3://b/k", {"endpoint_url": "http://minio:9000"}, "http://minio:9000/b/k"),
    ],
)
def test_urls_of_public_buckets_are_not_signed(monkeypatch, url, config, expected):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert sign_url(url, AccessConfig(anonymous=True, **config)) == expected


def test_urls_of_private_buckets_are_signed(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEYID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage.clear_bucket_cache()
    url = sign_url("s3://b/k", AccessConfig(endpoint_url="http://minio:9000"))
    storage.clear_bucket_cache()
    assert url.startswith("http://minio:9000/b/k?")
    assert "X-Amz-Credential=KEYID" in url
    assert "secret" not in url


def test_the_error_names_the_region_of_the_bucket(server):
    server.serve("/x", b"", always=servers.status(301, **{"x-amz-bucket-region": "eu-north-1"}))
    with pytest.raises(InvalidSpectrumError, match=r"denied: .*region eu-north-1, set --access\.region"):
        read(f"{server.url}/x")
