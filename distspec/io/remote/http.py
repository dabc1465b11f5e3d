"""One try at a range of bytes over HTTP, redirects followed only to where the archive may lead."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import obstore
from yarl import URL

from distspec.core.errors import BadSpectrumError, Reason
from distspec.io import storage
from distspec.io.remote.config import AccessConfig, Content, PassingError

MAX_HOPS = 5
SIGNED_FOR = timedelta(minutes=15)
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
STALE_CREDENTIALS = (b"ExpiredToken", b"TokenRefreshRequired", b"InvalidToken")
MAX_PAUSE = 30.0
"""Longest pause [s] that a server's Retry-After is granted."""


async def read_http(
    session: aiohttp.ClientSession, url: str, start: int, stop: int, config: AccessConfig
) -> Content:
    """Return bytes start … stop − 1 of a file and its size.

    Parameters
    ----------
    session : aiohttp.ClientSession
    url : str
        http, https or s3: what lies on S3 is asked for by signed URL.
    start, stop : int
    config : AccessConfig

    Raises
    ------
    PassingError
        Where another try may help.
    BadSpectrumError
        ``not_found``, ``denied``, ``outside`` or ``unreachable``.
    """
    target = signed(url, config) if url.startswith("s3://") else url
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    try:
        for _ in range(MAX_HOPS):
            async with session.get(_as_sent(target), headers=headers, allow_redirects=False) as answer:
                if answer.status not in {301, 302, 303, 307, 308}:
                    limit = int(config.max_file_mb * 1e6)
                    return await _content(url, answer, start, stop, limit)
                if "Location" not in answer.headers:
                    elsewhere = answer.headers.get("x-amz-bucket-region", "another one")
                    seen = f"{url}: the bucket is in region {elsewhere}, set --access.region"
                    raise BadSpectrumError(Reason.DENIED, seen)
                target = _redirected(url, target, answer.headers["Location"], config)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # A signed URL must stay out of every message.
        raise PassingError(f"{type(error).__name__} from {urlsplit(target).netloc}") from error
    raise BadSpectrumError(Reason.OUTSIDE, f"{url} is redirected more than {MAX_HOPS} times")


def _redirected(url: str, target: str, location: str, config: AccessConfig) -> str:
    try:
        there, here = urlsplit(urljoin(target, location)), urlsplit(target)
    except ValueError as error:
        raise BadSpectrumError(Reason.OUTSIDE, f"{url} is redirected to what is no URL") from error
    downgraded = here.scheme == "https" and there.scheme != "https"
    known = {here.netloc, *config.hosts}
    if there.scheme not in {"http", "https"} or downgraded or there.netloc not in known:
        host = there.netloc.rpartition("@")[2]  # a password before it is not for the quarantine
        raise BadSpectrumError(
            Reason.OUTSIDE,
            f"{url} is redirected to {there.scheme}://{host}: name that host in --access.hosts "
            "if it may serve the archive",
        )
    return there.geturl()


async def _content(url: str, answer: aiohttp.ClientResponse, start: int, stop: int, limit: int) -> Content:
    """Return what an answer holds of the range asked for, of which at most `limit` bytes are read."""
    status = answer.status
    if status == 206:
        first, last, size = _content_range(answer.headers.get("Content-Range", ""))
        if first != start or last != min(stop, size) - 1:
            raise PassingError(f"asked for bytes {start}–{stop - 1}, was given {first}–{last}")
        data = await _at_most(answer, last - first + 1)
        if len(data) != last - first + 1:
            raise PassingError(f"{len(data):,} of {last - first + 1:,} bytes came")
        return Content(data, size)
    if status == 200:  # the server knows no ranges
        size = answer.content_length
        if size is None:  # nor how large the file is: only its end tells
            data = await _at_most(answer, limit + 1)
            return Content(data[start:], len(data))
        data = await _at_most(answer, stop)
        if len(data) != min(size, stop):
            raise PassingError(f"{len(data):,} of {size:,} bytes came")
        return Content(data[start:], size)
    if status == 416:
        return Content(b"", _content_range(answer.headers.get("Content-Range", ""))[2])
    if status in {404, 410, 414}:  # gone, or of a name too long
        raise BadSpectrumError(Reason.NOT_FOUND, f"no file at {url}")
    if status in {400, 401, 403}:
        body = await _at_most(answer, 4096)
        if any(word in body for word in STALE_CREDENTIALS):
            storage.open_bucket.cache_clear()
            raise PassingError("credentials have expired")
        seen = f"{url}: status {status}; S3 says so of missing files, too, where it may not list them"
        raise BadSpectrumError(Reason.DENIED, seen)
    if status in PASSING_STATUS:
        await asyncio.sleep(min(_number(answer.headers.get("Retry-After", "")), MAX_PAUSE))
        raise PassingError(f"status {status}")
    raise BadSpectrumError(Reason.UNREACHABLE, f"{url}: status {status}")


def archive_bucket(scheme: str, name: str, config: AccessConfig) -> Any:
    """Return a bucket as an archive's access says."""
    endpoint = config.endpoint_url or storage.endpoint()
    return storage.open_bucket(scheme, name, endpoint, config.region or storage.region(), config.anonymous)


def signed(url: str, config: AccessConfig) -> str:
    """Return an HTTP URL of an s3:// one: plain where it is read anonymously, else signed."""
    name, _, key = url.removeprefix("s3://").partition("/")
    if not config.anonymous:
        return str(obstore.sign(archive_bucket("s3", name, config), "GET", key, SIGNED_FOR))
    endpoint = config.endpoint_url or storage.endpoint()
    region = config.region or storage.region()
    base = f"{endpoint}/{name}" if endpoint else f"https://{name}.s3.{region}.amazonaws.com"
    return f"{base}/{quote(key)}"


def _as_sent(url: str) -> Any:
    # Signed URLs must go out as they were signed; of others only what must be is quoted.
    return URL(url if "%" in url or "?" in url else quote(url, safe=":/@+,;=~!$&'()*[]"), encoded=True)


def _content_range(header: str) -> tuple[int, int, int]:
    """Return first, last and size of ``bytes 0-99/700`` or ``bytes */700``."""
    unit, _, rest = header.partition(" ")
    span, _, size = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or not _is_number(size):
        raise PassingError(f"Content-Range {header!r}")
    if span == "*":
        return 0, -1, int(size)
    if not (_is_number(first) and _is_number(last) and int(first) <= int(last) < int(size)):
        raise PassingError(f"Content-Range {header!r}")
    return int(first), int(last), int(size)


async def _at_most(answer: aiohttp.ClientResponse, n: int) -> bytes:
    """Return up to `n` bytes of a body and read no more of it."""
    parts: list[bytes] = []
    left = n
    while left > 0 and (part := await answer.content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _number(text: str) -> int:
    return int(text) if _is_number(text) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
