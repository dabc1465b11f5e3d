import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import median_filter

from distspec.archives.msaexp import (
    OBSERVATION_COLUMNS,
    find_valid_pixels,
    parse_spec1d,
    percentile,
    running_median,
)
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.hdus import IncompleteContentError

WAVE = np.linspace(0.6, 5.3, 60)
SPEC = {"wave": (WAVE, "um"), "flux": (WAVE * 0 + 2.0, "uJy"), "err": (WAVE * 0 + 0.1, "uJy")}


def spec1d(cards=(), name="SPEC1D", **changed):
    columns = [
        fits.Column(key, "8A" if np.asarray(array).dtype.kind == "U" else "D", unit=unit, array=array)
        for key, (array, unit) in ({key: value for key, value in (SPEC | changed).items() if value}).items()
    ]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.extend(cards)
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()


def parse(content):
    spectrum = parse_spec1d(content, len(content))
    return spectrum.wave, spectrum.flux, spectrum.err


def test_columns_have_native_byte_order():
    for values, (expected, _) in zip(parse(spec1d()), SPEC.values(), strict=True):
        assert values.dtype == np.dtype(float)
        assert np.array_equal(values, expected)


@pytest.mark.parametrize(("unit", "factor"), [("nm", 1e3), ("Angstrom", 1e4), ("m", 1e-6), ("", 1.0)])
def test_wavelengths_are_converted(unit, factor):
    assert np.allclose(parse(spec1d(wave=(WAVE * factor, unit)))[0], WAVE, rtol=1e-14)


@pytest.mark.parametrize(("unit", "factor"), [("mJy", 1e-3), ("nJy", 1e3), ("1e-29 erg s-1 cm-2 Hz-1", 1.0)])
def test_fluxes_are_converted(unit, factor):
    content = spec1d(flux=(WAVE * 0 + 2.0 * factor, unit), err=(WAVE * 0 + 0.1 * factor, unit))
    assert np.allclose(parse(content)[1], 2.0, rtol=1e-14)
    assert np.allclose(parse(content)[2], 0.1, rtol=1e-14)


def test_columns_in_another_case_and_order():
    content = spec1d(wave=None, flux=None, FLUX=SPEC["flux"], Wave=SPEC["wave"], other=(WAVE, ""))
    assert np.array_equal(parse(content)[0], WAVE)


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"err": None}, "no column err in SPEC1D; it has wave, flux"),
        ({"flux": None, "err": None}, "no column flux and no column err in SPEC1D; it has wave"),
        ({"name": "SPEC2D"}, "no HDU SPEC1D"),
        ({"wave": (WAVE.astype(str), "um")}, "not numeric"),
        ({"wave": (np.log10(WAVE), "dex(um)")}, "unit 'dex"),
        ({"wave": (np.log10(WAVE), "log(um)")}, "unit 'log"),
        ({"flux": (WAVE, "mag(AB)")}, "unit 'mag"),
        ({"flux": (WAVE, "erg s-1 cm-2 AA-1")}, "unit 'erg"),
        ({"wave": (WAVE, "furlong")}, "unit 'furlong'"),
        ({"cards": [("AIRORVAC", "air")]}, "in air"),
        ({"cards": [("TCTYP1", "AWAV")]}, "in air"),
        ({"cards": [("VACUUM", False)]}, "in air"),
    ],
)
def test_other_formats_are_bad_table(changed, detail):
    with pytest.raises(InvalidSpectrumError, match=detail) as caught:
        parse(spec1d(**changed))
    assert caught.value.reason is QuarantineReason.BAD_TABLE


def test_vacuum_is_accepted():
    parse(spec1d(cards=[("AIRORVAC", "vac"), ("SPECSYS", "BARYCENT"), ("VACUUM", True)]))


def test_several_values_per_row_are_refused():
    wide = fits.Column("flux", "3D", unit="uJy", array=np.ones((60, 3)))
    others = [fits.Column(name, "D", array=WAVE) for name in ("wave", "err")]
    buffer = io.BytesIO()
    table = fits.BinTableHDU.from_columns([*others, wide], name="SPEC1D")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    with pytest.raises(InvalidSpectrumError, match="bad_table: wave, flux and err of shapes"):
        parse(buffer.getvalue())


def test_real_files_from_their_first_bytes(dja_files):
    for path in sorted(dja_files.glob("*.fits"))[::10]:
        content = path.read_bytes()
        if not content.startswith(b"SIMPLE"):
            continue
        with pytest.raises(IncompleteContentError):
            parse_spec1d(content[:8640], len(content))
        table = fits.getdata(path, "SPEC1D")
        spectrum = parse_spec1d(content[:80640], len(content))
        for name in SPEC:
            assert np.array_equal(getattr(spectrum, name), table[name], equal_nan=True)


OBSERVATION = {
    "PROGRAM": "01747",
    "MSAMETFL": "jw01747013001_01_msa.fits",
    "MSAMETID": 1,
    "DETECTOR": "NRS1",
    "SHUTTRQ": 4,
    "SHUTTRX": 226,
    "SHUTTRY": 96,
    "VERSION": "0.9.11",
    "CAL_VER": "1.19.2",
    "CRDS_CTX": "jwst_1322.pmap",
}


def test_the_header_gives_observation_and_reduction():
    content = spec1d(cards=list(OBSERVATION.items()))
    found = parse_spec1d(content, len(content)).observation
    assert found == {
        "program": "1747",
        "msa_configuration": "jw01747013001_01_msa 1",
        "detector": "NRS1",
        "msa_quadrant": "4",
        "slitlet": "4-226-96",
        "reduction": "msaexp 0.9.11, jwst 1.19.2, jwst_1322.pmap",
    }
    assert list(found) == [column.name for column in OBSERVATION_COLUMNS]


@pytest.mark.parametrize("key", [*OBSERVATION])
def test_a_missing_or_damaged_keyword_costs_its_column_and_not_the_spectrum(key):
    content = spec1d(cards=list(OBSERVATION.items()))
    complete = parse_spec1d(content, len(content)).observation
    start = content.index(key.ljust(8).encode() + b"=")
    renamed = b"XYZ     " + content[start + 8 : start + 80]
    without_value = content[start : start + 10] + b"no value".ljust(70)
    for card in (renamed, without_value):
        damaged = content[:start] + card + content[start + 80 :]
        found = parse_spec1d(damaged, len(damaged)).observation
        assert found.items() - {("reduction", found["reduction"])} <= complete.items()
        assert found != complete


finite = st.floats(1e-6, 1e6)
errors = st.lists(finite | st.sampled_from([1.0, 1.0, 0.1]), min_size=1, max_size=60).map(np.array)


@given(errors)
def test_running_median_equals_scipy(values):
    assert np.array_equal(running_median(values), median_filter(values, 11))


@given(errors)
def test_percentile_equals_numpy(values):
    assert percentile(values, 5.0) == np.percentile(values, 5)


pixels = st.lists(
    st.tuples(
        st.sampled_from([1.0, -2.0, 0.0, np.nan, np.inf]),
        finite | st.sampled_from([1.0, 1.0, 1.0, 0.1, 0.0, -1.0, np.nan, np.inf]),
    ),
    max_size=60,
)


@given(pixels)
def test_valid_pixels_equal_msaexp(rows):
    flux, err = np.array(rows).reshape(-1, 2).T.copy()
    expected = np.isfinite(flux) & np.isfinite(err) & (err > 0) & (flux != 0)
    if expected.any():
        good = err[expected]
        plausible = (good > 0.5 * np.percentile(good, 5)) & (good > 0.2 * median_filter(good, 11))
        expected[expected] = plausible
    assert np.array_equal(find_valid_pixels(flux, err), expected)
