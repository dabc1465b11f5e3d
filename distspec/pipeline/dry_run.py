"""What a run would do, found out without writing anything: what is listed, left out, refused and proposed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.archives.base import Archive
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineRecord
from distspec.core.listing import Listing, RowCounts
from distspec.core.spectrum import Spectrum
from distspec.ingest.diff import clean_listing, compare_listing, count_rows
from distspec.ingest.proposals import complete_from_store, describe_proposals, propose_settings
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import check_store_config, make_store_config, select_pilot_sample
from distspec.io.files import url_exists
from distspec.io.paths import join_url, store_url
from distspec.io.storage import use_storage
from distspec.pipeline.config import Config
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.store import Store, open_store, store_exists


def dry_run(config: Config) -> Iterator[str]:
    """Describe what a run would do, without Ray and without writing anything.

    Parameters
    ----------
    config : Config
        All settings.

    Yields
    ------
    str
        Lines of text: what the files were understood as, if the archive has files of any form; what becomes
        of the rows of the listing, by reason; how a sample is read; and which settings are proposed.

    Raises
    ------
    ArchiveError
        If the archive cannot be listed or nothing of it can be used; the message has all reasons.
    StoreError
        If the store was created with other settings.
    """
    with use_storage(config.storage):
        if config.simulation is not None and _is_not_simulated(config):
            yield f"{config.simulation.n_spectra:,} spectra would be simulated: there is nothing to list yet"
            return
        source = config.ingest_source()
        explanation = source.archive.explain_listing(source.access)
        listing = explanation.listing
        yield from explanation.lines
        counts = count_rows(listing.counts, listing.spectra)
        yield from _describe_counts(counts, listing, source.archive)
        if not len(listing.spectra):
            remedy = source.archive.suggest_remedy(listing)
            raise ArchiveError(f"the archive lists no spectrum that the selection keeps ({counts}): {remedy}")
        url = store_url(config.root)
        store = open_store(url) if store_exists(url) else None
        if store is not None:
            source = complete_from_store(source, store.config)
            check_store_config(store.config, source)
        diff = compare_listing(listing.spectra, store, malformed=listing.rejected)
        state = "new" if store is None else f"{store.n_rows:,} rows"
        changes = f"{len(diff.withdrawn_rows):,} withdrawn, {len(diff.restored_rows):,} returned"
        yield f"store: {state}; {len(diff.to_read):,} spectra would be read, {changes}"
        if len(diff.to_read):
            yield from _describe_sample(source, store, diff.to_read)


def tabulate_listing(config: Config) -> pa.Table:
    """Return a table with a row for each spectrum that a run would find, without writing anything.

    Parameters
    ----------
    config : Config
        All settings.

    Returns
    -------
    Table
        `distspec.archives.base.ListingExplanation.table`; without columns if the archive is still to be
        simulated.

    Raises
    ------
    ArchiveError
        If the archive cannot be listed.
    """
    with use_storage(config.storage):
        if config.simulation is not None and _is_not_simulated(config):
            return pa.table({})
        source = config.ingest_source()
        return source.archive.explain_listing(source.access).table


def _is_not_simulated(config: Config) -> bool:
    return not url_exists(join_url(config.simulation_url, "catalog.csv"))


def _describe_counts(counts: RowCounts, listing: Listing, archive: Archive) -> Iterator[str]:
    """Yield what becomes of the rows of a listing."""
    yield f"catalog: {counts}"
    for reason, n in sorted(counts.deselected.items()):
        yield f"  left out: {n:,} {explain_reason(reason, archive)}"
    _, unusable = clean_listing(listing.spectra)
    yield from _describe_rejected([*listing.rejected, *unusable])
    n_without = len(listing.spectra) - int(np.isfinite(listing.spectra["ra"].to_numpy()).sum())
    if n_without and not archive.requires_position:
        yield f"  {n_without:,} selected spectra have no position"


def explain_reason(reason: str, archive: Archive) -> str:
    """Return the reason for which rows of a listing are left out, with the settings that decide it.

    Parameters
    ----------
    reason : str
        A key of `distspec.core.listing.RowCounts.deselected`.
    archive : Archive
        The archive with its options.

    Returns
    -------
    str

    Examples
    --------
    >>> from distspec.archives.dja import DJA
    >>> explain_reason("z", DJA(z_min=4.0)), explain_reason("grade", DJA())
    ('not 4 < z <= 20', 'grade (--archive.grades 3)')
    """
    settings: Any = archive
    if reason == "z" and hasattr(archive, "z_min"):
        upper = f" <= {settings.z_max:g}" if hasattr(archive, "z_max") else ""
        return f"not {settings.z_min:g} < z{upper}" if upper else f"not z > {settings.z_min:g}"
    for name in (reason, f"{reason}s", f"z_{reason}"):
        if hasattr(archive, name):
            value = getattr(archive, name)
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            return f"{reason} (--archive.{name.replace('_', '-')} {text})"
    return reason


def _describe_sample(source: ArchiveSource, store: Store | None, listing: pa.Table) -> Iterator[str]:
    """Yield how a sample of the spectra is read, and which settings are proposed for a new store."""
    sample = select_pilot_sample(listing)
    entries = listing_to_entries(sample)
    outcomes = read_archive_spectra(source.archive, source.access, entries, source.archive.requires_position)
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    refused = [
        QuarantineRecord(entry.object_id, entry.version, entry.uri, outcome.reason, outcome.detail)
        for entry, outcome in zip(entries, outcomes, strict=True)
        if isinstance(outcome, InvalidSpectrumError)
    ]
    if not spectra:
        yield f"sample: none of {len(sample):,} spectra can be read"
        yield from _describe_rejected(refused)
        return
    requested, source = source, propose_settings(spectra, source)
    z = np.array([spectrum.z for spectrum in spectra])
    config = store.config if store is not None else make_store_config(spectra, z, source)
    batch, failures = preprocess(spectra, config.grid, source.norm, config.default_slope)
    refused += [
        QuarantineRecord(spectra[i].object_id, "", "", error.reason, error.detail) for i, error in failures
    ]
    yield f"sample: {len(batch):,} of {len(sample):,} spectra can be used"
    yield from _describe_rejected(refused)
    grid = config.grid
    yield (
        f"grid: {grid.n_pixels} pixels ({grid.spacing}), {grid.start:.0f}–{grid.stop:.0f} Å in the rest "
        f"frame; normalized at {config.reference_wave:.0f} Å"
    )
    if flags := describe_proposals(requested, source):
        yield f"proposed from the sample, and fixed when the store is created: {' '.join(flags)}"


def _describe_rejected(records: Sequence[QuarantineRecord]) -> Iterator[str]:
    """Yield the number of records of each reason, with an example."""
    first: dict[str, QuarantineRecord] = {}
    for record in records:
        first.setdefault(str(record.reason), record)
    for reason, n in Counter(str(record.reason) for record in records).most_common():
        yield f"  refused: {n:,} {reason}, the first {first[reason].object_id}: {first[reason].detail}"
