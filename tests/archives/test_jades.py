import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from distspec.archives.base import LISTING_SCHEMA
from distspec.archives.jades import JADES
from distspec.core.errors import QuarantineReason
from tests.conftest import real_data
from tests.helpers.reading import read_listing, read_path, reason
from tests.helpers.rest_frame import to_rest_frame

N = 60
WAVE = np.linspace(0.6e-6, 5.3e-6, N)
FLUX = np.full(N, 2e-15) * (1 + 0.1 * np.sin(np.arange(N)))


def write(path, **changed):
    """Write a 1D file; images given as None are left out."""
    images = {"DATA": (FLUX, None), "ERR": (np.full(N, 1e-16), None), "WAVELENGTH": (WAVE, "meter")} | changed
    hdus = [fits.PrimaryHDU()]
    for name, given in images.items():
        if given is not None:
            values, unit = given
            header = fits.Header({"BUNIT": unit}) if unit is not None else None
            hdus.append(fits.ImageHDU(np.asarray(values), header, name=name))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def read(path, z=5.0):
    return read_path(JADES(str(path.parent), "t.csv"), path, z)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "001882_prism_clear_v5.0_1D.fits"


def test_reading(path):
    spectrum = read(write(path))
    assert np.allclose(spectrum.wave, WAVE * 1e6)
    assert np.allclose(spectrum.flux, FLUX)
    assert np.allclose(spectrum.ivar, 1e32)
    _, flux, _ = to_rest_frame(spectrum)
    assert np.allclose(flux, FLUX * 1e-7 * 6), "1 W/m³ is 1e-7 erg/s/cm²/Å"


def test_a_header_without_an_observation_costs_nothing(path):
    assert read(write(path)).observation == {"reduction": "v5.0"}
    for keyword in ("DET", "SLIT", "READPATT", "COMPNAME"):
        fits.setval(write(path), keyword, value="1/2")
        assert len(read(path).observation) == (3 if keyword == "SLIT" else 2 if keyword != "COMPNAME" else 1)


def test_invalid_pixels_are_masked(path):
    flux, err = FLUX.copy(), np.full(N, 1e-16)
    flux[:3], err[5], err[7], err[9] = np.nan, 0.0, -1e-16, np.inf
    spectrum = read(write(path, DATA=(flux, None), ERR=(err, None)))
    assert np.flatnonzero(spectrum.ivar == 0).tolist() == [0, 1, 2, 5, 7, 9]
    assert np.isfinite(spectrum.flux).all()


@pytest.mark.parametrize(("unit", "factor"), [("um", 1e6), ("nm", 1e9), ("Angstrom", 1e10)])
def test_unit_of_the_file_is_converted(path, unit, factor):
    assert np.allclose(read(write(path, WAVELENGTH=(WAVE * factor, unit))).wave, WAVE * 1e6)
    spectrum = read(write(path, DATA=(FLUX * 1e-7, "erg / (s cm2 Angstrom)")))
    assert np.allclose(spectrum.flux, FLUX)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"WAVELENGTH": None}, QuarantineReason.BAD_TABLE),
        ({"ERR": None}, QuarantineReason.BAD_TABLE),
        ({"ERR": (np.ones(N - 1), None)}, QuarantineReason.BAD_TABLE),
        ({"DATA": (np.ones((2, N)), None)}, QuarantineReason.BAD_TABLE),
        ({"DATA": (FLUX, "uJy")}, QuarantineReason.BAD_TABLE),
        ({"DATA": (FLUX, "DN/s")}, QuarantineReason.BAD_TABLE),
        ({"WAVELENGTH": (WAVE * 1e6, None)}, QuarantineReason.BAD_WAVE),
        ({"WAVELENGTH": (np.full(N, np.nan), "m")}, QuarantineReason.BAD_WAVE),
    ],
)
def test_faults_have_reasons(path, changed, expected):
    assert reason(read(write(path, **changed))) is expected


def test_damage_is_detected(path):
    content = write(path).read_bytes()
    for cut in range(0, len(content), 1440):
        path.write_bytes(content[:cut])
        assert reason(read(path)) in {QuarantineReason.UNREADABLE, QuarantineReason.BAD_TABLE}, cut
    path.unlink()
    assert reason(read(path)) is QuarantineReason.NOT_FOUND


NAMES = (
    "hlsp_jades_jwst_nirspec_goods-s-deephst-00001882_clear-prism_v1.0_x1d.fits",
    "hlsp_jades_jwst_nirspec_goods-n-mediumhst-00001882_clear-prism_v1.0_x1d.fits",
    "hlsp_jades_jwst_nirspec_goods-n-mediumhst-00000943_clear-prism_v1.0_x1d.fits",
    "hlsp_jades_jwst_nirspec_goods-n-mediumhst-00000944_clear-prism_v1.0_x1d.fits",
    "hlsp_jades_jwst_nirspec_goods-n-mediumhst-00000945_clear-prism_v1.0_x1d.fits",
    "hlsp_jades_jwst_nirspec_goods-n-mediumhst-00000943_f170lp-g235m_v1.0_x1d.fits",
    "001882_prism_clear_v5.0_1D.fits",
    "000943_prism_clear_v5.0_1D.fits",
)
PUBLIC = Table(
    rows=[
        (1882, "goods-s-deephst", 53.1, -27.8, 5.5, "A"),
        (1882, "goods-n-mediumhst", 189.1, 62.2, 2.5, "B"),
        (943, "goods-n-mediumhst", 189.2, 62.3, -1.0, "E"),
        (944, "goods-n-mediumhst", 189.3, 62.4, 7.5, "C"),
    ],
    names=["NIRSpec_ID", "TIER", "RA_TARG", "Dec_TARG", "z_Spec", "z_Spec_flag"],
)


@pytest.fixture
def release(tmp_path):
    for name in NAMES:
        write(tmp_path / name)
    tables = [fits.table_to_hdu(PUBLIC), fits.table_to_hdu(PUBLIC)]
    tables[0].name, tables[1].name = "PRISM_5pix", "Obs_info"
    tables[0].data["z_Spec"] = 9.0
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(tmp_path / "table.fits")
    PUBLIC.write(tmp_path / "table.csv", format="ascii.csv")
    return tmp_path


@pytest.mark.parametrize("table", ["table.fits", "table.csv"])
def test_redshifts_are_matched_by_id_and_tier(release, table):
    listing = JADES(str(release), str(release / table)).list_spectra()
    assert listing.schema.equals(LISTING_SCHEMA)
    z = dict(zip(listing["object_id"].to_pylist(), listing["z"].to_pylist(), strict=True))
    assert {name: z[name] for name in NAMES if z.get(name, np.nan) > 0} == {
        NAMES[0]: 5.5,
        NAMES[1]: 2.5,
        NAMES[3]: 7.5,
    }
    assert set(z) == {*NAMES[:2], *NAMES[3:5], NAMES[6]}, "quality E and other gratings are left out"
    assert listing["root"].to_pylist() == ["", *["goods-n-mediumhst"] * 3, "goods-s-deephst"]
    assert listing["srcid"].to_pylist() == ["1882", "944", "945", "1882", "1882"]
    far = JADES(str(release), str(release / table), z_min=2.5).list_spectra()["object_id"].to_pylist()
    assert {*far} == {NAMES[0], NAMES[3], NAMES[4], NAMES[6]}, "z > z_min, and what has none"
    assert listing["version"].to_pylist()[-1].startswith("z=5.50000 ")


def test_file_without_a_redshift_is_refused(release):
    results = read_listing(JADES(str(release), str(release / "table.csv"), z_flags=("A", "E")))
    expected = {
        NAMES[0]: None,
        NAMES[2]: QuarantineReason.NO_REDSHIFT,
        NAMES[4]: QuarantineReason.NO_REDSHIFT,
    }
    expected |= {NAMES[6]: QuarantineReason.NO_REDSHIFT, NAMES[7]: QuarantineReason.NO_REDSHIFT}
    assert {name: reason(result) for name, result in results.items()} == expected


def test_column_file_selects_the_files(release):
    (release / "own.csv").write_text(
        f"file,my_z,ra,dec\n{NAMES[6]},1.5,10.0,2.0\ngone.fits,2.5,10.0,2.0\n,3.5,1,1\n"
    )
    archive = JADES(str(release), str(release / "own.csv"), z_column="my_z")
    results = read_listing(archive)
    assert results[NAMES[6]].z == 1.5
    assert reason(results["gone.fits"]) is QuarantineReason.NOT_FOUND
    assert len(results) == 2


def test_errors_of_listing_name_the_cause(release):
    with pytest.raises(ValueError, match=r"--archive\.url"):
        JADES().list_spectra()
    with pytest.raises(ValueError, match="needs a column file"):
        JADES("https://archive.stsci.edu/hlsps/jades", str(release / "table.csv")).list_spectra()
    (release / "own.csv").write_text("file,ra,dec\na,1,2\n")
    with pytest.raises(ValueError, match="no column z_spec or z; its columns are file, ra, dec"):
        JADES(str(release), str(release / "own.csv")).list_spectra()
    (release / "own.csv").write_text("z,ra,dec\n1,1,2\n")
    with pytest.raises(ValueError, match="no column file or NIRSpec_ID"):
        JADES(str(release), str(release / "own.csv")).list_spectra()
    (release / "own.fits").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"own\.fits is unreadable"):
        JADES(str(release), str(release / "own.fits")).list_spectra()


def test_real_files(tmp_path):
    folder = real_data("jades")
    names = sorted(path.name for path in folder.glob("*.fits"))
    rows = [(name, 3.0 + i, 53.0, -27.8) for i, name in enumerate(names)]
    Table(rows=rows, names=["file", "z", "ra", "dec"]).write(tmp_path / "z.csv", format="ascii.csv")
    results = read_listing(JADES(str(folder), str(tmp_path / "z.csv")))
    # An older format without wavelengths.
    assert {name for name, result in results.items() if reason(result)} == {"GS_z13_1210_3215_1D.fits"}
    assert reason(results["GS_z13_1210_3215_1D.fits"]) is QuarantineReason.BAD_TABLE
    for name, spectrum in results.items():
        if reason(spectrum):
            continue
        with fits.open(folder / name) as hdus:
            good = np.isfinite(hdus["DATA"].data)
            assert np.array_equal(spectrum.ivar > 0, good)
            assert np.array_equal(spectrum.flux[good], hdus["DATA"].data[good])
            assert np.allclose(spectrum.ivar[good], hdus["ERR"].data[good] ** -2.0)
            assert np.allclose(spectrum.wave, hdus["WAVELENGTH"].data * 1e6)
        assert spectrum.z == 3.0 + names.index(name)
        found = spectrum.observation
        assert list(found) == [column.name for column in JADES.observation_columns]
        # Quadrants 1 and 2 are imaged on the second detector.
        assert (found["detector"] == "NRS2") == (found["msa_quadrant"] in "12")
        assert found["reduction"].startswith(("v3.", "v5."))
        assert ", NIPS.2.0.4" in found["reduction"]
        to_rest_frame(spectrum)


def test_real_file_names_are_matched(tmp_path):
    (tmp_path / "z.csv").write_text(
        "NIRSpec_ID,z_Spec,RA_TARG,Dec_TARG\n1882,5.44,53.0,-27.8\n10058975,9.43,53.1,-27.7\n"
    )
    listing = JADES(str(real_data("jades")), str(tmp_path / "z.csv")).list_spectra()
    known = {row["srcid"]: row["z"] for row in listing.to_pylist() if np.isfinite(row["z"])}
    assert known == {"1882": 5.44, "10058975": 9.43}
    assert len(listing) == 8, "two files' names begin with no number"
