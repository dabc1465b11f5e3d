from dataclasses import replace

import numpy as np
import pytest

from distspec.archives.dja import DJA
from distspec.core.errors import StoreError
from distspec.ingest.source import IngestConfig
from distspec.ingest.store_config import check_store_config, make_store_config, select_pilot_sample
from distspec.store.config import StoreConfig
from tests.conftest import power_law
from tests.helpers.fake_archive import GRID_CONFIG, NORM, SOURCE, fake


@pytest.fixture
def store_config():
    return make_store_config([power_law()], np.array([5.0]), SOURCE)


def test_a_pilot_sample_is_spread_over_the_listing_in_groups():
    listing = fake(*(f"good{i:04d}" for i in range(1000))).list_spectra()
    selected = [int(name[4:]) for name in select_pilot_sample(listing)["object_id"].to_pylist()]
    assert (len(selected), selected[0], selected[-1]) == (256, 0, 999)
    assert sum(np.diff(selected) > 1) == 15
    assert len(select_pilot_sample(listing.slice(0, 3))) == 3


def test_settings_come_back_from_their_record(store_config):
    assert StoreConfig.from_json(store_config.to_json()) == store_config


def test_other_settings_than_the_stores_are_refused(store_config):
    check_store_config(store_config, SOURCE)
    with pytest.raises(StoreError, match=r"grid\.n_pixels is 32, not 64.*another --root"):
        check_store_config(store_config, replace(SOURCE, grid=replace(GRID_CONFIG, n_pixels=64)))
    with pytest.raises(StoreError, match=r"norm\.min_snr is 1.0, not 3.0"):
        check_store_config(store_config, replace(SOURCE, norm=replace(NORM, min_snr=3.0)))
    with pytest.raises(StoreError, match=r"ingest\.join_radius is 0\.5, not 0\.3"):
        check_store_config(store_config, replace(SOURCE, config=IngestConfig(join_radius=0.3)))
    with pytest.raises(StoreError, match="archive is fake, not dja"):
        check_store_config(store_config, replace(SOURCE, archive=DJA()))


def test_a_store_fixes_the_settings_of_its_archive_that_change_spectra():
    """A store without a record of the setting was made without the systematic error."""
    without, with_error = (replace(SOURCE, archive=DJA(sys_err=value)) for value in (0.0, 0.02))
    configs = [make_store_config([power_law()], np.array([5.0]), source) for source in (without, with_error)]
    assert "archive" not in configs[0].preprocessing
    for config, source in zip(configs, (without, with_error), strict=True):
        check_store_config(config, source)
    with pytest.raises(StoreError, match=r"archive\.sys_err is 0\.0, not 0\.02"):
        check_store_config(configs[0], with_error)
    with pytest.raises(StoreError, match=r"archive\.sys_err is 0\.02, not 0\.0"):
        check_store_config(configs[1], without)
