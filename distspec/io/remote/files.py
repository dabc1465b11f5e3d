"""Reading an archive's files: many at a time, tried again when that helps, no more than allowed.

Local files are read directly; http(s) and, by signed URLs, s3 through aiohttp, which follows no redirect by
itself; gs and az through obstore. Every failure is a `InvalidSpectrumError` with one reason.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import zlib
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
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
    """Run a coroutine in an event loop of its own and return its result.

    Examples
    --------
    >>> async def read() -> bytes:
    ...     return b"SIMPLE"
    >>> run(read())
    b'SIMPLE'
    """
    results: list[Result] = []

    async def keep() -> None:
        results.append(await coroutine)

    # Not returned: asyncio.run, when it gives Ctrl-C back, writes out its task and all that this returned,
    # which for arrays and whole files takes longer than reading them.
    asyncio.run(keep())
    return results[0]


GZIP_MAGIC = b"\x1f\x8b"
CHUNK_SIZE = 1 << 20


def decompress_gzip(content: bytes, max_bytes: int) -> bytes:
    """Return what a gzip file holds, every member of it.

    Raises
    ------
    BadSpectrumError
        ``too_large`` beyond `max_bytes` bytes; ``unreadable`` where it is cut short or its checksum is wrong.
    """
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while part := file.read(min(CHUNK_SIZE, max_bytes + 1 - len(unpacked))):
                unpacked += part
                if len(unpacked) > max_bytes:
                    seen = f"{len(content):,} bytes of gzip unpack to more than {max_bytes:,}"
                    raise InvalidSpectrumError(QuarantineReason.TOO_LARGE, seen)
    except (EOFError, zlib.error, OSError) as error:
        seen = f"damaged gzip after {len(unpacked):,} unpacked bytes: {error}"
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, seen) from error
    return bytes(unpacked)


class ArchiveFile:
    """One file of an archive; what was read of it once is kept while its task runs."""

    def __init__(self, files: ArchiveClient, url: str) -> None:
        self.url = url
        self._files = files
        self._lock = asyncio.Lock()
        self._content: FileContent | None = None
        self._blocks: dict[Any, list[bytes]] = {}

    async def read_head(self, n_bytes: int) -> FileContent:
        """Return at least the first `n_bytes` bytes, fewer if there are no more; a gzipped file unpacked, whole.

        Raises
        ------
        BadSpectrumError
        """
        async with self._lock:
            if self._content is None or len(self._content.data) < min(n_bytes, self._content.file_size):
                content = await self._files.read_range(self.url, 0, n_bytes)
                if content.data.startswith(GZIP_MAGIC):
                    if len(content.data) < content.file_size:
                        content = await self._files.read_range(self.url, 0, content.file_size)
                    limit = int(self._files.config.max_unpacked_mb * 1e6)
                    data = decompress_gzip(content.data, limit)
                    content = FileContent(data, len(data))
                self._content = content
            return self._content

    async def read_all(self) -> FileContent:
        """Return the whole file, unpacked if it is gzipped.

        Raises
        ------
        BadSpectrumError
        """
        return await self.read_head(int(self._files.config.max_file_mb * 1e6))

    async def read_ranges(self, byte_ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return some byte ranges, (start, stop) each.

        Raises
        ------
        BadSpectrumError
        """
        key = tuple(byte_ranges)
        async with self._lock:
            if key not in self._blocks:
                parts = await asyncio.gather(
                    *(self._files.read_range(self.url, *span) for span in byte_ranges)
                )
                for (start, stop), part in zip(byte_ranges, parts, strict=True):
                    if len(part.data) != stop - start:
                        seen = f"{self.url} ends at byte {part.file_size:,}, before {stop:,}"
                        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, seen)
                self._blocks[key] = [part.data for part in parts]
            return self._blocks[key]


class ArchiveClient:
    """The files below one archive's URL; open with `open_archive_client`."""

    def __init__(self, base_url: str, config: AccessConfig, session: aiohttp.ClientSession) -> None:
        self.config = config
        self._base = base_url.rstrip("/")
        self._session = session
        self._slots = asyncio.Semaphore(config.in_flight)
        self.n_bytes_read = 0
        """Read so far."""
        self._tries = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(config.attempts),
            wait=wait_random_exponential(multiplier=0.2, max=10.0),
            reraise=True,
        )

    def get_file(self, url: str) -> ArchiveFile:
        """Return a file below the archive's URL.

        Raises
        ------
        BadSpectrumError
            ``outside`` where the URL leads elsewhere.
        """
        if not is_url_below(url, self._base):
            raise InvalidSpectrumError(QuarantineReason.OUTSIDE, f"{url} does not lie below {self._base}")
        return ArchiveFile(self, url)

    async def read_range(self, url: str, start: int, stop: int) -> FileContent:
        """Return bytes start … stop − 1, fewer at the end of the file, and the file's size.

        Raises
        ------
        BadSpectrumError
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
            seen = f"{url} has {content.file_size:,} bytes, more than {limit:,}"
            raise InvalidSpectrumError(QuarantineReason.TOO_LARGE, seen)
        if len(content.data) < min(stop, content.file_size) - start:  # or who reads on would ask for ever
            seen = f"{url} gives {len(content.data):,} bytes from byte {start:,}, of {content.file_size:,} in all"
            raise InvalidSpectrumError(QuarantineReason.UNREADABLE, seen)
        self.n_bytes_read += len(content.data)
        return content

    async def _read_remote(self, url: str, start: int, stop: int) -> FileContent:
        scheme = url.partition("://")[0]
        try:
            async with asyncio.timeout(self.config.deadline):
                if scheme in {"gs", "az"}:
                    return await self._tries.copy()(self._read_obstore, url, start, stop)
                return await self._tries.copy()(read_http, self._session, url, start, stop, self.config)
        except TimeoutError as error:
            seen = f"{url}: no answer in {self.config.deadline:g} s of tries"
            raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, seen) from error
        except TransientError as error:
            seen = f"{url}: {error}, {self.config.attempts} times"
            raise InvalidSpectrumError(QuarantineReason.UNREACHABLE, seen) from error

    async def _read_obstore(self, url: str, start: int, stop: int) -> FileContent:
        """One try through obstore, whose own tries come first."""
        scheme, name, key = split_url(url)
        where = open_archive_bucket(scheme, name, self.config)
        try:
            answer = await obstore.get_async(where, key, options={"range": (start, stop)})
            return FileContent(bytes(await answer.bytes_async()), answer.meta["size"])
        except FileNotFoundError as error:
            raise InvalidSpectrumError(QuarantineReason.NOT_FOUND, f"no file at {url}") from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise InvalidSpectrumError(QuarantineReason.DENIED, f"{url}: access refused") from error
        except (ObstoreError, OSError) as error:
            raise TransientError(type(error).__name__) from error


@asynccontextmanager
async def open_archive_client(base_url: str, config: AccessConfig) -> AsyncGenerator[ArchiveClient]:
    """Yield the files below an archive's URL."""
    timeout = aiohttp.ClientTimeout(total=config.timeout, sock_connect=min(10.0, config.timeout))
    connector = aiohttp.TCPConnector(limit=config.in_flight)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield ArchiveClient(base_url, config, session)


def is_url_below(url: str, base_url: str) -> bool:
    """Tell whether a URL lies below another, with no step up or aside in it.

    Examples
    --------
    >>> is_below("s3://bucket/a/b.fits", "s3://bucket/a")
    True
    >>> is_below("s3://bucket/a/../c.fits", "s3://bucket/a")
    False
    >>> is_below("https://example.org@10.0.0.1/a", "https://example.org")
    False
    """
    if not url.startswith(base_url.rstrip("/") + "/"):
        return False
    inside = url[len(base_url) :]
    steps = unquote(inside) if url.startswith("http") else inside  # a server takes %2e for a dot
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
