"""Spectra without a trusted redshift join a run at the redshift of the model, and others do not change."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from distspec.core.arrow import pc
from distspec.io.paths import store_url
from distspec.models.latents import read_latents
from distspec.pipeline.runner import resolve_model_id, run_stages
from distspec.redshifts import RedshiftConfig
from distspec.redshifts.measured import read_current, read_measured
from distspec.redshifts.stage_config import RedshiftStageConfig
from distspec.store.store import open_store
from tests.helpers.small_demo import small_demo

ESTIMATOR = RedshiftConfig(z_min=3.0, z_max=12.0, n_groups=1, n_axes=4, n_coarse_axes=4, n_proposals=3)
STAGES = ("ingest", "redshifts", "embed")


def read_ledger(store):
    rows = store.current_rows()
    table = store.ledger(["object_id", "version", "z", "checksum"]).take(pa.array(rows))
    return table.append_column("measured", pa.array(store.measured_rows()[rows]))


@pytest.fixture
def config(demo_folder, tmp_path):
    shutil.copytree(demo_folder / "out" / "demo", tmp_path / "demo")
    config = small_demo(tmp_path / "demo")
    redshifts = RedshiftStageConfig(check=False, min_probability=0.5, estimator=ESTIMATOR)
    return replace(config, archive=replace(config.archive, redshifts="best"), redshifts=redshifts)


def test_spectra_join_at_the_redshift_of_the_model(config, local_ray):
    before = read_ledger(open_store(store_url(config.root)))
    model_id = resolve_model_id(config)
    assert run_stages(config, STAGES)
    store = open_store(store_url(config.root))
    after = read_ledger(store)
    is_measured = pa.array(after["measured"].to_numpy())
    assert after.filter(pc.invert(is_measured)).equals(before), (
        "rows at redshifts of the archive are the same"
    )
    joined = after.filter(is_measured)
    assert len(joined) > 0
    assert set(store.trusted_rows()) < set(store.current_rows())
    assert resolve_model_id(config) == model_id
    current = read_current(config.root)
    measured = {
        row["object_id"]: row for row in read_measured(config.root, current.measurement_id).to_pylist()
    }
    assert not measured.keys() & set(before["object_id"].to_pylist())
    for row in joined.to_pylist():
        assert row["z"] == measured[row["object_id"]]["z_model"]
        assert measured[row["object_id"]]["z_model_probability"] >= 0.5
    log_var = read_latents(store, model_id, ["z_log_var"])["z_log_var"]
    rows = np.flatnonzero(store.measured_rows())
    assert np.isfinite(log_var[rows]).all()
    assert not run_stages(config, STAGES), "nothing is left to do"
    catalog_only = replace(config, archive=replace(config.archive, redshifts="catalog"))
    catalog_only = replace(catalog_only, ingest=replace(config.ingest, max_withdrawn=1.0))
    run_stages(catalog_only, ["ingest"])
    assert read_ledger(open_store(store_url(config.root))).equals(before)
