"""Ingest of 8,000 spectra from SeaweedFS on the loopback interface into a new store on local disk.

The spectra share 300 files of 285 kB, of each of which a range of 81 kB is read. Ingest from listing to last
commit on Ray with two CPUs, each with 32 requests at a time, is compared with one process that only requests
the same ranges, 64 at a time, through aiohttp on signed URLs; the goal is a ratio of at least 0.7. The server
shares the cores. Workers are started before anything is timed.
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
from tests.benchmarks.archive import RepeatedArchive, local_ray, new_roots, simulated_files
from tests.benchmarks.timing import Row, rate_row, time_pair
from tests.helpers.seaweed import S3, serve

N_FILES, N_SPECTRA, N_CPUS, N_CONCURRENT = 300, 8000, 2, 64
BUCKET = "benchmark"


def run() -> list[Row]:
    access = AccessConfig(in_flight=N_CONCURRENT // N_CPUS)
    with (
        serve() as (endpoint, client),
        patch.dict(os.environ, S3(endpoint, client, BUCKET).environment),
        simulated_files(N_FILES, write_2d_spectra=True, url=_create_bucket(client)) as files,
        local_ray(N_CPUS),
        new_roots() as new_root,
    ):
        source = ArchiveSource(RepeatedArchive(files, N_SPECTRA), access)
        uris = source.archive.list_spectra(access)["uri"].to_pylist()
        seconds, bare = time_pair(lambda: ingest(new_root(), source), lambda: asyncio.run(_request(uris)))
    reference = rate_row(f"requests alone, {N_CONCURRENT} at a time", N_SPECTRA, "spectra", bare)
    row = rate_row("ingest from SeaweedFS (goal 0.7)", N_SPECTRA, "spectra", seconds)
    return [row.relative_to(reference), reference]


def _create_bucket(client: Any) -> str:
    """Create the bucket and return its URL."""
    client.create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}"


async def _request(uris: Sequence[str]) -> None:
    """Read the beginning of each file."""
    connector = aiohttp.TCPConnector(limit=N_CONCURRENT)
    headers = {"Range": f"bytes=0-{HEAD_BYTES - 1}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(uri: str) -> int:
            url = URL(sign_url(uri, DEFAULT_ACCESS), encoded=True)
            async with session.get(url, headers=headers) as response:
                return len(await response.read())

        sizes = await asyncio.gather(*map(get, uris))
    assert set(sizes) == {HEAD_BYTES}
