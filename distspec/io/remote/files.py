"""The client that reads an archive's files: concurrently, with retries, and within limits on their size.

Local files are read directly. http(s) URLs and, by signed URLs, s3 URLs are read through aiohttp, which
follows no redirect by itself; gs and az URLs are read through obstore. Every failure is an
`InvalidSpectrumError`.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import zlib
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, TypeVar
from urllib.parse import unquote

import aiohttp
import obstore
from obstore.exceptions import BaseError as ObstoreError
from obstore.exceptions import PermissionDeniedError, UnauthenticatedError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.remote.config import AccessConfig, FileContent, TransientError
from distspec.io.remote.http import open_archive_bucket, read_http
from distspec.io.storage import split_url

Result = TypeVar("Result")


def run_coroutine(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a new event loop and return its result.

    Where an event loop runs already, as in a notebook, the new one runs in a thread of its own.

    Parameters
    ----------
    coroutine : coroutine
        The coroutine to run.

    Returns
    -------
    object
        Its result.

    Examples
    --------
    >>> async def read() -> bytes:
    ...     return b"SIMPLE"
    >>> run_coroutine(read())
    b'SIMPLE'
    """
    results: list[Result] = []

    async def keep() -> None:
        results.append(await coroutine)

    # The coroutine must not return the result: on Ctrl-C, asyncio.run formats its task with it,
    # which takes longer than reading for arrays and whole files.
    if _is_loop_running():
        with ThreadPoolExecutor(max_workers=1) as executor:
            executor.submit(copy_context().run, asyncio.run, keep()).result()
    else:
        asyncio.run(keep())
    return results[0]


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


GZIP_MAGIC = b"\x1f\x8b"
CHUNK_SIZE = 1 << 20


def decompress_gzip(content: bytes, max_bytes: int) -> bytes:
    """Return the uncompressed content of a gzip file with one or more members.

    Parameters
    ----------
    content : bytes
        The gzip file.
    max_bytes : int
        Maximum uncompressed size [bytes]; no more is decompressed.

    Returns
    -------
    bytes
        The uncompressed content.

    Raises
    ------
    InvalidSpectrumError
        ``too_large`` beyond the maximum; ``unreadable`` if the file is truncated or its checksum is wrong.
    """
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while part := file.read(min(CHUNK_SIZE, max_bytes + 1 - len(unpacked))):
                unpacked += part
                if len(unpacked) > max_bytes:
                    detail = f"{len(content):,} bytes of gzip decompress to more than {max_bytes:,}"
                    raise InvalidSpectrumError(QuarantineReason.TOO_LARGE, detail)
    except (EOFError, zlib.error, OSError) as error:
        detail = f"damaged gzip after {len(unpacked):,} decompressed bytes: {error}"
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, detail) from error
    return bytes(unpacked)


class ArchiveFile:
    """One file of an archive, which remembers the content that was read from it.

    Parameters
    ----------
    client : ArchiveClient
        Client that reads the file.
    url : str
        URL of the file.
    """

    def __init__(self, client: ArchiveClient, url: str) -> None:
        self.url = url
        self._client = client
        self._lock = asyncio.Lock()
        self._content: FileContent | None = None
        self._blocks: dict[Any, list[bytes]] = {}

    async def read_head(self, n_bytes: int) -> FileContent:
        """Return at least the first bytes of the file; all of its uncompressed content if it is gzipped.

        Parameters
        ----------
        n_bytes : int
            Number of bytes; fewer are returned if the file is shorter.

        Returns
        -------
        FileContent

        Raises
        ------
        InvalidSpectrumError
            If the file cannot be read; see `QuarantineReason`.
        """
        async with self._lock:
            if self._content is None or len(self._content.data) < min(n_bytes, self._content.file_size):
                content = await self._client.read_range(self.url, 0, n_bytes)
                if content.data.startswith(GZIP_MAGIC):
                    if len(content.data) < content.file_size:
                        content = await self._client.read_range(self.url, 0, content.file_size)
                    limit = int(self._client.config.max_unpacked_mb * 1e6)
                    data = decompress_gzip(content.data, limit)
                    content = FileContent(data, len(data))
                self._content = content
            return self._content

    async def read_all(self) -> FileContent:
        """Return the whole file, uncompressed if it is gzipped.

        Returns
        -------
        FileContent

        Raises
        ------
        InvalidSpectrumError
            If the file cannot be read or is too large.
        """
        return await self.read_head(int(self._client.config.max_file_mb * 1e6))

    async def read_ranges(self, byte_ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several byte ranges.

        Parameters
        ----------
        byte_ranges : sequence of (int, int)
            First byte, and the byte after the last one, of each range.

        Returns
        -------
        list of bytes
            Content of each range, in order.

        Raises
        ------
        InvalidSpectrumError
            If the file cannot be read, or ends before one of the ranges does.
        """
        key = tuple(byte_ranges)
        async with self._lock:
            if key not in self._blocks:
                parts = await asyncio.gather(
                    *(self._client.read_range(self.url, *span) for span in byte_ranges)
                )
                for (start, stop), part in zip(byte_ranges, parts, strict=True):
                    if len(part.data) != stop - start:
                        detail = f"{self.url} ends at byte {part.file_size:,}, before {stop:,}"
                        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, detail)
                self._blocks[key] = [part.data for part in parts]
            return self._blocks[key]


class ArchiveClient:
    """Reads the files below an archive's URLs; `open_archive_client` opens it.

    Parameters
    ----------
    base_urls : sequence of str
        Folders or buckets of the archive; files outside them are not read.
    config : AccessConfig
        Settings and limits.
    session : aiohttp.ClientSession
        HTTP session of all requests.

    Attributes
    ----------
    config : AccessConfig
        Settings and limits.
    n_bytes_read : int
        Number of bytes that were read so far.
    """

    def __init__(
        self, base_urls: Sequence[str], config: AccessConfig, session: aiohttp.ClientSession
    ) -> None:
        self.config = config
        self._base_urls = [url.rstrip("/") for url in base_urls]
        self._session = session
        self._slots = asyncio.Semaphore(config.in_flight)
        self.n_bytes_read = 0
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(config.attempts),
            wait=wait_random_exponential(multiplier=0.2, max=10.0),
            reraise=True,
        )

    def get_file(self, url: str) -> ArchiveFile:
        """Return a file below one of the archive's URLs.

        Parameters
        ----------
        url : str
            URL of the file.

        Returns
        -------
        ArchiveFile
            The file; nothing is read yet.

        Raises
        ------
        InvalidSpectrumError
            ``outside`` if the URL is not below one of those of the archive.
        """
        if not any(is_url_below(url, base) for base in self._base_urls):
            detail = f"{url} is not below {' or '.join(self._base_urls)}"
            raise InvalidSpectrumError(QuarantineReason.OUTSIDE, detail)
        return ArchiveFile(self, url)

    async def read_range(self, url: str, start: int, stop: int) -> FileContent:
        """Return a range of bytes, and the size of the file.

        Parameters
        ----------
        url : str
            URL of the file.
        start, stop : int
            First byte, and the byte after the last one; fewer are returned at the end of the file.

        Returns
        -------
        FileContent
            The bytes, and the size of the file.

        Raises
        ------
        InvalidSpectrumError
            If the file cannot be read or exceeds the maximum size.
        """
        limit = int(self.config.max_file_mb * 1e6)
        if stop - start > limit:
            stop = start + limit
        async with self._slots:
            if url.startswith("file://"):
                content = _read_local(url.removeprefix("file://"), start, stop)
            else:
                content = await self._read_remote(url, start, stop)
        if len(content.data) > limit or (len(content.data) == limit and content.file_size > start + limit):
            detail = f"{url} has {content.file_size:,} bytes, more than {limit:,}"
            raise InvalidSpectrumError(QuarantineReason.TOO_LARGE, detail)
        if len(content.data) < min(stop, content.file_size) - start:
            # A caller that reads on until it has all bytes would not end.
            detail = (
                f"{url}: {len(content.data):,} bytes from byte {start:,}, of {content.file_size:,} in all"
            )
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, detail)
        self.n_bytes_read += len(content.data)
        return content

    async def _read_remote(self, url: str, start: int, stop: int) -> FileContent:
        scheme = url.partition("://")[0]
        try:
            async with asyncio.timeout(self.config.deadline):
                if scheme in {"gs", "az"}:
                    return await self._retrying.copy()(self._read_obstore, url, start, stop)
                return await self._retrying.copy()(read_http, self._session, url, start, stop, self.config)
        except TimeoutError as error:
            detail = f"{url}: no answer in {self.config.deadline:g} s of attempts"
            raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, detail) from error
        except TransientError as error:
            detail = f"{url}: {error}, {self.config.attempts} times"
            raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, detail) from error

    async def _read_obstore(self, url: str, start: int, stop: int) -> FileContent:
        """Make one attempt through obstore, which retries by itself as well."""
        scheme, name, key = split_url(url)
        bucket = open_archive_bucket(scheme, name, self.config)
        try:
            result = await obstore.get_async(bucket, key, options={"range": (start, stop)})
            return FileContent(bytes(await result.bytes_async()), result.meta["size"])
        except FileNotFoundError as error:
            raise InvalidSpectrumError(QuarantineReason.NOT_FOUND, f"no file at {url}") from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise InvalidSpectrumError(QuarantineReason.DENIED, f"{url}: access refused") from error
        except (ObstoreError, OSError) as error:
            raise TransientError(type(error).__name__) from error


@asynccontextmanager
async def open_archive_client(
    base_urls: str | Sequence[str], config: AccessConfig
) -> AsyncGenerator[ArchiveClient]:
    """Open a client for the files below an archive's URL, or below several.

    Parameters
    ----------
    base_urls : str or sequence of str
        URLs of the archive's folders or buckets.
    config : AccessConfig
        Settings and limits.

    Yields
    ------
    ArchiveClient
    """
    timeout = aiohttp.ClientTimeout(total=config.timeout, sock_connect=min(10.0, config.timeout))
    connector = aiohttp.TCPConnector(limit=config.in_flight)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,  # proxies and no_proxy of the environment
    ) as session:
        bases = [base_urls] if isinstance(base_urls, str) else base_urls
        yield ArchiveClient(bases, config, session)


def is_url_below(url: str, base_url: str) -> bool:
    """Return whether a URL is below another one and has no step to a parent folder in it.

    Parameters
    ----------
    url : str
        URL to check.
    base_url : str
        URL of the folder.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_url_below("s3://bucket/a/b.fits", "s3://bucket/a")
    True
    >>> is_url_below("s3://bucket/a/../c.fits", "s3://bucket/a")
    False
    >>> is_url_below("https://example.org@10.0.0.1/a", "https://example.org")
    False
    """
    if not url.startswith(base_url.rstrip("/") + "/"):
        return False
    inside = url[len(base_url) :]
    steps = unquote(inside) if url.startswith("http") else inside  # web servers decode %2e to a dot
    return ".." not in steps.split("/") and "\\" not in steps and steps.isprintable()


def _read_local(path: str, start: int, stop: int) -> FileContent:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
            size = file.seek(0, 2)
            file.seek(start)
            data = bytearray()
            while len(data) < stop - start and (part := file.read(stop - start - len(data))):
                data += part
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InvalidSpectrumError(QuarantineReason.NOT_FOUND, f"no file at {path}") from error
    except PermissionError as error:
        raise InvalidSpectrumError(QuarantineReason.DENIED, f"{path}: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidSpectrumError(
                QuarantineReason.NOT_FOUND, f"no file has a name of {len(path)} characters"
            ) from error
        raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, f"{path}: {error.strerror}") from error
    return FileContent(bytes(data), size)
