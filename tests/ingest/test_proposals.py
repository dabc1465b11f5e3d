"""Proposed settings are fixed with the store, and later ingests use them."""

from dataclasses import replace

import numpy as np
import pytest

from distspec.archives.table import TableArchive
from distspec.core.errors import ArchiveError, StoreError
from distspec.core.spectrum import Spectrum
from distspec.ingest.proposals import complete_from_store, describe_proposals, propose_settings
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import check_store_config, make_store_config
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.store.config import StoreConfig
from tests.helpers.fake_archive import SOURCE

OPEN = ArchiveSource(
    TableArchive(url="x"),
    grid=GridConfig(start=0.0, stop=0.0, n_pixels=0),
    norm=NormConfig(reference_wave=0.0, windows=()),
)
WAVE = np.geomspace(0.4, 0.9, 500)
SAMPLE = [Spectrum(str(i), WAVE, WAVE**-1.5, np.full(500, 400.0), "uJy", 0.1 * i) for i in range(3)]


def test_proposals_are_fixed_and_kept_by_later_ingests():
    chosen = propose_settings(SAMPLE, OPEN)
    flags = describe_proposals(OPEN, chosen)
    assert [flag.split()[0] for flag in flags] == [
        *("--grid.start", "--grid.stop", "--grid.n-pixels"),
        *("--norm.reference-wave", "--norm.windows", "--archive.resolving-power"),
    ]
    config = make_store_config(SAMPLE, np.zeros(3), chosen)
    assert not config.requires_position
    stored = StoreConfig.from_json(config.to_json())
    later = complete_from_store(OPEN, stored)
    check_store_config(stored, later)
    assert later == chosen
    other = replace(OPEN, grid=replace(OPEN.grid, n_pixels=chosen.grid.n_pixels + 1))
    with pytest.raises(StoreError, match=r"grid.n_pixels"):
        check_store_config(stored, complete_from_store(other, stored))
    other = replace(OPEN, archive=replace(OPEN.archive, resolving_power=9.0))
    with pytest.raises(StoreError, match=r"archive.resolving_power"):
        check_store_config(stored, complete_from_store(other, stored))


def test_complete_settings_are_used_as_they_are():
    assert propose_settings([], SOURCE) is SOURCE
    assert describe_proposals(SOURCE, SOURCE) == []
    config = make_store_config(SAMPLE, np.zeros(3), SOURCE)
    assert complete_from_store(SOURCE, config) == SOURCE


def test_a_sample_without_usable_spectra_is_refused():
    bad = replace(SAMPLE[0], ivar=np.zeros(500))
    with pytest.raises(
        ArchiveError, match="no spectrum of a sample of 1 is usable, the first because of no_valid"
    ):
        propose_settings([bad], OPEN)
