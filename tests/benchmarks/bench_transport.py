"""Requests of ranges of 46 to 80 kB from a server on the loopback interface, 64 at a time, from one process.

distspec, with all its checks and signatures, is compared with aiohttp on URLs that obstore signs, with
obstore's own requests, with fsspec over HTTP and, if it is installed, with s3fs: requests per second and CPU
time per request. The server does not check signatures and is not the bottleneck. 2,000 requests per
repetition.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import obstore
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from distspec.io import storage
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.io.remote.files import open_archive_client
from distspec.io.remote.http import sign_url
from tests.benchmarks.serving import Server, serve_folder
from tests.benchmarks.timing import Row, Workload, rate_row, time_pair

N_FILES, N_REQUESTS, N_CONCURRENT = 250, 2000, 64
BUCKET_URL = "s3://bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-secret"}
ByteRange = tuple[str, int, int]
"""Name of a file, first byte, and the byte after the last."""
Client = Callable[[Sequence[ByteRange]], Awaitable[None]]
"""Requests ranges, and checks the lengths of the answers."""


def run() -> list[Row]:
    rng = random.Random(0)
    names = [f"{i}.fits" for i in range(N_FILES)]
    ranges = [(rng.choice(names), 0, rng.randrange(46_000, 80_000)) for _ in range(N_REQUESTS)]
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        for name in names:
            path = Path(folder) / "bucket" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(rng.randbytes(100_000))
        with (
            serve_folder(folder) as server,
            patch.dict(os.environ, CREDENTIALS | {"AWS_ENDPOINT_URL": server.url}),
        ):
            clients: dict[str, Client] = {
                "aiohttp, signed URLs": _request_with_aiohttp,
                "obstore": _request_with_obstore,
                "fsspec, HTTP": _make_fsspec_client(server.url),
            }
            if find_spec("s3fs"):
                clients["s3fs"] = _make_s3fs_client(server.url)
            return [row for name, client in clients.items() for row in _compare(server, name, client, ranges)]


def _compare(server: Server, name: str, client: Client, ranges: Sequence[ByteRange]) -> list[Row]:
    cpu_times: dict[str, list[float]] = {name: [], "distspec": []}

    def make_workload(client_name: str, client: Client) -> Workload:
        def workload() -> None:
            start = time.process_time()
            asyncio.run(_await(client(ranges)))
            cpu_times[client_name].append(1e6 * (time.process_time() - start) / len(ranges))

        return workload

    seconds, other_seconds = time_pair(
        make_workload("distspec", _request_with_distspec), make_workload(name, client)
    )
    # Without the calls before the timing.
    cpu = {key: Row(f"{key}: CPU per request", "µs", tuple(times[1:])) for key, times in cpu_times.items()}
    reference = rate_row(f"{name} from {server.software}", len(ranges), "requests", other_seconds)
    row = rate_row(f"distspec from {server.software}", len(ranges), "requests", seconds)
    return [row.relative_to(reference), reference, cpu["distspec"].relative_to(cpu[name]), cpu[name]]


async def _await(awaitable: Awaitable[None]) -> None:
    await awaitable


async def _request_with_distspec(ranges: Sequence[ByteRange]) -> None:
    async with open_archive_client(BUCKET_URL, DEFAULT_ACCESS) as client:
        parts = await asyncio.gather(
            *(client.read_range(f"{BUCKET_URL}/{name}", start, stop) for name, start, stop in ranges)
        )
    assert [len(part.data) for part in parts] == _get_lengths(ranges)


async def _request_with_aiohttp(ranges: Sequence[ByteRange]) -> None:
    connector = aiohttp.TCPConnector(limit=N_CONCURRENT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(name: str, start: int, stop: int) -> bytes:
            url = URL(sign_url(f"{BUCKET_URL}/{name}", DEFAULT_ACCESS), encoded=True)
            async with session.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}) as response:
                return await response.read()

        parts = await asyncio.gather(*(get(*byte_range) for byte_range in ranges))
    assert [len(part) for part in parts] == _get_lengths(ranges)


async def _request_with_obstore(ranges: Sequence[ByteRange]) -> None:
    bucket = storage.open_bucket("s3", "bucket")

    async def get(name: str, start: int, stop: int) -> Any:
        response = await obstore.get_async(bucket, name, options={"range": (start, stop)})
        return await response.bytes_async()

    await _request_concurrently(get, ranges)


def _make_fsspec_client(url: str) -> Client:
    async def request(ranges: Sequence[ByteRange]) -> None:
        filesystem: Any = HTTPFileSystem(asynchronous=True, skip_instance_cache=True)
        session = await filesystem.set_session()
        await _request_concurrently(
            lambda name, start, stop: filesystem._cat_file(f"{url}/bucket/{name}", start, stop), ranges
        )
        await session.close()

    return request


def _make_s3fs_client(url: str) -> Client:
    async def request(ranges: Sequence[ByteRange]) -> None:
        settings = {"endpoint_url": url, "config_kwargs": {"max_pool_connections": N_CONCURRENT}}
        filesystem_class: Any = import_module("s3fs").S3FileSystem
        filesystem = filesystem_class(asynchronous=True, skip_instance_cache=True, **settings)
        session = await filesystem.set_session()
        await _request_concurrently(
            lambda name, start, stop: filesystem._cat_file(f"bucket/{name}", start=start, end=stop), ranges
        )
        await session.close()

    return request


async def _request_concurrently(get: Callable[..., Awaitable[Any]], ranges: Sequence[ByteRange]) -> None:
    slots = asyncio.Semaphore(N_CONCURRENT)

    async def get_in_slot(byte_range: ByteRange) -> Any:
        async with slots:
            return await get(*byte_range)

    parts = await asyncio.gather(*map(get_in_slot, ranges))
    assert [len(part) for part in parts] == _get_lengths(ranges)


def _get_lengths(ranges: Sequence[ByteRange]) -> list[int]:
    return [stop - start for _, start, stop in ranges]
