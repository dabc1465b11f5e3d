"""Reading spectra as ingest does, but for what nobody foresaw: that fails the test."""

import asyncio

from distspec.archives.base import Entry
from distspec.archives.catalogs import absolute
from distspec.core.errors import BadSpectrumError
from distspec.ingest.read import entries
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.io.remote.files import open_files


def read_entries(archive, batch):
    """Each spectrum or why it cannot be had; entries of one file share it."""

    async def read():
        async with open_files(absolute(archive.url), DEFAULT_ACCESS) as files:
            opened, results = {}, []
            for entry in batch:
                try:
                    file = opened.setdefault(entry.file, files.file(entry.file))
                    results.append(await archive.read(entry, file))
                except BadSpectrumError as error:
                    results.append(error)
            return results

    return asyncio.run(read())


def read_listing(archive, listing=None):
    """Read all that an archive lists, by object_id."""
    listing = archive.list() if listing is None else listing
    return dict(zip(listing["object_id"].to_pylist(), read_entries(archive, entries(listing)), strict=True))


def read_path(archive, path, z=5.0, part=""):
    """Read one file of a folder."""
    uri = f"file://{path}" + (f"#{part}" if part else "")
    return read_entries(archive, [Entry(path.stem, "", uri, 10.0, 2.0, z)])[0]


def reason(result):
    """Return the reason of a failure, None of a spectrum."""
    return result.reason if isinstance(result, BadSpectrumError) else None
