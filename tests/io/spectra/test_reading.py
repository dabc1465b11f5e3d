import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from distspec.core.errors import InvalidSpectrumError
from distspec.io.spectra import ColumnNames, ReadOptions, UnitNames, air_to_vacuum, read_spectra
from distspec.io.spectra.units import parse_unit
from tests.conftest import real_data

N = 50
WAVE = np.linspace(0.6, 5.0, N)
FLUX = 2.0 + np.sin(np.arange(N))
ERR = np.full(N, 0.5)


def csv(wave=WAVE, flux=FLUX, err=ERR, header="wave_um,flux_uJy,err"):
    rows = zip(wave, flux, err, strict=True)
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]).encode()


def table_file(columns, name="MINE", **cards):
    hdu = fits.table_to_hdu(Table(columns))
    hdu.name = name
    hdu.header.update(cards)
    return to_bytes(hdu)


def to_bytes(*hdus):
    stream = io.BytesIO()
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*first, *hdus]).writeto(stream)
    return stream.getvalue()


def read(content, number=0, **options):
    return read_spectra(content, "file", ReadOptions(**options)).read(number)


def check(spectrum, wave=WAVE, flux=FLUX, err=ERR):
    np.testing.assert_allclose(spectrum.wave, wave, rtol=1e-9)
    np.testing.assert_allclose(spectrum.flux, flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.ivar, np.asarray(err) ** -2.0, rtol=1e-6)


def outcome(path):
    try:
        return read_spectra(path.read_bytes(), path.name).read(0)
    except InvalidSpectrumError as error:
        return error


def refusal(content, **options):
    with pytest.raises(InvalidSpectrumError) as caught:
        read(content, **options)
    return str(caught.value)


def test_csv_with_units_in_the_names():
    spectrum = read(csv())
    check(spectrum)
    assert spectrum.unit == "uJy"
    assert np.isnan([spectrum.z, spectrum.ra]).all()
    assert not spectrum.notes
    check(read(gzip.compress(csv())))


def test_blank_separated_text_without_names_takes_columns_by_position():
    lines = "\n".join(f"{w} {f} {e}" for w, f, e in zip(WAVE * 1e4, FLUX, ERR, strict=True))
    spectrum = read(f"# z = 5.1\n# RA: 10:00:00, DEC: -2:30:00\n{lines}\n".encode())
    check(spectrum)
    assert (spectrum.z, spectrum.ra, spectrum.dec) == pytest.approx((5.1, 150.0, -2.5))
    assert "wavelengths taken as Angstrom" in spectrum.notes


def test_empty_cells_are_masked():
    flux = ["" if i in (0, 7) else value for i, value in enumerate(FLUX)]
    spectrum = read(csv(flux=flux))
    assert np.flatnonzero(spectrum.ivar == 0).tolist() == [0, 7]


def test_ecsv_has_units():
    stream = io.StringIO()
    table = Table({"lambda": WAVE * 1e3, "fl": FLUX, "e_fl": ERR})
    table["lambda"].unit, table["fl"].unit = "nm", "mJy"
    table.write(stream, format="ascii.ecsv")
    spectrum = read(stream.getvalue().encode())
    check(spectrum)
    assert spectrum.unit == "mJy"


@pytest.mark.parametrize(("name", "power"), [("err", 1.0), ("var", 2.0), ("ivar", -2.0)])
def test_errors_variances_and_inverse_variances(name, power):
    check(read(table_file({"loglam": np.log10(WAVE * 1e4), "flux": FLUX, name: ERR**power})))


def test_frequencies_give_increasing_wavelengths():
    spectrum = read(table_file({"freq": 2.99792458e14 / WAVE[::-1], "flux": FLUX[::-1], "err": ERR}))
    check(spectrum)
    assert "descending wavelengths reversed" in spectrum.notes


def test_rows_of_a_table_are_spectra_with_their_own_redshifts():
    flux = np.vstack([FLUX, 2 * FLUX])
    columns = {
        "ID": ["a", "b"],
        "z": [1.0, 2.0],
        "wave": np.vstack([WAVE] * 2),
        "flux": flux,
        "err": 0 * flux + 0.5,
    }
    file = read_spectra(table_file(columns))
    assert file.ids() == ["a", "b"]
    check(file.read(1), flux=2 * FLUX)
    assert [file.read(k).z for k in (0, 1)] == [1.0, 2.0]


def test_columns_are_found_by_ucd_and_air_is_converted():
    columns = {"x": WAVE[None] * 1e4, "y": FLUX[None], "s": ERR[None]}
    ucds = {"TUNIT1": "Angstrom", "TUCD1": "em.wl;obs.atmos", "TUCD2": "phot.flux.density;meta.main"}
    spectrum = read(table_file(columns, "SPECTRUM", **ucds, TUCD3="stat.error;phot.flux.density"))
    check(spectrum, wave=air_to_vacuum(WAVE))


def test_air_to_vacuum():
    # O III in air and vacuum: NIST
    assert air_to_vacuum(np.array([0.5006843, 0.15]))[0] == pytest.approx(0.5008240, abs=2e-7)
    assert air_to_vacuum(np.array([0.15]))[0] == 0.15


def test_spectra_of_one_mission_file_are_in_extensions_of_one_name():
    hdus = []
    for scale in (1.0, 3.0):
        columns = {
            "WAVELENGTH": WAVE,
            "FLUX": scale * FLUX,
            "FLUX_ERROR": ERR,
            "DQ": np.arange(N, dtype="i4") % 5,
        }
        hdu = fits.table_to_hdu(Table(columns))
        hdu.name, hdu.header["TELESCOP"] = "EXTRACT1D", "JWST"
        hdus.append(hdu)
    file = read_spectra(to_bytes(*hdus))
    assert len(file) == 2
    good = file.read(1).ivar > 0
    assert (good == ((np.arange(N) % 5) % 2 == 0)).all()  # bit 0 alone says that a pixel is not to be used


def image(data, **cards):
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    return hdu


@pytest.mark.parametrize("axis", ["linear", "iraf", "greisen"])
def test_images_with_a_spectral_axis(axis):
    i = np.arange(N)
    cards = {
        "linear": {"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRVAL1": 4000.0, "CDELT1": 2.0, "CRPIX1": 1.0},
        "iraf": {"CTYPE1": "LINEAR", "CRVAL1": 3.6, "CD1_1": 1e-3, "DC-FLAG": 1},
        "greisen": {"CTYPE1": "WAVE-LOG", "CUNIT1": "um", "CRVAL1": 0.4, "CDELT1": 4e-4, "CRPIX1": 1.0},
    }[axis]
    wave = {"linear": 0.4 + 2e-4 * i, "iraf": 10 ** (-0.4 + 1e-3 * i), "greisen": 0.4 * np.exp(1e-3 * i)}[
        axis
    ]
    content = to_bytes(image(FLUX, **cards, BUNIT="mJy", REDSHIFT=0.3), fits.ImageHDU(ERR, name="ERR"))
    spectrum = read(content)
    check(spectrum, wave=wave)
    assert (spectrum.unit, spectrum.z) == ("mJy", 0.3)
    two = read_spectra(to_bytes(image(np.vstack([FLUX] * 8), **cards)))
    assert len(two) == 8


def test_arms_in_images_of_their_own_are_joined_where_they_overlap():
    blue, red = WAVE[:30] * 1e4, WAVE[25:] * 1e4 * (1.0 + 1e-13)
    hdus = []
    for arm, wave, part in (("B", blue, slice(30)), ("R", red, slice(25, None))):
        for name, values in (
            ("WAVELENGTH", wave),
            ("FLUX", FLUX[None, part]),
            ("IVAR", ERR[None, part] ** -2.0),
        ):
            hdus.append(fits.ImageHDU(np.array(values), name=f"{arm}_{name}"))
            hdus[-1].header["BUNIT"] = {"WAVELENGTH": "Angstrom", "FLUX": "uJy"}.get(name, "")
    spectrum = read(to_bytes(*hdus))
    err = ERR.copy()
    err[25:30] /= np.sqrt(2.0)
    check(spectrum, err=err)
    with pytest.raises(InvalidSpectrumError, match="arms B, R do not have the same images"):
        read(to_bytes(*hdus[:-1]))
    hdus[-1] = fits.ImageHDU(np.ones((1, 3)), name="R_IVAR")
    with pytest.raises(InvalidSpectrumError, match="images of arm R"):
        read(to_bytes(*hdus))


def test_descending_and_repeated_wavelengths_and_nan_edges():
    wave, flux = WAVE.copy(), FLUX.copy()
    wave[11], flux[:3] = wave[10], np.nan
    spectrum = read(csv(wave[::-1], flux[::-1]))
    assert (np.diff(spectrum.wave) > 0).all()
    assert len(spectrum.wave) == N - 1
    assert spectrum.flux[10] == pytest.approx(FLUX[10:12].mean())
    assert spectrum.ivar[10] == pytest.approx(8.0)
    assert (spectrum.ivar[:3] == 0).all()


def test_missing_errors_are_estimated_or_refused():
    rng = np.random.default_rng(0)
    flux = 10.0 + np.linspace(0, 5, 4000) + rng.normal(0, 0.3, 4000)
    content = table_file({"wave": np.linspace(0.4, 0.9, 4000), "flux": flux})
    spectrum = read(content)
    assert np.median(spectrum.ivar**-0.5) == pytest.approx(0.3, rel=0.1)
    assert "errors estimated from the scatter" in spectrum.notes
    assert "no column of errors" in refusal(content, estimate_errors=False)


def test_two_tables_that_fit_are_ambiguous_until_one_is_named():
    hdus = [fits.table_to_hdu(Table({"wave": WAVE, "flux": k * FLUX, "err": ERR})) for k in (1, 2)]
    hdus[0].name, hdus[1].name = "BLUE", "RED"
    content = to_bytes(*hdus)
    message = refusal(content)
    assert message.startswith("ambiguous")
    assert "BLUE (1), RED (2)" in message
    assert "--hdu" in message
    check(read(content, hdu="red"), flux=2 * FLUX)


def test_options_name_columns_and_units():
    content = table_file({"a": WAVE * 1e3, "b": FLUX, "c": ERR})
    assert "no table or image" in refusal(content)
    names, units = ColumnNames(wave="a", flux="b", err="c", z=""), UnitNames("nm", "erg/s/cm^2/A")
    spectrum = read(content, columns=names, units=units)
    check(spectrum)
    assert parse_unit(spectrum.unit) == parse_unit("erg s-1 cm-2 Angstrom-1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "an empty file"),
        (b"hello\nworld\n", "no wavelength or flux"),
        (csv(header="wave_um,flux_s,flux_err"), "no wavelength or flux"),
        (csv(np.random.default_rng(0).permutation(WAVE)), "go backward"),
        (csv(np.full(N, 1.0)), "all 50 wavelengths"),
        (csv(np.linspace(500, 900, N), header="wave,flux,err"), "--units.wave"),
        (csv(header="wave_um,flux (mag),err"), "not a unit of flux density"),
        (to_bytes(image(FLUX)), "no wavelengths"),
        (csv() + b"\n1,2\n", "cells instead of 3"),
    ],
)
def test_refusals_say_why(content, problem):
    assert problem in refusal(content)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("1E-17 erg/cm^2/s/Ang", "1e-17 erg s-1 cm-2 Angstrom-1"),
        ("10**(-16)erg.cm**(-2).s**(-1).angstrom**(-1)", "1e-16 erg s-1 cm-2 Angstrom-1"),
        ("ergss-1cm-2A-1", "erg s-1 cm-2 Angstrom-1"),
        ("[Microns]", "um"),
    ],
)
def test_spellings_of_units(text, unit):
    assert parse_unit(text) == parse_unit(unit)


@pytest.mark.parametrize(
    ("folder", "n_readable", "span"),
    [
        ("dja", 78, (0.54, 5.52)),
        ("sdss", 27, (0.35, 1.05)),
        ("gratings", 17, (1.5, 5.6)),
        ("jades", 9, (0.5, 5.6)),
    ],
)
def test_real_files(folder, n_readable, span):
    outcomes = [outcome(path) for path in sorted(real_data(folder).glob("*.fits"))]
    spectra = [found for found in outcomes if not isinstance(found, InvalidSpectrumError)]
    assert len(spectra) == n_readable
    assert all(
        "no wavelengths" in str(found) for found in outcomes if isinstance(found, InvalidSpectrumError)
    )
    for spectrum in spectra:
        assert span[0] <= spectrum.wave[0] < spectrum.wave[-1] <= span[1]
        assert (spectrum.ivar > 0).any()
        assert not any("estimated" in note for note in spectrum.notes)
