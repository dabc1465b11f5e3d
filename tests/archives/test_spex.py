import gzip
import io
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from distspec.archives.base import LISTING_SCHEMA, SpectrumEntry
from distspec.archives.spex import SpeX
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from tests.conftest import read_spectrum


def write(path, planes, unit="Wm-2um-1"):
    buffer = io.BytesIO()
    fits.PrimaryHDU(np.asarray(planes, np.float32), fits.Header({"YUNITS": unit})).writeto(buffer)
    path.write_bytes(gzip.compress(buffer.getvalue()))
    return SpectrumEntry(path.name, "", str(path), 10.0, 2.0, 0.0)


PLANES = np.array([np.linspace(0.65, 2.55, 50), np.full(50, 1e-15), np.full(50, 1e-16)])


@pytest.mark.parametrize("planes", [PLANES, PLANES.T, np.vstack([PLANES, np.zeros((1, 50))])])
def test_all_image_layouts(tmp_path, planes):
    spectrum = read_spectrum(SpeX(str(tmp_path)), write(tmp_path / "a.fits.gz", planes))
    assert len(spectrum.wave) == 50
    assert np.allclose(spectrum.flux * np.sqrt(spectrum.ivar), 10.0, rtol=1e-5)
    assert spectrum.unit == "W m-2 um-1"


@pytest.mark.parametrize(
    ("written", "means"),
    [("W m-2 um-1", "W m-2 um-1"), ("ergs s-1 cm-2 A-1", "erg s-1 cm-2 AA-1"), ("", ""), ("furlongs", "")],
)
def test_missing_unit_is_not_guessed(tmp_path, written, means):
    assert read_spectrum(SpeX(str(tmp_path)), write(tmp_path / "a.fits.gz", PLANES, written)).unit == means


def test_padding_is_dropped_and_pixels_without_noise_are_masked(tmp_path):
    planes = PLANES.copy()
    planes[0, -3:] = 0.0
    planes[2, 10] = 0.0
    spectrum = read_spectrum(SpeX(str(tmp_path)), write(tmp_path / "a.fits.gz", planes))
    assert len(spectrum.wave) == 47
    assert np.flatnonzero(spectrum.ivar == 0).tolist() == [10]


def test_faults_have_reasons(tmp_path):
    archive = SpeX(str(tmp_path))
    with pytest.raises(InvalidSpectrumError) as no_noise:
        read_spectrum(archive, write(tmp_path / "a.fits.gz", PLANES[:2]))
    assert no_noise.value.reason is QuarantineReason.BAD_TABLE
    (tmp_path / "b.fits.gz").write_bytes((tmp_path / "a.fits.gz").read_bytes()[:100])
    with pytest.raises(InvalidSpectrumError) as cut:
        read_spectrum(archive, SpectrumEntry("b", "", str(tmp_path / "b.fits.gz"), 10.0, 2.0, 0.0))
    assert cut.value.reason is QuarantineReason.UNREADABLE


def test_listing(tmp_path):
    Table(
        {
            "DATA_FILE": ["b.fits.gz", "a.fits.gz"],
            "SOURCE_KEY": [1, 1],
            "OBSERVATION_DATE": [20010101, 20020202],
            "RA": [10.0, 10.0],
            "DEC": [5.0, 5.0],
            "cls": ["M", "L"],
        }
    ).write(tmp_path / "labels.csv", format="ascii.csv")
    archive = SpeX(str(tmp_path))
    listing = archive.list_spectra()
    assert listing.schema.names == LISTING_SCHEMA.names
    assert listing["object_id"].to_pylist() == ["a.fits.gz", "b.fits.gz"]
    assert set(listing["source_key"].to_pylist()) == {"SPL 1"}
    assert archive.read_truth()["truth_class"].to_pylist() == ["M", "L"]


def test_missing_url_names_the_setting():
    with pytest.raises(ValueError, match=r"--archive\.url"):
        SpeX().list_spectra()


def test_real_files(spex_files):
    archive = SpeX(str(spex_files))
    listing = archive.list_spectra()
    assert len(listing) == 1331
    outcomes = read_archive_spectra(archive, DEFAULT_ACCESS, listing_to_entries(listing))
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    rejected = [outcome for outcome in outcomes if not isinstance(outcome, Spectrum)]
    assert len(spectra) == 1320
    # Ten files have no noise and one has two orders, as read with astropy alone.
    assert Counter(row.reason for row in rejected) == {QuarantineReason.BAD_TABLE: 11}
    assert all(np.all(np.diff(spectrum.wave) > 0) for spectrum in spectra)
