"""The redshifts stage measures each version of a spectrum once, and counts those that it cannot measure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

from distspec.archives.base import LISTING_SCHEMA, RedshiftSource
from distspec.core.errors import ArchiveError
from distspec.core.listing import Listing
from distspec.core.spectrum import WavelengthGrid
from distspec.ingest.source import ArchiveSource
from distspec.io.paths import model_url, store_url
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.models.model import load_model
from distspec.redshifts import RedshiftConfig, RedshiftEstimator
from distspec.redshifts.measured import read_current, read_measured
from distspec.redshifts.stage_config import RedshiftStageConfig
from distspec.stages import redshifts as stage
from distspec.stages.redshifts import measure_listing, measure_redshifts, select_wanted
from distspec.store.config import StoreConfig
from distspec.store.store import create_store
from tests.helpers import models
from tests.helpers.fake_archive import GRID_CONFIG, NORM, FakeArchive

SMALL = RedshiftConfig(z_min=3.0, z_max=6.0, n_groups=1, n_axes=2, n_coarse_axes=2, n_proposals=2)
CONFIG = RedshiftStageConfig(check=True, task_spectra=2, estimator=SMALL)


@dataclass(frozen=True)
class PartlyTrustedArchive(FakeArchive):
    """Does not trust the redshifts of names that end in "?"."""

    redshifts: RedshiftSource = "best"

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        spectra = super().read_listing(access).spectra
        is_candidate = pa.array([name.endswith("?") for name in spectra["object_id"].to_pylist()])
        candidates = spectra.filter(is_candidate)
        n = len(candidates)
        z = pa.array([np.nan] * n, pa.float64())
        candidates = candidates.set_column(candidates.column_names.index("z"), LISTING_SCHEMA.field("z"), z)
        candidates = candidates.append_column("deselected_as", pa.array(["grade"] * n, pa.string()))
        trusted = spectra.filter(pa.compute.invert(is_candidate))
        return Listing(trusted, {"grade": n} if n else {}, (), candidates)


def make_source(*names: str, **options: object) -> ArchiveSource:
    return ArchiveSource(PartlyTrustedArchive(names=names, **options), grid=GRID_CONFIG, norm=NORM)


@pytest.fixture
def root(tmp_path):
    store = create_store(
        store_url(str(tmp_path)),
        StoreConfig(WavelengthGrid("log", 1100.0, 8400.0, 64), 1500.0, -2.0, archive_name="dja"),
    )
    models.save(store, str(tmp_path))
    return str(tmp_path)


def test_wanted_spectra():
    archive = make_source("a", "b?").archive
    listing = archive.read_listing()

    def names(redshifts, check):
        return select_wanted(listing, replace(archive, redshifts=redshifts), check)["object_id"].to_pylist()

    assert names("catalog", False) == []
    assert names("catalog", True) == ["a"]
    assert names("best", False) == ["b?"]
    assert names("best", True) == names("model", False) == ["a", "b?"]


@pytest.fixture
def estimator(root):
    return RedshiftEstimator.from_model(load_model(model_url(root, "m-1")), SMALL)


@pytest.fixture
def one_process(monkeypatch, estimator):
    """Measure in this process, without Ray; `tests.pipeline.test_redshifts` has a run with actors."""

    def iter_measured(model_location, source, listing, config):
        for start in range(0, len(listing), config.task_spectra):
            rows = listing.slice(start, config.task_spectra)
            yield measure_listing(source.archive, source.access, rows, estimator)

    monkeypatch.setattr(stage, "_iter_measured", iter_measured)


def test_each_version_is_measured_once(root, one_process, estimator):
    source = make_source("a", "away", "b?", "bad", "c")
    result = measure_redshifts(root, source, "m-1", CONFIG)
    assert result.did_work
    assert result.summary == {"model": "m-1", "measured": 4, "in_all": 4, "unread": 1}
    current = read_current(root)
    assert current is not None
    table = read_measured(root, current.measurement_id)
    rows = {row["object_id"]: row for row in table.to_pylist()}
    assert list(rows) == ["a", "bad", "c", "b?"]
    assert rows["bad"]["reason"] == "unreadable"
    assert np.isfinite(rows["a"]["p_outlier"])
    assert np.isnan([rows["b?"]["z_archive"], rows["b?"]["p_outlier"]]).all()
    again = measure_redshifts(root, make_source("a", "b?", "bad", "c"), "m-1", CONFIG)
    assert not again.did_work
    newer = make_source("a", "away", "b?", "bad", "c", versions={"c": "v2"}, is_up=True)
    assert measure_redshifts(root, newer, "m-1", CONFIG).summary["measured"] == 2
    # Spectra that were measured in several batches and together have the same redshifts.
    listing = source.archive.read_listing()
    together = measure_listing(source.archive, DEFAULT_ACCESS, listing.spectra, estimator)
    for row in together.to_pylist():
        assert row["z_model"] == pytest.approx(rows[row["object_id"]]["z_model"], nan_ok=True)


def test_an_archive_that_is_down_is_an_error(root, one_process):
    with pytest.raises(ArchiveError, match="none of 2 spectra could be read"):
        measure_redshifts(root, make_source("away1", "away2"), "m-1", CONFIG)
    assert read_current(root) is None
