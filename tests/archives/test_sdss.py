import csv
import gzip
import shutil

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from distspec.archives.base import LISTING_SCHEMA
from distspec.archives.sdss import BAD_PIXEL_BITS, SDSS
from distspec.core.errors import QuarantineReason
from tests.conftest import real_data
from tests.helpers.reading import read_listing, read_path, reason
from tests.helpers.rest_frame import to_rest_frame

N = 400
LOGLAM = np.linspace(3.58, 3.96, N)
FLUX, IVAR = 5.0 + np.sin(np.arange(N)), np.full(N, 4.0)


def write(
    path,
    upper=False,
    bunit="1E-17 erg/cm^2/s/Ang",
    vacuum=True,
    name="SPALL",
    tunit=None,
    observation=None,
    **changed,
):
    """Write a spec file; columns given as None are left out."""
    coadd = {"flux": FLUX, "loglam": LOGLAM, "ivar": IVAR, "and_mask": np.zeros(N, np.int32)}
    summary = {
        "Z": 0.1,
        "ZWARNING": 0,
        "CLASS": "GALAXY",
        "OBJTYPE": "GALAXY",
        "PLUG_RA": 150.0,
        "PLUG_DEC": 2.0,
    } | (observation or {})

    def table(columns, extname):
        names = [key for key in columns if changed.get(key, 0) is not None]
        values = {key: np.atleast_1d(np.asarray(changed.get(key, columns[key]))) for key in names}
        kinds = {"f": "E", "i": "J"}
        return fits.BinTableHDU.from_columns(
            [
                fits.Column(
                    key.upper() if upper else key.lower(),
                    kinds.get(array.dtype.kind) or f"{array.dtype.itemsize // 4}A",
                    array=array,
                    unit=tunit if key == "flux" else None,
                )
                for key, array in values.items()
            ],
            name=extname,
        )

    header = fits.Header({"VACUUM": vacuum} | ({"BUNIT": bunit} if bunit else {}))
    hdus = [fits.PrimaryHDU(header=header), table(coadd, "COADD"), table(summary, name)]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spec-1234-56789-0042.fits"


def read(path, **options):
    return read_path(SDSS(str(path.parent), **options), path)


def test_reading(path):
    spectrum = read(write(path))
    assert spectrum.object_id == "spec-1234-56789-0042"
    assert np.allclose(spectrum.wave, 10 ** (LOGLAM - 4), rtol=1e-6)
    assert np.allclose(spectrum.flux, FLUX)
    assert np.allclose(spectrum.ivar, IVAR)
    assert (spectrum.z, spectrum.ra, spectrum.dec) == (pytest.approx(0.1), 150.0, 2.0)
    _, flux, _ = to_rest_frame(spectrum)
    assert np.allclose(flux, 1.1e-17 * FLUX), "rest-frame erg/s/cm²/Å"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"PLATE": 266, "RUN2D": "26 ", "SURVEY": ""}, {"plate": "266", "reduction": "26"}),
        ({"MJD": 55000.0, "FIBERID": np.nan}, {"mjd": "55000"}),
    ],
)
def test_the_observation_is_what_the_summary_states(path, given, expected):
    assert read(write(path, observation=given)).observation == expected


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("name", ["SPALL", "SPECOBJ"])
def test_formats_of_all_releases(path, upper, name):
    assert read(write(path, upper=upper, name=name)).z == pytest.approx(0.1)


def test_single_exposures_are_not_needed(path):
    write(path)
    with fits.open(path, mode="append") as hdus:
        for i in range(3):
            hdus.append(fits.ImageHDU(np.zeros((100, 1000), np.float32), name=f"B{i}"))
    assert read(path).z == pytest.approx(0.1)


def test_gzipped_file_is_listed_and_read(tmp_path, path):
    write(path)
    (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert read_listing(SDSS(str(tmp_path)))["spec-1234-56789-0042"].z == pytest.approx(0.1)


@given(st.integers(0, 30), st.integers(0, N - 1))
def test_bad_pixel_bits_mask_their_pixels(tmp_path_factory, bit, pixel):
    mask = np.zeros(N, np.int32)
    mask[pixel] = 1 << bit
    spectrum = read(write(tmp_path_factory.getbasetemp() / "spec-1-1-1.fits", and_mask=mask))
    assert np.flatnonzero(spectrum.ivar == 0).tolist() == ([pixel] if bit in BAD_PIXEL_BITS.values() else [])


def test_invalid_pixels_are_masked(path):
    flux, ivar = FLUX.copy(), IVAR.copy()
    flux[3], ivar[5], ivar[7], ivar[9] = np.nan, 0.0, -1.0, np.inf
    spectrum = read(write(path, flux=flux, ivar=ivar))
    assert np.flatnonzero(spectrum.ivar == 0).tolist() == [3, 5, 7, 9]
    assert np.isfinite(spectrum.flux).all()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"OBJTYPE": "SKY "}, QuarantineReason.NOT_A_TARGET),
        ({"ZWARNING": 1}, QuarantineReason.NOT_A_TARGET),
        ({"ZWARNING": 128 + 4}, QuarantineReason.NOT_A_TARGET),
        ({"flux": np.zeros(N)}, QuarantineReason.NOT_A_TARGET),
        ({"flux": np.full(N, 3.0)}, QuarantineReason.NOT_A_TARGET),
        ({"ivar": np.zeros(N)}, QuarantineReason.NO_VALID_PIXELS),
        ({"flux": np.full(N, np.nan)}, QuarantineReason.NO_VALID_PIXELS),
        ({"and_mask": np.full(N, 1 << 24, np.int32)}, QuarantineReason.NO_VALID_PIXELS),
        ({"ZWARNING": 4}, QuarantineReason.FLAGGED),
        ({"bunit": "erg/cm^2/s/Ang"}, QuarantineReason.BAD_TABLE),
        ({"bunit": "uJy"}, QuarantineReason.BAD_TABLE),
        ({"bunit": "furlongs"}, QuarantineReason.BAD_TABLE),
        ({"tunit": "erg / (s cm2 Angstrom)"}, QuarantineReason.BAD_TABLE),
        ({"flux": FLUX * 1e-17, "ivar": IVAR * 1e34}, QuarantineReason.BAD_TABLE),
        ({"flux": FLUX * 1e17, "ivar": IVAR * 1e-34}, QuarantineReason.BAD_TABLE),
        ({"ivar": None}, QuarantineReason.BAD_TABLE),
        ({"and_mask": None}, QuarantineReason.BAD_TABLE),
        ({"and_mask": np.zeros(N)}, QuarantineReason.BAD_TABLE),
        ({"flux": np.array(["5.0"] * N)}, QuarantineReason.BAD_TABLE),
        ({"Z": None}, QuarantineReason.BAD_TABLE),
        ({"Z": np.array([0.1, 0.2]), "ZWARNING": np.array([0, 0])}, QuarantineReason.BAD_TABLE),
        ({"name": "OTHER"}, QuarantineReason.BAD_TABLE),
        ({"loglam": np.linspace(3800.0, 9200.0, N)}, QuarantineReason.BAD_WAVE),
        ({"loglam": LOGLAM - 1}, QuarantineReason.BAD_WAVE),
        ({"loglam": np.where(np.arange(N) == 5, np.nan, LOGLAM)}, QuarantineReason.BAD_WAVE),
        ({"vacuum": False}, QuarantineReason.BAD_WAVE),
    ],
)
def test_faults_have_reasons(path, changed, expected):
    assert reason(read(write(path, **changed))) is expected


def test_missing_unit_is_that_of_the_format(path):
    assert reason(read(write(path, bunit=None))) is None
    assert reason(read(write(path, bunit=None, tunit="1e-17 erg/s/cm2/Angstrom"))) is None


def test_accepting_warnings_does_not_accept_sky_fibers(path):
    assert read(write(path, ZWARNING=4), accept_z_warnings=True).z == pytest.approx(0.1)
    assert reason(read(write(path, ZWARNING=5), accept_z_warnings=True)) is QuarantineReason.NOT_A_TARGET


def test_damage_is_detected_or_harmless(path):
    content = write(path).read_bytes()
    for cut in range(0, len(content), 1440):
        path.write_bytes(content[:cut])
        assert reason(read(path)) in {QuarantineReason.UNREADABLE, QuarantineReason.BAD_TABLE}, cut
    path.write_bytes(content + content)
    assert reason(read(path)) is QuarantineReason.UNREADABLE


def test_listing(tmp_path):
    for name in ("b/spec-1234-56789-0042.fits", "a/spec-015000-59146-4244181536.fits", "a/spZbest.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    archive = SDSS(str(tmp_path))
    listing = archive.list_spectra()
    assert listing.schema.equals(LISTING_SCHEMA)
    assert listing["object_id"].to_pylist() == ["spec-015000-59146-4244181536", "spec-1234-56789-0042"]
    assert listing["root"].to_pylist() == ["015000-59146", "1234-56789"]
    assert listing["srcid"].to_pylist() == ["4244181536", "0042"]
    before = dict(zip(listing["object_id"].to_pylist(), listing["version"].to_pylist(), strict=True))
    write(tmp_path / "b/spec-1234-56789-0042.fits", Z=0.25)
    after = dict(
        zip(*(archive.list_spectra()[name].to_pylist() for name in ("object_id", "version")), strict=True)
    )
    assert before["spec-1234-56789-0042"] != after["spec-1234-56789-0042"], "a changed file is a new version"
    assert before["spec-015000-59146-4244181536"] == after["spec-015000-59146-4244181536"]


def test_a_folder_may_be_a_link_to_a_folder_elsewhere(tmp_path):
    """Whoever can write to the archive's folder decides what is in it, also by links that leave it."""
    archive, disk = tmp_path / "archive", tmp_path / "disk"
    for folder in (archive / "0266", archive / "1234", disk):
        folder.mkdir(parents=True)
    write(archive / "0266" / "spec-0266-51630-0168.fits")
    write(archive / "1234" / "spec-1234-56789-0042.fits")
    columns = ["object_id", "version", "uri"]
    before = SDSS(str(archive)).list_spectra().select(columns)
    (archive / "0266").rename(disk / "0266")
    (archive / "0266").symlink_to("../disk/0266")
    assert SDSS(str(archive)).list_spectra().select(columns).equals(before)
    results = read_listing(SDSS(str(archive)))
    assert [reason(result) for result in results.values()] == [None, None]
    (tmp_path / "t.csv").write_text("file\n../disk/0266/spec-0266-51630-0168.fits\n")
    (result,) = read_listing(SDSS(str(archive), str(tmp_path / "t.csv"))).values()
    assert reason(result) is QuarantineReason.OUTSIDE, "a catalog names no path outside of the archive"


def test_errors_of_listing_name_the_setting(tmp_path):
    with pytest.raises(ValueError, match=r"--archive\.url"):
        SDSS().list_spectra()
    with pytest.raises(ValueError, match=r"--archive\.catalog"):
        SDSS("https://data.sdss.org/sas").list_spectra()
    (tmp_path / "t.csv").write_text("name\nx\n")
    with pytest.raises(ValueError, match="no column file"):
        SDSS(str(tmp_path), str(tmp_path / "t.csv")).list_spectra()
    assert len(SDSS(str(tmp_path)).list_spectra()) == 0


def test_catalog_lists_the_files(tmp_path):
    (tmp_path / "t.csv").write_text(
        "file,version,class\n1234/spec-1234-56789-0042.fits,v5,QSO\n../spec-1-1-1.fits,v5,GALAXY\n"
    )
    archive = SDSS(f"{tmp_path}/x", str(tmp_path / "t.csv"))
    (tmp_path / "x" / "1234").mkdir(parents=True)
    write(tmp_path / "x" / "1234" / "spec-1234-56789-0042.fits")
    results = read_listing(archive)
    assert archive.list_spectra()["version"].to_pylist() == ["v5", "v5"]
    assert results["spec-1234-56789-0042"].z == pytest.approx(0.1)
    assert reason(results["spec-1-1-1"]) is QuarantineReason.OUTSIDE
    assert archive.read_truth().to_pylist()[0] == {
        "object_id": "spec-1234-56789-0042",
        "truth_class": "QSO",
        "anomaly_type": "",
    }
    assert SDSS(str(tmp_path)).read_truth() is None


def test_real_files():
    folder = real_data("sdss")
    with (folder / "labels.csv").open() as file:
        labels = {row["file"].removesuffix(".fits"): row for row in csv.DictReader(file)}
    results = read_listing(SDSS(str(folder)))
    assert set(results) == set(labels)
    for name, row in labels.items():
        flagged = int(row["zwarning"]) != 0
        assert reason(results[name]) is (QuarantineReason.FLAGGED if flagged else None), name
        if flagged:
            continue
        spectrum = results[name]
        assert spectrum.z == pytest.approx(float(row["z"]))
        assert len(spectrum.wave) == int(row["npix"])
        with fits.open(folder / f"{name}.fits") as hdus:
            coadd, header, names = hdus[1].data, hdus[0].header, [hdu.name for hdu in hdus]
            good = spectrum.ivar > 0
            assert np.array_equal(spectrum.flux[good], coadd["flux"][good].astype(float))
            assert np.array_equal(spectrum.ivar[good], coadd["ivar"][good].astype(float))
            assert not good[(coadd["ivar"] == 0) | (coadd["and_mask"] & (1 << 23) != 0)].any()
            assert (spectrum.ra, spectrum.dec) == pytest.approx((header["PLUG_RA"], header["PLUG_DEC"]))
        found = dict(spectrum.observation)
        own = [part.lstrip("0") for part in name.split("-")[1:]]
        assert [found[key] for key in ("plate", "mjd", "fiber")] == own
        if "SPECOBJ" in names:
            half = "1" if int(found["fiber"]) <= 320 else "2"
            assert (found["survey"], found["spectrograph"], found["reduction"]) == ("sdss", half, "26")
        else:
            assert found.keys().isdisjoint({"survey", "spectrograph"})
            assert found["reduction"] == header["RUN2D"]
        assert found["program"] in ("legacy", "boss", "eboss")


def test_names_of_folders_and_files_may_contain_a_hash(tmp_path):
    source = next(real_data("sdss").glob("spec-*.fits"))
    folder = tmp_path / "run #2"
    folder.mkdir()
    (folder / "spec-0266-#1.fits").write_bytes(source.read_bytes())
    (result,) = read_listing(SDSS(str(folder), accept_z_warnings=True)).values()
    assert reason(result) is None


def test_real_files_with_warnings_accepted_and_their_classes(tmp_path):
    folder = real_data("sdss")
    archive = SDSS(str(folder), str(folder / "labels.csv"), accept_z_warnings=True)
    assert not [name for name, result in read_listing(archive).items() if reason(result)]
    truth = archive.read_truth()
    assert isinstance(truth, pa.Table)
    assert set(truth["truth_class"].to_pylist()) == {"GALAXY", "QSO", "STAR"}


def test_truncated_real_file(tmp_path):
    name = "spec-0266-51630-0168.fits"
    shutil.copy(real_data("sdss") / name, tmp_path / name)
    (tmp_path / name).chmod(0o600)
    content = (tmp_path / name).read_bytes()
    for cut in range(0, len(content), 2880 * 7):
        (tmp_path / name).write_bytes(content[:cut])
        assert reason(read(tmp_path / name)) in {QuarantineReason.UNREADABLE, QuarantineReason.BAD_TABLE}, cut
