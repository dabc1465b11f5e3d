"""FITS files that only loaders of specutils know."""

import io
import re

import numpy as np
import pytest
from astropy import nddata, units
from astropy.io import fits, registry

from distspec.cli.main import main
from distspec.core.errors import InvalidSpectrumError
from distspec.io.spectra import ReadOptions, UnitNames, read_spectra, specutils_loaders

N = 60
FLUX = np.linspace(1.0, 2.0, N)
AXIS = np.linspace(4000.0, 6000.0, N)
SIGMA = np.linspace(0.1, 0.2, N)
MASK = np.arange(N) == 7
UNIT = units.Unit("1e-17 erg / (s cm2 AA)")


def write(flux, **cards):
    hdu = fits.PrimaryHDU(flux)
    hdu.header.update(cards)
    stream = io.BytesIO()
    hdu.writeto(stream)
    return stream.getvalue()


def write_multispec(n_rows=1):
    """Write spectra as IRAF does, with wavelengths that are a Chebyshev series of pixels."""
    solution = f"1 1 2 4720. 10. {N} 0. 1. 2. 1. 0. 1 3 1. {N}. 5000. 300. 20."
    solutions = "wtype=multispec " + " ".join(f'spec{i + 1} = "{solution}"' for i in range(n_rows))
    described = {f"WAT2_{i // 68 + 1:03d}": solutions[i : i + 68] for i in range(0, len(solutions), 68)}
    cards = {
        "WCSDIM": 2,
        "CTYPE1": "MULTISPE",
        "CTYPE2": "MULTISPE",
        "CRVAL1": 1.0,
        "CD1_1": 1.0,
        "CD2_2": 1.0,
    }
    units_card = {"WAT1_001": "wtype=multispec label=Wavelength units=angstroms"}
    flux = FLUX if n_rows == 1 else np.tile(FLUX, (n_rows, 1))
    return write(flux, BUNIT="Jy", REDSHIFT=0.5, **cards, **units_card, **described)


@pytest.fixture
def loader():
    """A loader of images with the card MYFORM, which gives what is put into the dictionary."""
    specutils = pytest.importorskip("specutils", reason="needs distspec[specutils]")
    from specutils.io.registers import data_loader

    parts = {"flux": FLUX * UNIT, "spectral_axis": AXIS * units.AA}

    def identify(origin, path, *args, **kwargs):
        return fits.getheader(path).get("MYFORM", False)

    @data_loader("my form", identifier=identify, dtype=specutils.Spectrum, autogenerate_spectrumlist=False)
    def load(path, **kwargs):
        return specutils.Spectrum(**parts)

    yield parts
    registry.unregister_reader("my form", specutils.Spectrum)
    registry.unregister_identifier("my form", specutils.Spectrum)


def read(**options):
    return read_spectra(write(FLUX, MYFORM=True), "mine.fits", ReadOptions(**options))


def test_multispec_files_of_iraf_are_read(tmp_path, capsys):
    pytest.importorskip("specutils", reason="needs distspec[specutils]")
    path = tmp_path / "star.fits"
    path.write_bytes(write_multispec())
    spectrum = read_spectra(path.read_bytes(), "star.fits").read(0)
    x = np.linspace(-1.0, 1.0, N)
    np.testing.assert_allclose(spectrum.wave, 1e-4 * (5000.0 + 300.0 * x + 20.0 * (2.0 * x**2 - 1.0)))
    np.testing.assert_allclose(spectrum.flux, FLUX, rtol=1e-6)
    assert (spectrum.unit, spectrum.z, spectrum.has_errors) == ("Jy", 0.5, False)
    main(["describe", str(path)])
    assert "read by specutils (iraf); spectral_axis [um], flux [Jy]; 60 of 60" in capsys.readouterr().out


def test_several_spectra_are_refused():
    pytest.importorskip("specutils", reason="needs distspec[specutils]")
    with pytest.raises(InvalidSpectrumError, match=r"multispec format: write .* specutils \(iraf\): "):
        read_spectra(write_multispec(2), "stars.fits")


@pytest.mark.parametrize(
    "uncertainty",
    [
        nddata.StdDevUncertainty(SIGMA),
        nddata.VarianceUncertainty(SIGMA**2),
        nddata.InverseVariance(SIGMA**-2.0),
        nddata.StdDevUncertainty(1e-17 * SIGMA, unit="erg / (s cm2 AA)"),
    ],
)
def test_errors_and_masks_are_those_of_the_loader(loader, uncertainty):
    loader |= {"uncertainty": uncertainty, "mask": MASK}
    spectrum = read().read(0)
    np.testing.assert_allclose(spectrum.wave, 1e-4 * AXIS)
    np.testing.assert_allclose(spectrum.ivar, np.where(MASK, 0.0, SIGMA**-2.0))
    np.testing.assert_allclose(spectrum.flux, np.where(MASK, 0.0, FLUX))
    assert units.Unit(spectrum.unit) == UNIT
    assert spectrum.has_errors


def test_axes_in_frequency_are_converted_and_others_refused(loader):
    loader["spectral_axis"] = (AXIS * units.AA).to(units.THz, units.spectral())
    np.testing.assert_allclose(read().read(0).wave, 1e-4 * AXIS)
    loader["spectral_axis"] = np.arange(N) * units.pix
    with pytest.raises(InvalidSpectrumError, match=r"specutils \(my form\): UnitConversionError"):
        read()
    loader |= {"spectral_axis": AXIS * units.AA, "flux": np.ones((3, N)) * UNIT}
    with pytest.raises(InvalidSpectrumError, match=r"flux of shape \(3, 60\): write each spectrum"):
        read()


def test_the_users_names_are_not_overruled(loader):
    for options in ({"hdu": "0"}, {"units": UnitNames(wave="nm")}, {"error_kind": "ivar"}):
        with pytest.raises(InvalidSpectrumError, match="no wavelengths") as caught:
            read(**options)
        assert "specutils" not in str(caught.value)


def test_files_that_no_loader_knows_are_refused_as_before():
    with pytest.raises(InvalidSpectrumError, match="no wavelengths") as caught:
        read_spectra(write(FLUX), "mine.fits")
    assert not re.search(r"specutils \(", str(caught.value))


def test_without_specutils_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(specutils_loaders, "find_spec", lambda name: None)
    with pytest.raises(InvalidSpectrumError, match=r"multispec format.*pip install 'distspec\[specutils\]'"):
        read_spectra(write_multispec(), "star.fits")
