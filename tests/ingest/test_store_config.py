from dataclasses import replace

import numpy as np
import pytest

from distspec.core.errors import StoreError
from distspec.ingest.store_config import check_store_config, make_store_config, select_pilot_sample
from distspec.store.config import StoreConfig
from distspec.store.sources import MATCH_RADIUS
from tests.conftest import power_law
from tests.helpers.fake_archive import GRID_CONFIG, NORM, fake


@pytest.fixture
def store_config():
    return make_store_config([power_law()], np.array([5.0]), GRID_CONFIG, NORM, MATCH_RADIUS, "fake")


def test_a_pilot_sample_is_spread_over_the_listing_in_groups():
    listing = fake(*(f"good{i:04d}" for i in range(1000))).list_spectra()
    selected = [int(name[4:]) for name in select_pilot_sample(listing)["object_id"].to_pylist()]
    assert (len(selected), selected[0], selected[-1]) == (256, 0, 999)
    assert sum(np.diff(selected) > 1) == 15
    assert len(select_pilot_sample(listing.slice(0, 3))) == 3


def test_settings_come_back_from_their_record(store_config):
    assert StoreConfig.from_json(store_config.to_json()) == store_config


def test_other_settings_than_the_stores_are_refused(store_config):
    check_store_config(store_config, GRID_CONFIG, NORM, MATCH_RADIUS, "fake")
    with pytest.raises(StoreError, match=r"grid\.n_pixels is 32, not 64.*another --root"):
        check_store_config(store_config, replace(GRID_CONFIG, n_pixels=64), NORM, MATCH_RADIUS, "fake")
    with pytest.raises(StoreError, match=r"norm\.min_snr is 1.0, not 3.0"):
        check_store_config(store_config, GRID_CONFIG, replace(NORM, min_snr=3.0), MATCH_RADIUS, "fake")
    with pytest.raises(StoreError, match=r"ingest\.join_radius is 0\.5, not 0\.3"):
        check_store_config(store_config, GRID_CONFIG, NORM, 0.3, "fake")
    with pytest.raises(StoreError, match="archive is fake, not dja"):
        check_store_config(store_config, GRID_CONFIG, NORM, MATCH_RADIUS, "dja")
