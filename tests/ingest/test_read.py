import errno
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from distspec.archives.base import LISTING_SCHEMA
from distspec.core.errors import InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.schema import Column
from distspec.core.spectrum import compute_row_checksums
from distspec.ingest.read import (
    LoadedBatch,
    is_outage,
    listing_to_entries,
    load_batch,
    read_archive_spectra,
)
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.store.columns import METADATA_COLUMNS
from tests.conftest import power_law
from tests.helpers.fake_archive import GRID, NORM, FakeArchive, fake


def load(archive, listing=None):
    return load_batch(archive, DEFAULT_ACCESS, listing or archive.list_spectra(), GRID, NORM, -2.0)


def test_each_entry_becomes_one_row_or_one_rejection():
    batch = load(fake("good1", "bad1", "dark1", "good2"))
    assert batch.rows["object_id"].to_pylist() == ["good1", "good2"]
    assert {record.object_id: record.reason for record in batch.rejected} == {
        "bad1": QuarantineReason.UNREADABLE,
        "dark1": QuarantineReason.NO_NORMALIZATION,
    }
    flux, ivar = batch.block
    assert flux.shape == ivar.shape == (2, 32)
    assert np.array_equal(batch.rows["checksum"].to_numpy(), compute_row_checksums(flux, ivar))


def test_rows_hold_all_ledger_columns_known_before_the_commit():
    rows = load(fake("good1")).rows
    assert set(rows.column_names) == {*METADATA_COLUMNS, "source_key"} - {"source_id", "ingest_commit"}


def test_a_batch_without_good_spectra_is_empty():
    batch = load(fake("bad1", "bad2"))
    assert len(batch.rows) == 0
    assert batch.block[0].shape == (0, 32)


def test_an_unexpected_error_of_a_parser_rejects_the_spectrum():
    class BrokenArchive(FakeArchive):
        async def read(self, entry, file):
            raise ZeroDivisionError("by a damaged header")

    entries = listing_to_entries(fake("a").list_spectra())
    (outcome,) = read_archive_spectra(BrokenArchive(), DEFAULT_ACCESS, entries)
    assert isinstance(outcome, InvalidSpectrumError)
    assert str(outcome) == "unreadable: ZeroDivisionError: by a damaged header"


def change_first_row(listing, **values):
    rows = [row | values if i == 0 else row for i, row in enumerate(listing.to_pylist())]
    return pa.Table.from_pylist(rows, schema=LISTING_SCHEMA)


def test_a_full_disk_rejects_no_spectrum():
    class FullDisk(FakeArchive):
        async def read(self, entry, file):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        load(FullDisk(names=("good1",)))


@pytest.mark.parametrize("position", [{"ra": float("nan")}, {"ra": 370.0}, {"ra": -181.0}, {"dec": 95.0}])
def test_a_missing_or_impossible_position_rejects_the_spectrum(position):
    archive = fake("good00", "good01")
    batch = load(archive, change_first_row(archive.list_spectra(), **position))
    assert batch.rows["object_id"].to_pylist() == ["good01"]
    assert [record.reason for record in batch.rejected] == [QuarantineReason.BAD_POSITION]


def test_negative_right_ascensions_become_positive():
    archive = fake("good00", "good01")
    batch = load(archive, change_first_row(archive.list_spectra(), ra=-10.0))
    assert batch.rows["ra"].to_pylist()[0] == 350.0
    assert batch.rejected == []


def test_position_and_redshift_are_taken_from_the_file_where_the_listing_has_none():
    class ArchiveWithPositions(FakeArchive):
        async def read(self, entry, file):
            return replace(power_law(entry.object_id, z=5.25), ra=12.0, dec=-3.0)

    archive = ArchiveWithPositions(names=("good00", "good01"))
    nan = float("nan")
    listing = change_first_row(archive.list_spectra(), ra=nan, dec=nan, z=nan)
    rows = load(archive, listing).rows
    assert rows["ra"].to_pylist() == [12.0, listing["ra"][1].as_py()], "the listing has precedence"
    assert rows["z"].to_pylist() == [5.25, 5.25], "the redshift of the rest-frame shift"


def test_a_url_outside_the_archive_is_not_read():
    archive = fake("good00", "good01")
    batch = load(archive, change_first_row(archive.list_spectra(), uri="file:///etc/passwd"))
    assert [(record.object_id, record.reason) for record in batch.rejected] == [
        ("good00", QuarantineReason.OUTSIDE)
    ]


def test_an_outage_is_told_apart_from_a_bad_batch():
    rows = load(fake("good1")).rows
    none = rows.slice(0, 0)
    unreachable = [QuarantineRecord(str(i), "", "", QuarantineReason.UNREACHABLE, "") for i in range(8)]
    damaged = QuarantineRecord("", "", "", QuarantineReason.BAD_TABLE, "")
    assert is_outage(LoadedBatch(None, none, unreachable))
    assert not is_outage(LoadedBatch(None, rows, unreachable))
    assert not is_outage(LoadedBatch(None, none, unreachable[:7]))
    assert not is_outage(LoadedBatch(None, none, [*unreachable, damaged]))


def test_rows_hold_the_observations_that_the_archive_reads():
    class ArchiveWithPrograms(FakeArchive):
        observation_columns = (Column("program", pa.string(), "", "Program."),)

        async def read(self, entry, file):
            spectrum = await super().read(entry, file)
            return replace(spectrum, observation={"program": "7"} if entry.object_id == "good2" else {})

    rows = load(ArchiveWithPrograms(), fake("bad1", "good1", "dark1", "good2").list_spectra()).rows
    assert rows["observation/program"].to_pylist() == ["", "7"]
