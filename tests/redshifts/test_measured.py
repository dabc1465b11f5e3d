from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.redshifts import RedshiftConfig, RedshiftPosterior
from distspec.redshifts.measured import (
    MEASURED_SCHEMA,
    MIN_PDF,
    append_measured,
    compress,
    compute_outlier_probability,
    make_record,
    read_current,
    read_measured,
    tabulate_error,
    tabulate_posterior,
    write_current,
)

GRID = np.expm1(np.arange(0.0, 2.0, 0.002))


def make_posterior(z: float, std: float, z_other: float = 1.0, drop: float = 12.0) -> RedshiftPosterior:
    """Return the posterior of a normal distribution of ln(1 + z) with a second solution."""
    distance = [(np.log1p(GRID) - np.log1p(each)) / std for each in (z, z_other)]
    evidence = np.logaddexp(-0.5 * distance[0] ** 2, -0.5 * distance[1] ** 2 - drop)
    return RedshiftPosterior.from_evidence(GRID, evidence)


def make_table(*names: str) -> pa.Table:
    columns = tabulate_posterior(make_posterior(3.0, 0.01), 3.0) | {
        "ln_bayes_factor": 5.0,
        "z_class": "galaxy",
    }
    rows = [{"object_id": name, "version": "v1", "z_archive": 3.0, **columns} for name in names]
    return pa.Table.from_pylist(rows, MEASURED_SCHEMA)


@given(z=st.floats(0.2, 5.5), std=st.floats(0.001, 0.1), drop=st.floats(0.0, 30.0))
def test_compressed_densities_have_the_moments_of_the_posterior(z, std, drop):
    posterior = make_posterior(z, std, drop=drop)
    points, probability = compress(posterior)
    assert probability.sum() == pytest.approx(1.0)
    assert (np.diff(points) > 0).all()
    x, fine = np.log1p(points), np.log1p(posterior.z)
    mean, exact = (
        np.average(each, weights=p) for each, p in ((x, probability), (fine, posterior.probability))
    )
    assert mean == pytest.approx(exact, abs=len(fine) * MIN_PDF * 2.0)


def test_columns_of_a_measured_redshift():
    right, wrong = (tabulate_posterior(make_posterior(3.0, 0.002), z) for z in (3.01, 2.5))
    assert right["p_outlier"] < 0.01
    assert wrong["p_outlier"] > 0.99
    assert wrong["ln_probability_archive"] < -20.0 < right["ln_probability_archive"]
    assert right["z_model"] == pytest.approx(3.0, abs=0.01)
    assert right["z_model_p16"] < right["z_model"] < right["z_model_p84"]
    assert right["z_model_second"] == pytest.approx(1.0, abs=0.02)
    assert right["z_model_delta_chi2"] == pytest.approx(24.0, abs=1.0)
    assert right["z_model_probability"] > 0.99
    assert np.isnan(tabulate_posterior(make_posterior(3.0, 0.002), np.nan)["p_outlier"])


def test_a_redshift_that_cannot_be_measured_has_its_reason():
    error = InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, "0 pixels\n")
    columns = tabulate_error(error)
    row = {"object_id": "a", "version": "v", "z_archive": 2.0, **columns}
    [stored] = pa.Table.from_pylist([row], MEASURED_SCHEMA).to_pylist()
    assert stored["z_archive"] == 2.0
    assert np.isnan([stored["z_model"], stored["p_outlier"], stored["ln_bayes_factor"]]).all()
    assert (stored["reason"], stored["pdf_z"]) == ("no_valid_pixels", [])
    assert "\n" not in stored["detail"]


def test_files_are_added_and_another_model_has_files_of_its_own(tmp_path):
    root, config = str(tmp_path), RedshiftConfig()
    assert read_current(root) is None
    record = make_record(root, "m-1", config)
    append_measured(root, record.measurement_id, make_table("a", "b"))
    append_measured(root, record.measurement_id, make_table("c"))
    assert read_measured(root, record.measurement_id)["object_id"].to_pylist() == ["a", "b", "c"]
    others = make_record(root, "m-2", config), make_record(root, "m-1", RedshiftConfig(z_max=9.0))
    assert len({each.measurement_id for each in (record, *others)}) == 3
    assert all(not len(read_measured(root, each.measurement_id)) for each in others)
    write_current(root, make_record(root, "m-1", config))
    current = read_current(root)
    assert current is not None
    assert (current.measurement_id, current.n_parts) == (record.measurement_id, 2)
    write_current(root, replace(current, version=0))
    assert read_current(root) is None, "it is measured anew"


@given(st.floats(0.0, 1.0), st.floats(0.0, 0.1), st.floats(0.001, 0.5))
def test_probability_of_a_wrong_redshift_follows_from_p_of_z_and_the_fraction_beforehand(near, p_excluded, f):
    posterior = RedshiftPosterior(
        np.array([2.0, 3.0]), np.array([near, 1.0 - near]), 2.0, np.nan, np.nan, p_excluded
    )
    found = compute_outlier_probability(posterior, 2.0, RedshiftConfig(), f)
    assert 0.0 <= found <= 1.0
    more = compute_outlier_probability(posterior, 2.0, RedshiftConfig(), min(f + 0.1, 1.0))
    assert more >= found
    if near < 1.0 and not p_excluded:
        # Of many spectra with this p(z), as many as p(z) says are at either redshift if a wrong one is
        # one of the equally probable ones.
        width = np.log(1.01 / 0.99) / np.log(15.0)
        odds_of_right = (1.0 - f) / f * near / (1.0 - near) * (1.0 - width) / width
        assert found == pytest.approx(1.0 / (1.0 + odds_of_right))


def test_a_spectrum_that_says_nothing_leaves_the_fraction_of_wrong_redshifts():
    grid = np.expm1(np.linspace(0.0, np.log(15.0), 4001))
    flat = RedshiftPosterior.from_evidence(grid, np.zeros(len(grid)))
    assert compute_outlier_probability(flat, 5.0, RedshiftConfig(), 0.02) == pytest.approx(0.02, abs=0.001)
