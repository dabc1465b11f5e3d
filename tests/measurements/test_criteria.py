"""How likely criteria hold: against draws, for errors that grow, and for what is not covered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.measurements.criteria import HALPHA_TO_HBETA_EW, MeasuredValues

numbers = st.floats(-5.0, 5.0)
errors = st.floats(0.01, 5.0)


def read(**measures):
    """One spectrum's measures, each (value, error) or (value, error, flux over noise)."""
    values = {}
    for name, numbers in measures.items():
        names = name, f"{name}_err", name.replace("_ew", "_snr")
        values |= dict(zip(names, (np.array([x], np.float32) for x in numbers), strict=False))
    return MeasuredValues(values)


@settings(max_examples=50, deadline=None)
@given(uv=numbers, uv_error=errors, opt=numbers, opt_error=errors)
def test_a_v_is_as_likely_as_draws_say(uv, uv_error, opt, opt_error):
    rng = np.random.default_rng(0)
    blue, red = uv + uv_error * rng.standard_normal(40000), opt + opt_error * rng.standard_normal(40000)
    drawn = np.mean((blue < -0.2) & (red > 0.0) & (red - blue > 0.5))
    some = read(beta_uv=(uv, uv_error), beta_opt=(opt, opt_error))
    assert some.prob_v_shape(-0.2, 0.0, 0.5)[0] == pytest.approx(drawn, abs=0.015)
    assert some.prob_v_shape(-0.2, 0.0, 0.5)[0] <= some.prob_below("beta_uv", -0.2)[0]
    assert some.prob_v_shape(-0.2, 0.0, 0.5)[0] <= some.prob_above("beta_opt", 0.0)[0]


@given(value=numbers, threshold=numbers, error=errors, more=st.floats(1.0, 100.0))
def test_with_larger_errors_less_is_certain(value, threshold, error, more):
    sure = read(x=(value, error)).prob_above("x", threshold)[0]
    unsure = read(x=(value, more * error)).prob_above("x", threshold)[0]
    assert abs(unsure - 0.5) <= abs(sure - 0.5) + 1e-6
    assert read(x=(value, error)).prob_below("x", threshold)[0] == pytest.approx(1.0 - sure)


def test_not_covered_is_as_good_as_infinitely_uncertain():
    lost, vast = (np.nan, np.nan), (0.0, 1e9)
    assert read(x=lost).prob_above("x", 3.0)[0] == pytest.approx(read(x=vast).prob_above("x", 3.0)[0])
    assert not read(x=lost).is_covered("x")[0]
    for known in ((-1.5, 0.1), (-0.4, 0.5), lost):
        for arm, other in (("beta_uv", "beta_opt"), ("beta_opt", "beta_uv")):
            v = [read(**{arm: known, other: away}).prob_v_shape(-0.2, 0.0, 0.5)[0] for away in (lost, vast)]
            assert v[0] == pytest.approx(v[1], abs=0.01)


def test_any_covered_line_will_do_if_it_is_there():
    lost, strong, weak = (np.nan,) * 3, (1000.0, 10.0, 100.0), (100.0, 10.0, 10.0)
    faint = 1000.0, 900.0, 1.0

    def emits(oiii, halpha):
        return read(oiii_ew=oiii, halpha_ew=halpha).prob_emission({"oiii_ew": 750.0, "halpha_ew": 750.0})[0]

    assert emits(strong, weak) == emits(weak, strong) == emits(strong, lost) == pytest.approx(1.0)
    assert emits(weak, lost) == emits(weak, weak) == pytest.approx(0.0, abs=1e-6)
    assert emits(lost, lost) == 0.5
    assert emits(faint, lost) < 0.1, "not detected"


def test_hydrogen_is_read_off_the_best_line_there_is():
    lost = np.nan, np.nan
    for halpha, blue, hbeta, best in (
        ((60.0, 2.0), (70.0, 3.0), (9.0, 1.0), (60.0, 2.0)),
        (lost, (70.0, 3.0), (9.0, 1.0), (70.0, 3.0)),
        (lost, lost, (9.0, 1.0), (9.0 * HALPHA_TO_HBETA_EW, HALPHA_TO_HBETA_EW)),
        (lost, lost, lost, lost),
    ):
        found = read(halpha_ew=halpha, halpha_blue_ew=blue, hbeta_ew=hbeta)["balmer_ew"]
        assert np.array(found)[:, 0] == pytest.approx(best, nan_ok=True)
    assert pytest.approx(5.2, abs=0.1) == HALPHA_TO_HBETA_EW
