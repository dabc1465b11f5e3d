"""Reading spectra as ingest does, but for what nobody foresaw: that fails the test."""

import asyncio

from distspec.archives.base import SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import InvalidSpectrumError
from distspec.ingest.read import listing_to_entries
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.io.remote.files import open_archive_client


def read_entries(archive, batch):
    """Each spectrum or why it cannot be had; entries of one file share it."""

    async def read():
        async with open_archive_client(make_absolute_url(archive.url), DEFAULT_ACCESS) as files:
            opened, results = {}, []
            for entry in batch:
                try:
                    file = opened.setdefault(entry.file_url, files.get_file(entry.file_url))
                    results.append(await archive.read(entry, file))
                except InvalidSpectrumError as error:
                    results.append(error)
            return results

    return asyncio.run(read())


def read_listing(archive, listing=None):
    """Read all that an archive lists, by object_id."""
    listing = archive.list_spectra() if listing is None else listing
    return dict(
        zip(listing["object_id"].to_pylist(), read_entries(archive, listing_to_entries(listing)), strict=True)
    )


def read_path(archive, path, z=5.0, part=""):
    """Read one file of a folder."""
    uri = f"file://{path}" + (f"#{part}" if part else "")
    return read_entries(archive, [SpectrumEntry(path.stem, "", uri, 10.0, 2.0, z)])[0]


def reason(result):
    """Return the reason of a failure, None of a spectrum."""
    return result.reason if isinstance(result, InvalidSpectrumError) else None
