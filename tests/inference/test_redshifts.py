"""Redshifts of new spectra: which are measured, what is recorded of them, and when a model cannot."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineReason
from distspec.core.schema import PREDICTED_REDSHIFT_COLUMNS
from distspec.inference.predict import ModelPredictor
from distspec.inference.redshifts import (
    build_failure_records,
    build_redshift_columns,
    measure_missing_redshifts,
    open_redshift_estimator,
)
from distspec.redshifts import RedshiftEstimates, RedshiftPosterior
from tests.conftest import power_law

POSTERIOR = RedshiftPosterior(np.array([2.9, 3.0, 3.1]), np.array([0.25, 0.5, 0.25]), 3.0, np.nan, np.nan)


class StubEstimator:
    """Measures z = 3 for all spectra but those that are named bad."""

    def estimate(self, spectra):
        assert all(np.isnan(spectrum.z) for spectrum in spectra)
        bad = [k for k, spectrum in enumerate(spectra) if spectrum.object_id.startswith("bad")]
        index = [k for k in range(len(spectra)) if k not in bad]
        error = InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, "3 pixels are valid")
        numbers = [np.zeros(len(index))] * 3
        return RedshiftEstimates(index, [POSTERIOR] * len(index), *numbers, [(k, error) for k in bad])


@given(st.lists(st.sampled_from(["given", "missing", "infinite", "bad"]), max_size=8))
def test_missing_redshifts_are_measured_or_refused_and_given_ones_kept(kinds):
    z = {"given": 5.0, "missing": np.nan, "infinite": np.inf, "bad": np.nan}
    spectra = [power_law(f"{kind} {i}", z=z[kind]) for i, kind in enumerate(kinds)]
    opened = []

    def open_estimator():
        opened.append(1)
        return StubEstimator()

    found = measure_missing_redshifts(spectra, open_estimator)
    assert len(opened) == (set(kinds) - {"given"} != set())
    names = [spectrum.object_id for spectrum in spectra]
    assert [one.object_id for one in found.spectra] == [name for name in names if name[:3] != "bad"]
    for spectrum, posterior in zip(found.spectra, found.posteriors, strict=True):
        was_given = spectrum.object_id.startswith("given")
        assert (spectrum.z, posterior) == ((5.0, None) if was_given else (3.0, POSTERIOR))
    assert [one.object_id for one in found.rejected] == [name for name in names if name[:3] == "bad"]
    for record in found.rejected:
        assert (record.reason, record.detail) == (QuarantineReason.NO_VALID_PIXELS, "3 pixels are valid")


def test_columns_are_null_where_the_redshift_was_given_or_there_is_no_second_solution():
    two = replace(POSTERIOR, z_second=7.5, delta_chi2_second=12.0)
    columns = build_redshift_columns([None, POSTERIOR, two])
    assert list(columns) == [column.name for column in PREDICTED_REDSHIFT_COLUMNS]
    assert columns["z_source"] == ["archive", "model", "model"]
    assert columns["z_model_p16"] == [None, POSTERIOR.quantile(0.16), POSTERIOR.quantile(0.16)]
    assert columns["z_model_p84"] == [None, POSTERIOR.quantile(0.84), POSTERIOR.quantile(0.84)]
    assert columns["z_model_second"] == [None, None, 7.5]
    assert columns["z_model_delta_chi2"] == [None, None, 12.0]


def test_the_measured_redshift_of_a_spectrum_that_cannot_be_used_is_named():
    error = InvalidSpectrumError(QuarantineReason.NO_OVERLAP, "no pixel")
    spectra = [power_law("given", z=9.0), power_law("measured", z=3.0)]
    details = [
        [record.detail for record in build_failure_records(spectra, posteriors, [(0, error), (1, error)])]
        for posteriors in ((), [None, POSTERIOR])
    ]
    assert details == [["no pixel"] * 2, ["no pixel", "no pixel, at the measured redshift 3.0000"]]


def make_model(**vae):
    return SimpleNamespace(model_id="m-1", vae=SimpleNamespace(**vae))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_model(config=SimpleNamespace(condition_on_z=False)), "without redshifts"),
        (make_model(config=SimpleNamespace(condition_on_z=True), log1pz_moments=[0.0, 1e-3]), "one redshift"),
    ],
)
def test_models_of_stars_measure_no_redshifts_and_the_remedy_is_named(model, message):
    with pytest.raises(ConfigError, match=rf"m-1 .*{message}.*--z 0 for stars.*--redshifts"):
        ModelPredictor(model).open_redshift_estimator()


def test_models_of_several_redshifts_measure_them(monkeypatch):
    monkeypatch.setattr(
        "distspec.redshifts.RedshiftEstimator.from_model", lambda model, config: (model, config)
    )
    assert open_redshift_estimator("model", 0.2, "config") == ("model", "config")
