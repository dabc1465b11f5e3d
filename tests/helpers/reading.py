"""Reading spectra as ingest does, except that unexpected errors fail the test."""

import asyncio

from distspec.archives.base import SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import InvalidSpectrumError
from distspec.ingest.read import listing_to_entries
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.io.remote.files import open_archive_client


def read_entries(archive, batch):
    """Return each spectrum or its `InvalidSpectrumError`; entries of one file share it."""

    async def read():
        bases = [make_absolute_url(url) for url in archive.base_urls]
        async with open_archive_client(bases, DEFAULT_ACCESS) as files:
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
    """Return all spectra of a listing, by default of the archive's, by object_id."""
    listing = archive.list_spectra() if listing is None else listing
    return dict(
        zip(listing["object_id"].to_pylist(), read_entries(archive, listing_to_entries(listing)), strict=True)
    )


def read_path(archive, path, z=5.0, part=""):
    """Read one spectrum of a local file."""
    uri = f"file://{path}" + (f"#{part}" if part else "")
    return read_entries(archive, [SpectrumEntry(path.stem, "", uri, 10.0, 2.0, z)])[0]


def reason(result):
    """Return the reason of an error, None for a spectrum."""
    return result.reason if isinstance(result, InvalidSpectrumError) else None
