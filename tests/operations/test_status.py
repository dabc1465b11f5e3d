"""The state of a root: what became of the rows of the archive's catalog."""

import numpy as np
import pytest

from distspec.core.listing import RowCounts
from distspec.ingest.store_config import make_store_config
from distspec.io.job_log import JobLog, track_job
from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.operations.status import read_status
from distspec.store.store import create_store
from tests.conftest import power_law
from tests.helpers.fake_archive import SOURCE, fake, ingest


def run_job(root, operation, **stage):
    with hold_lease(root, operation) as lease, track_job(JobLog(root, lease, operation)) as job_log:
        job_log.log_event("stage", seconds=1.0, **stage)


@pytest.fixture
def root(tmp_path):
    root = str(tmp_path)
    store = create_store(store_url(root), make_store_config([power_law()], np.array([5.0]), SOURCE))
    ingest(store, fake("good00", "bad00"), 7)
    return root


def test_the_rows_of_the_catalog_are_those_last_read(root):
    assert "catalog" not in read_status(root).lines()
    counts = RowCounts(60).deselect("no redshift", 35).quarantine("bad_row", 1)
    run_job(root, "pipeline", stage="ingest", did_work=True, catalog=str(counts))
    lines = read_status(root).lines()
    assert (lines["catalog"], lines["quarantine"]) == (str(counts), "1 spectra")
    # Rows that are deselected change nothing in the store, and are counted nevertheless.
    counts = counts.deselect("z", 3)
    run_job(root, "pipeline", stage="ingest", did_work=False, catalog=str(counts))
    run_job(root, "train", stage="train", did_work=True, model="m-1")
    assert read_status(root).lines()["catalog"] == str(counts)
