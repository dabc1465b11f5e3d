import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.archives.multifiber import check_unit, check_wave, mask_pixels
from distspec.core.errors import InvalidSpectrumError, QuarantineReason


@pytest.mark.parametrize(
    "unit",
    ["", " ", "1E-17 erg/cm^2/s/Ang", "10**-17 erg/(s cm2 Angstrom)", "1e-20 W / (m2 Angstrom)"],
)
def test_spellings_of_the_unit_are_accepted(unit):
    check_unit(unit)


@pytest.mark.parametrize("unit", ["erg/s/cm2/Angstrom", "1e-16 erg/cm^2/s/Ang", "uJy", "nanomaggies", "1/0"])
def test_other_units_are_refused(unit):
    with pytest.raises(InvalidSpectrumError, match="bad_table: unit"):
        check_unit(unit)


@given(st.floats(0.31, 1.1), st.floats(0.001, 0.05))
def test_wavelengths_in_another_unit_are_refused(start, width):
    wave = np.linspace(start, start + width, 5)
    check_wave(wave)
    for factor in (1e-1, 1e1, 1e3, 1e4, np.nan):
        with pytest.raises(InvalidSpectrumError) as caught:
            check_wave(wave * factor)
        assert caught.value.reason is QuarantineReason.BAD_WAVE


def test_invalid_pixels_get_zero_ivar():
    flux, ivar = np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    flux, ivar = mask_pixels(flux, ivar, np.array([0, 0, 0, 1, 0], bool))
    assert flux.tolist() == [1.0, 0.0, 0.0, 0.0, 5.0]
    assert ivar.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
