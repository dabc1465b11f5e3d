from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from distspec.archives.base import LISTING_SCHEMA
from distspec.core.errors import InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.spectrum import compute_row_checksums
from distspec.ingest.read import (
    LoadedBatch,
    check_store_config,
    is_outage,
    listing_to_entries,
    load_batch,
    make_store_config,
    read_archive_spectra,
    select_pilot_sample,
)
from distspec.ingest.source import IngestConfig
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.sources import MATCH_RADIUS
from tests.conftest import power_law
from tests.helpers.fake_model import GRID, GRID_CONFIG, NORM, Fake


def loaded(archive, listing=None):
    return load_batch(archive, DEFAULT_ACCESS, listing or archive.list(), GRID, NORM, -2.0)


def test_every_entry_ends_as_one_row_or_one_rejection():
    result = loaded(Fake(("good1", "bad1", "dark1", "good2")))
    assert result.rows["object_id"].to_pylist() == ["good1", "good2"]
    assert {row.object_id: row.reason for row in result.rejected} == {
        "bad1": QuarantineReason.UNREADABLE,
        "dark1": QuarantineReason.NO_NORMALISATION,
    }
    flux, ivar = result.block
    assert flux.shape == ivar.shape == (2, 32)
    assert np.array_equal(result.rows["checksum"].to_numpy(), compute_row_checksums(flux, ivar))


def test_rows_hold_the_whole_ledger():
    rows = loaded(Fake(("good1",))).rows
    assert set(rows.column_names) == {*METADATA_COLUMNS, "source_key"} - {"source_id", "batch"}


def test_a_batch_of_nothing_good_is_no_error():
    result = loaded(Fake(("bad1", "bad2")))
    assert len(result.rows) == 0
    assert result.block[0].shape == (0, 32)


def test_a_parser_that_breaks_is_a_reason():
    class Broken(Fake):
        async def read(self, entry, file):
            raise ZeroDivisionError("by a damaged header")

    (outcome,) = read_archive_spectra(Broken(), DEFAULT_ACCESS, listing_to_entries(Fake(("a",)).list()))
    assert isinstance(outcome, InvalidSpectrumError)
    assert str(outcome) == "unreadable: ZeroDivisionError: by a damaged header"


def changed(listing, **values):
    rows = [row | values if i == 0 else row for i, row in enumerate(listing.to_pylist())]
    return pa.Table.from_pylist(rows, schema=LISTING_SCHEMA)


def test_a_bad_position_is_a_reason_not_an_end():
    archive = Fake(("good00", "good01"))
    result = loaded(archive, changed(archive.list(), ra=float("nan")))
    assert result.rows["object_id"].to_pylist() == ["good01"]
    assert [row.reason for row in result.rejected] == [QuarantineReason.BAD_POSITION]


def test_position_and_redshift_may_come_from_the_file():
    class Knows(Fake):
        async def read(self, entry, file):
            return replace(power_law(entry.object_id, z=5.25), ra=12.0, dec=-3.0)

    archive = Knows(("good00", "good01"))
    listing = changed(archive.list(), ra=float("nan"), dec=float("nan"), z=float("nan"))
    rows = loaded(archive, listing).rows
    assert rows["ra"].to_pylist() == [12.0, listing["ra"][1].as_py()], "the catalogue's own goes first"
    assert rows["z"].to_pylist() == [5.25, 5.25], "the redshift that brought it to the rest frame"


def test_a_url_outside_the_archive_is_not_followed():
    archive = Fake(("good00", "good01"))
    result = loaded(archive, changed(archive.list(), uri="file:///etc/passwd"))
    assert [(row.object_id, row.reason) for row in result.rejected] == [("good00", QuarantineReason.OUTSIDE)]


def test_a_server_that_is_down_is_no_bad_batch():
    rows = loaded(Fake(("good1",))).rows
    lost = [QuarantineRecord(str(i), "", "", QuarantineReason.UNREACHABLE, "") for i in range(8)]
    assert is_outage(LoadedBatch(None, rows.slice(0, 0), lost))
    assert not is_outage(LoadedBatch(None, rows, lost))
    assert not is_outage(LoadedBatch(None, rows.slice(0, 0), lost[:7]))
    assert not is_outage(
        LoadedBatch(
            None, rows.slice(0, 0), [*lost, QuarantineRecord("", "", "", QuarantineReason.BAD_TABLE, "")]
        )
    )


def test_a_pilot_is_spread_over_the_listing_in_runs():
    listing = Fake(tuple(f"good{i:04d}" for i in range(1000))).list()
    chosen = [int(name[4:]) for name in select_pilot_sample(listing)["object_id"].to_pylist()]
    assert (len(chosen), chosen[0], chosen[-1]) == (256, 0, 999)
    assert sum(np.diff(chosen) > 1) == 15
    assert len(select_pilot_sample(listing.slice(0, 3))) == 3


@pytest.set_withdrawn.parametrize(
    "wrong", [{"task_mb": 0.0}, {"commit_rows": 0}, {"in_flight": -1}, {"max_bad_share": 2}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"ingest\.|{next(iter(wrong))}"):
        IngestConfig(**wrong)


def test_tasks_are_of_a_size_in_bytes():
    assert IngestConfig(task_mb=1.0).batch_size(Fake()) == 1000
    assert IngestConfig(task_mb=1e-9).batch_size(Fake()) == 1


def test_a_store_keeps_the_settings_it_was_made_with():
    frozen = make_store_config([power_law()], np.array([5.0]), GRID_CONFIG, NORM, MATCH_RADIUS, "fake")
    check_store_config(frozen, GRID_CONFIG, NORM, MATCH_RADIUS, "fake")
    with pytest.raises(ValueError, match=r"grid\.n_pixels is 32, not 64.*another --root"):
        check_store_config(frozen, replace(GRID_CONFIG, n_pixels=64), NORM, MATCH_RADIUS, "fake")
    with pytest.raises(ValueError, match=r"norm\.min_snr is 1.0, not 3.0"):
        check_store_config(frozen, GRID_CONFIG, replace(NORM, min_snr=3.0), MATCH_RADIUS, "fake")
    with pytest.raises(ValueError, match=r"ingest\.join_radius is 0\.5, not 0\.3"):
        check_store_config(frozen, GRID_CONFIG, NORM, 0.3, "fake")
    with pytest.raises(ValueError, match="archive is fake, not dja"):
        check_store_config(frozen, GRID_CONFIG, NORM, MATCH_RADIUS, "dja")
