"""Probabilities of criteria: against draws, for large errors, and for what is not covered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.measurements.criteria import HALPHA_TO_HBETA_EW, MeasuredValues

numbers = st.floats(-5.0, 5.0)
errors = st.floats(0.01, 5.0)


def measured(**measurements):
    """Return the values of one spectrum, each (value, error) or (value, error, S/N)."""
    values = {}
    for name, numbers in measurements.items():
        names = name, f"{name}_err", name.replace("_ew", "_snr")
        values |= dict(zip(names, (np.array([x], np.float32) for x in numbers), strict=False))
    return MeasuredValues(values)


@settings(max_examples=50)
@given(uv=numbers, uv_error=errors, opt=numbers, opt_error=errors)
def test_the_probability_of_a_v_shape_is_that_of_draws(uv, uv_error, opt, opt_error):
    rng = np.random.default_rng(0)
    blue, red = uv + uv_error * rng.standard_normal(40000), opt + opt_error * rng.standard_normal(40000)
    drawn = np.mean((blue < -0.2) & (red > 0.0) & (red - blue > 0.5))
    some = measured(beta_uv=(uv, uv_error), beta_opt=(opt, opt_error))
    assert some.prob_v_shape(-0.2, 0.0, 0.5)[0] == pytest.approx(drawn, abs=0.015)
    assert some.prob_v_shape(-0.2, 0.0, 0.5)[0] <= some.prob_below("beta_uv", -0.2)[0]
    assert some.prob_v_shape(-0.2, 0.0, 0.5)[0] <= some.prob_above("beta_opt", 0.0)[0]


@pytest.mark.parametrize("error", [0.3, 1.6])
def test_with_a_prior_the_probability_is_that_of_slopes_drawn_from_it(error):
    rng, prior = np.random.default_rng(0), (-1.5, 1.0)
    true_slope = prior[0] + prior[1] * rng.standard_normal(400000)
    observed = true_slope + error * rng.standard_normal(len(true_slope))
    for value in (-0.5, 0.3, 1.5):
        drawn = np.mean(true_slope[np.abs(observed - value) < 0.05] > 0.0)
        some = measured(beta_uv=(-3.0, 0.01), beta_opt=(value, error))
        assert some.prob_v_shape(-0.2, 0.0, 0.5, prior)[0] == pytest.approx(drawn, abs=0.04)


@given(value=numbers, threshold=numbers, error=errors, factor=st.floats(1.0, 100.0))
def test_a_larger_error_brings_the_probability_closer_to_one_half(value, threshold, error, factor):
    precise = measured(x=(value, error)).prob_above("x", threshold)[0]
    imprecise = measured(x=(value, factor * error)).prob_above("x", threshold)[0]
    assert abs(imprecise - 0.5) <= abs(precise - 0.5) + 1e-6
    assert measured(x=(value, error)).prob_below("x", threshold)[0] == pytest.approx(1.0 - precise)


def test_not_covered_is_equivalent_to_an_infinite_error():
    uncovered, uncertain = (np.nan, np.nan), (0.0, 1e9)
    assert measured(x=uncovered).prob_above("x", 3.0)[0] == pytest.approx(
        measured(x=uncertain).prob_above("x", 3.0)[0]
    )
    assert not measured(x=uncovered).is_covered("x")[0]
    for known in ((-1.5, 0.1), (-0.4, 0.5), uncovered):
        for arm, other in (("beta_uv", "beta_opt"), ("beta_opt", "beta_uv")):
            v = [
                measured(**{arm: known, other: value}).prob_v_shape(-0.2, 0.0, 0.5)[0]
                for value in (uncovered, uncertain)
            ]
            assert v[0] == pytest.approx(v[1], abs=0.01)


def test_one_covered_and_detected_line_is_enough():
    uncovered, strong, weak = (np.nan,) * 3, (1000.0, 10.0, 100.0), (100.0, 10.0, 10.0)
    faint = 1000.0, 900.0, 1.0

    def probability(oiii, halpha):
        return measured(oiii_ew=oiii, halpha_ew=halpha).prob_emission({"oiii_ew": 750.0, "halpha_ew": 750.0})[
            0
        ]

    assert probability(strong, weak) == probability(weak, strong) == pytest.approx(1.0)
    assert probability(strong, uncovered) == pytest.approx(1.0)
    assert probability(weak, uncovered) == probability(weak, weak) == pytest.approx(0.0, abs=1e-6)
    assert probability(uncovered, uncovered) == 0.5
    assert probability(faint, uncovered) < 0.1, "not detected"


def test_the_balmer_line_is_the_best_one_that_is_covered():
    uncovered = np.nan, np.nan
    for halpha, blue, hbeta, best in (
        ((60.0, 2.0), (70.0, 3.0), (9.0, 1.0), (60.0, 2.0)),
        (uncovered, (70.0, 3.0), (9.0, 1.0), (70.0, 3.0)),
        (uncovered, uncovered, (9.0, 1.0), (9.0 * HALPHA_TO_HBETA_EW, HALPHA_TO_HBETA_EW)),
        (uncovered, uncovered, uncovered, uncovered),
    ):
        balmer_ew = measured(halpha_ew=halpha, halpha_blue_ew=blue, hbeta_ew=hbeta)["balmer_ew"]
        assert np.array(balmer_ew)[:, 0] == pytest.approx(best, nan_ok=True)
    assert pytest.approx(5.2, abs=0.1) == HALPHA_TO_HBETA_EW
