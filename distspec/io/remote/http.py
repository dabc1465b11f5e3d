"""One attempt to read a range of bytes over HTTP; redirects are followed only to permitted hosts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import obstore
from yarl import URL

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io import storage
from distspec.io.remote.config import AccessConfig, FileContent, TransientError

MAX_REDIRECTS = 5
SIGNED_URL_TTL = timedelta(minutes=15)
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
EXPIRED_CREDENTIAL_CODES = (b"ExpiredToken", b"TokenRefreshRequired", b"InvalidToken")
MAX_RETRY_AFTER = 30.0
"""Maximum pause that a server's Retry-After header may request [s]."""


async def read_http(
    session: aiohttp.ClientSession, url: str, start: int, stop: int, config: AccessConfig
) -> FileContent:
    """Make one attempt to read a range of bytes of a file.

    Parameters
    ----------
    session : aiohttp.ClientSession
        Session that makes the requests.
    url : str
        http, https or s3 URL; s3 URLs are signed.
    start, stop : int
        First byte, and the byte after the last one.
    config : AccessConfig
        Settings and limits.

    Returns
    -------
    FileContent

    Raises
    ------
    TransientError
        If another attempt may succeed.
    InvalidSpectrumError
        ``not_found``, ``denied``, ``outside`` or ``unreachable``.
    """
    target = sign_url(url, config) if url.startswith("s3://") else url
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    try:
        for _ in range(MAX_REDIRECTS):
            async with session.get(_encode_url(target), headers=headers, allow_redirects=False) as response:
                if response.status not in {301, 302, 303, 307, 308}:
                    limit = int(config.max_file_mb * 1e6)
                    return await _read_response(url, response, start, stop, limit)
                if "Location" not in response.headers:
                    region = response.headers.get("x-amz-bucket-region", "another one")
                    detail = f"{url}: the bucket is in region {region}, set --access.region"
                    raise InvalidSpectrumError(QuarantineReason.DENIED, detail)
                target = _resolve_redirect(url, target, response.headers["Location"], config)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # No message may contain a signed URL.
        raise TransientError(f"{type(error).__name__} from {urlsplit(target).netloc}") from error
    raise InvalidSpectrumError(
        QuarantineReason.OUTSIDE, f"{url} is redirected more than {MAX_REDIRECTS} times"
    )


def _resolve_redirect(url: str, target: str, location: str, config: AccessConfig) -> str:
    try:
        current, new = urlsplit(target), urlsplit(urljoin(target, location))
    except ValueError as error:
        raise InvalidSpectrumError(
            QuarantineReason.OUTSIDE, f"{url} is redirected to an invalid URL"
        ) from error
    is_downgrade = current.scheme == "https" and new.scheme != "https"
    permitted = {current.netloc, *config.redirect_hosts}
    if new.scheme not in {"http", "https"} or is_downgrade or new.netloc not in permitted:
        host = new.netloc.rpartition("@")[2]  # without a password
        raise InvalidSpectrumError(
            QuarantineReason.OUTSIDE,
            f"{url} is redirected to {new.scheme}://{host}: add that host to --access.redirect-hosts "
            "if it belongs to the archive",
        )
    return new.geturl()


async def _read_response(
    url: str, response: aiohttp.ClientResponse, start: int, stop: int, limit: int
) -> FileContent:
    """Return the requested range from a response, of which at most `limit` bytes are read."""
    status = response.status
    if status == 206:
        first, last, size = _parse_content_range(response.headers.get("Content-Range", ""))
        if first != start or last != min(stop, size) - 1:
            raise TransientError(f"requested bytes {start}–{stop - 1}, received {first}–{last}")
        data = await _read_at_most(response, last - first + 1)
        if len(data) != last - first + 1:
            raise TransientError(f"received {len(data):,} of {last - first + 1:,} bytes")
        return FileContent(data, size)
    if status == 200:  # the server does not support ranges
        size = response.content_length
        if size is None:  # nor does it state the size
            data = await _read_at_most(response, limit + 1)
            return FileContent(data[start:], len(data))
        data = await _read_at_most(response, stop)
        if len(data) != min(size, stop):
            raise TransientError(f"received {len(data):,} of {size:,} bytes")
        return FileContent(data[start:], size)
    if status == 416:
        return FileContent(b"", _parse_content_range(response.headers.get("Content-Range", ""))[2])
    if status in {404, 410, 414}:  # removed, or the name is too long
        raise InvalidSpectrumError(QuarantineReason.NOT_FOUND, f"no file at {url}")
    if status in {400, 401, 403}:
        body = await _read_at_most(response, 4096)
        if any(word in body for word in EXPIRED_CREDENTIAL_CODES):
            storage.clear_bucket_cache()
            raise TransientError("credentials have expired")
        detail = f"{url}: status {status}; for S3 without permission to list, the file may also be missing"
        raise InvalidSpectrumError(QuarantineReason.DENIED, detail)
    if status in TRANSIENT_STATUSES:
        await asyncio.sleep(min(_parse_int(response.headers.get("Retry-After", "")), MAX_RETRY_AFTER))
        raise TransientError(f"status {status}")
    raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, f"{url}: status {status}")


def open_archive_bucket(scheme: str, bucket: str, config: AccessConfig) -> Any:
    """Open a bucket with the access settings of an archive.

    Parameters
    ----------
    scheme : {"s3", "gs", "az"}
        Kind of object store.
    bucket : str
        Name of the bucket or container.
    config : AccessConfig
        Endpoint, region, and whether to read without credentials.
    """
    return storage.open_bucket(scheme, bucket, config.endpoint_url, config.region, config.anonymous)


def sign_url(url: str, config: AccessConfig) -> str:
    """Return the HTTP URL of an s3:// URL: a plain one if it is read anonymously, else a signed one.

    Parameters
    ----------
    url : str
        URL ``s3://bucket/key``.
    config : AccessConfig
        Endpoint, region, and whether to read without credentials.

    Returns
    -------
    str
        A signed URL is valid for `SIGNED_URL_TTL`.
    """
    name, _, key = url.removeprefix("s3://").partition("/")
    if not config.anonymous:
        return str(obstore.sign(open_archive_bucket("s3", name, config), "GET", key, SIGNED_URL_TTL))
    where = storage.resolve_storage(config.endpoint_url, config.region)
    base = (
        f"{where.endpoint_url}/{name}"
        if where.endpoint_url
        else f"https://{name}.s3.{where.region}.amazonaws.com"
    )
    return f"{base}/{quote(key)}"


def _encode_url(url: str) -> Any:
    # Signed URLs must be sent as they were signed; in others only invalid characters are quoted.
    return URL(url if "%" in url or "?" in url else quote(url, safe=":/@+,;=~!$&'()*[]"), encoded=True)


def _parse_content_range(header: str) -> tuple[int, int, int]:
    """Return first byte, last byte and size from ``bytes 0-99/700``; 0, -1 and size from ``bytes */700``."""
    unit, _, rest = header.partition(" ")
    span, _, size = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or not _is_number(size):
        raise TransientError(f"Content-Range {header!r}")
    if span == "*":
        return 0, -1, int(size)
    if not (_is_number(first) and _is_number(last) and int(first) <= int(last) < int(size)):
        raise TransientError(f"Content-Range {header!r}")
    return int(first), int(last), int(size)


async def _read_at_most(response: aiohttp.ClientResponse, n_bytes: int) -> bytes:
    """Read at most `n_bytes` bytes of a body."""
    parts: list[bytes] = []
    left = n_bytes
    while left > 0 and (part := await response.content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _parse_int(text: str) -> int:
    return int(text) if _is_number(text) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
