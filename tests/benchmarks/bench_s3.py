"""Ingest of 8,000 new spectra from SeaweedFS on loopback into a new store on local disk.

300 files of 285 kB come round and round; of each a range of 81 kB is read. Catalogue to last commit on a
Ray of two CPUs, 32 requests at a time each, against one process that does nothing but GET the same ranges
in the same order, 64 at a time, through aiohttp on signed URLs: at least 0.7. The server has the same cores.
Workers have started and imported before anything is timed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import aiohttp
from yarl import URL

from distspec.archives.dja import HEAD_BYTES
from distspec.ingest.source import ArchiveSource
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.http import sign_url
from distspec.stages.ingest import ingest
from tests.benchmarks.archive import Repeated, fresh_roots, local_ray, written
from tests.benchmarks.timing import Row, paired, rate
from tests.helpers.seaweed import S3, serve

N_FILES, N_SPECTRA, CPUS, AT_A_TIME = 300, 8000, 2, 64
BUCKET = "benchmark"


def run() -> list[Row]:
    access = AccessConfig(in_flight=AT_A_TIME // CPUS)
    with (
        serve() as (endpoint, client),
        patch.dict(os.environ, S3(endpoint, client, BUCKET).environment),
        written(N_FILES, images=True, url=_bucket(client)) as files,
        local_ray(CPUS),
        fresh_roots() as root,
    ):
        source = ArchiveSource(Repeated(files, N_SPECTRA), access)
        uris = source.archive.list_spectra(access)["uri"].to_pylist()
        ours, bare = paired(lambda: ingest(root(), source), lambda: asyncio.run(_get(uris)))
    gets = rate(f"bare GETs, {AT_A_TIME} at a time", N_SPECTRA, "spectra", bare)
    return [rate("ingest from SeaweedFS (goal 0.7)", N_SPECTRA, "spectra", ours).run_null_test(gets), gets]


def _bucket(client: Any) -> str:
    """Make the bucket and return its URL."""
    client.create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}"


async def _get(uris: Sequence[str]) -> None:
    connector = aiohttp.TCPConnector(limit=AT_A_TIME)
    headers = {"Range": f"bytes=0-{HEAD_BYTES - 1}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(uri: str) -> int:
            async with session.get(
                URL(sign_url(uri, DEFAULT_ACCESS), encoded=True), headers=headers
            ) as answer:
                return len(await answer.read())

        sizes = await asyncio.gather(*map(get, uris))
    assert set(sizes) == {HEAD_BYTES}
