"""Ranges of 46–80 kB from a server on loopback, 64 at a time, one client process: requests/s and CPU time.

What distspec does, every check and signature with it, against bare aiohttp on URLs that obstore signs,
obstore's own GET, fsspec over HTTP and, where it is installed, s3fs. The server is nginx where there is one,
else one of ours; it checks no signature and is no bottleneck. 2,000 requests a repeat.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
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
from tests.benchmarks.serving import served
from tests.benchmarks.timing import Row, paired, rate

N_FILES, N_REQUESTS, AT_A_TIME = 250, 2000, 64
BUCKET = "s3://bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-secret"}
Span = tuple[str, int, int]
Client = Callable[[Sequence[Span]], Awaitable[None]]


def run() -> list[Row]:
    rng = random.Random(0)
    names = [f"{i}.fits" for i in range(N_FILES)]
    spans = [(rng.choice(names), 0, rng.randrange(46_000, 80_000)) for _ in range(N_REQUESTS)]
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        for name in names:
            path = Path(folder) / "bucket" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(rng.randbytes(100_000))
        with served(folder) as (url, server), patch.dict(os.environ, KEYS | {"AWS_ENDPOINT_URL": url}):
            others = {"aiohttp, signed URLs": _aiohttp, "obstore": _obstore, "fsspec, HTTP": _fsspec(url)}
            if find_spec("s3fs"):
                others["s3fs"] = _s3fs(url)
            return [row for name, other in others.items() for row in _compare(server, name, other, spans)]


def _compare(server: str, name: str, other: Client, spans: Sequence[Span]) -> list[Row]:
    spent: dict[str, list[float]] = {name: [], "distspec": []}

    def work(who: str, client: Client) -> Callable[[], None]:
        def requests() -> None:
            start = time.process_time()
            asyncio.run(_none(client(spans)))
            spent[who].append(1e6 * (time.process_time() - start) / len(spans))

        return requests

    ours, theirs = paired(work("distspec", _distspec), work(name, other))
    # The first of each ran to warm up.
    cpu = {who: Row(f"{who}: CPU a request", "µs", tuple(each[1:])) for who, each in spent.items()}
    speed = rate(f"{name} from {server}", len(spans), "requests", theirs)
    return [
        rate(f"distspec from {server}", len(spans), "requests", ours).run_null_test(speed),
        speed,
        cpu["distspec"].run_null_test(cpu[name]),
        cpu[name],
    ]


async def _none(work: Awaitable[None]) -> None:
    await work


async def _distspec(spans: Sequence[Span]) -> None:
    async with open_archive_client(BUCKET, DEFAULT_ACCESS) as files:
        parts = await asyncio.gather(
            *(files.read_range(f"{BUCKET}/{name}", start, stop) for name, start, stop in spans)
        )
    assert [len(part.data) for part in parts] == _lengths(spans)


async def _aiohttp(spans: Sequence[Span]) -> None:
    connector = aiohttp.TCPConnector(limit=AT_A_TIME)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(name: str, start: int, stop: int) -> bytes:
            url = URL(sign_url(f"{BUCKET}/{name}", DEFAULT_ACCESS), encoded=True)
            async with session.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}) as answer:
                return await answer.read()

        parts = await asyncio.gather(*(get(*span) for span in spans))
    assert [len(part) for part in parts] == _lengths(spans)


async def _obstore(spans: Sequence[Span]) -> None:
    bucket = storage.open_bucket("s3", "bucket")

    async def get(name: str, start: int, stop: int) -> Any:
        answer = await obstore.get_async(bucket, name, options={"range": (start, stop)})
        return await answer.bytes_async()

    await _limited(get, spans)


def _fsspec(url: str) -> Client:
    async def read(spans: Sequence[Span]) -> None:
        filesystem: Any = HTTPFileSystem(asynchronous=True, skip_instance_cache=True)
        session = await filesystem.set_session()
        await _limited(lambda name, *span: filesystem._cat_file(f"{url}/bucket/{name}", *span), spans)
        await session.close()

    return read


def _s3fs(url: str) -> Client:
    async def read(spans: Sequence[Span]) -> None:
        from s3fs import S3FileSystem

        settings = {"endpoint_url": url, "config_kwargs": {"max_pool_connections": AT_A_TIME}}
        filesystem: Any = S3FileSystem(asynchronous=True, skip_instance_cache=True, **settings)
        session = await filesystem.set_session()
        await _limited(
            lambda name, start, stop: filesystem._cat_file(f"bucket/{name}", start=start, end=stop), spans
        )
        await session.close()

    return read


async def _limited(get: Callable[..., Awaitable[Any]], spans: Sequence[Span]) -> None:
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(span: Span) -> Any:
        async with slots:
            return await get(*span)

    parts = await asyncio.gather(*map(one, spans))
    assert [len(part) for part in parts] == _lengths(spans)


def _lengths(spans: Sequence[Span]) -> list[int]:
    return [stop - start for _, start, stop in spans]
