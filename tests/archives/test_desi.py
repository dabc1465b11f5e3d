import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from distspec.archives import desi_files
from distspec.archives.base import LISTING_SCHEMA
from distspec.archives.desi import DESI
from distspec.core.errors import QuarantineReason
from tests.conftest import real_data
from tests.helpers.reading import read_listing, read_path, reason

CAMERAS = {"B": (0, 30), "R": (25, 30), "Z": (50, 30)}
"""First pixel and number of pixels of each on the grid from 5000 Å."""
IDS = np.array([101, 102, 103, 104, 105, 106])
NAME = "main-dark-1"


def write(folder, cameras="BRZ", redrock=True, name=NAME, **changed):
    """Two files of six targets: good, flagged, star, sky, unassigned, broken."""
    value = {
        "TARGETID": np.array([101, 102, 103, 104, -105, 106]),
        "OBJTYPE": ["TGT", "TGT", "TGT", "SKY", "TGT", "TGT"],
        "COADD_FIBERSTATUS": np.array([0, 8, 0, 0, 0, 4], np.int32),
        "TARGET_RA": np.linspace(10.0, 11.0, 6),
        "TARGET_DEC": np.linspace(-1.0, 1.0, 6),
        "Z": np.array([0.5, 0.6, -0.001, 0.7, 0.8, 0.9]),
        "ZWARN": np.array([0, 4, 0, 0, 0, 0]),
        "SPECTYPE": ["GALAXY", "QSO", "STAR", "GALAXY", "GALAXY", "GALAXY"],
        "wave_unit": "Angstrom",
        "flux_unit": "10**-17 erg/(s cm2 Angstrom)",
        "ivar_unit": "10**+34 (s2 cm4 Angstrom2) / erg2",
        "scale": 1.0,
        "mask": 0,
        "without": (),
    } | changed

    def table(names, extname):
        kinds = {"f": "D", "i": "K", "U": "6A"}
        columns = [
            fits.Column(key, kinds[np.asarray(value[key]).dtype.kind], array=np.asarray(value[key]))
            for key in names
        ]
        return fits.BinTableHDU.from_columns(columns, name=extname)

    fibers = table(["TARGETID", "OBJTYPE", "COADD_FIBERSTATUS", "TARGET_RA", "TARGET_DEC"], "FIBERMAP")
    hdus = [fits.PrimaryHDU(), fibers]
    for camera in cameras:
        first, n = CAMERAS[camera]
        wave = 5000.0 + 0.8 * (first + np.arange(n))
        flux = (IDS[:, None] + np.sin(wave)).astype(np.float32) * value["scale"]
        images = {
            "WAVELENGTH": (wave, value["wave_unit"]),
            "FLUX": (flux, value["flux_unit"]),
            "IVAR": (np.full(flux.shape, 4.0, np.float32) / value["scale"] ** 2, value["ivar_unit"]),
            "MASK": (np.full(flux.shape, value["mask"], np.int32), None),
            "RESOLUTION": (np.zeros((6, 11, n), np.float32), None),
        }
        for kind, (array, unit) in images.items():
            if f"{camera}_{kind}" not in value["without"]:
                header = fits.Header({"BUNIT": unit}) if unit else None
                hdus.append(fits.ImageHDU(array, header, name=f"{camera}_{kind}"))
    hdus.append(table(["TARGETID"], "SCORES"))
    fits.HDUList(hdus).writeto(folder / f"coadd-{name}.fits", overwrite=True)
    if redrock:
        rows = table(["TARGETID", "Z", "ZWARN", "SPECTYPE"], "REDSHIFTS")
        fits.HDUList([fits.PrimaryHDU(), rows, fibers]).writeto(
            folder / f"redrock-{name}.fits", overwrite=True
        )
    return folder / f"coadd-{name}.fits"


def test_listing(tmp_path):
    write(tmp_path)
    (tmp_path / "stack-LRG.fits").write_bytes(b"")
    listing = DESI(str(tmp_path)).list_spectra()
    assert listing.schema.equals(LISTING_SCHEMA)
    assert listing["srcid"].to_pylist() == ["101", "102", "103", "106"], (
        "sky and unassigned fibers are left out"
    )
    assert listing["object_id"][0].as_py() == "main-dark-1-101"
    assert listing["source_key"][0].as_py() == "DESI 101"
    assert listing["uri"][0].as_py() == f"file://{tmp_path}/coadd-{NAME}.fits#101"
    assert listing["z"].to_pylist() == [0.5, 0.6, -0.001, 0.9]
    assert listing["ra"].to_pylist() == pytest.approx([10.0, 10.2, 10.4, 11.0])
    assert DESI(str(tmp_path), spectypes=("QSO",)).list_spectra()["srcid"].to_pylist() == ["102"]


def test_new_redrock_file_is_a_new_version(tmp_path):
    write(tmp_path)
    before = DESI(str(tmp_path)).list_spectra()["version"].to_pylist()
    assert len(set(before)) == 1
    write(tmp_path, Z=np.full(6, 0.55))
    assert not set(before) & set(DESI(str(tmp_path)).list_spectra()["version"].to_pylist())


def test_targets_are_read_or_have_a_reason(tmp_path):
    write(tmp_path)
    results = read_listing(DESI(str(tmp_path)))
    assert {name[-3:]: reason(result) for name, result in results.items()} == {
        "101": None,
        "102": QuarantineReason.FLAGGED,
        "103": None,
        "106": QuarantineReason.NOT_A_TARGET,
    }
    spectrum = results["main-dark-1-101"]
    wave = 5000.0 + 0.8 * np.arange(80)
    assert np.allclose(spectrum.wave * 1e4, wave)
    assert np.allclose(spectrum.flux, 101 + np.sin(wave), rtol=1e-6)
    overlap = np.isin(np.arange(80), [*range(25, 30), *range(50, 55)])
    assert np.allclose(spectrum.ivar, np.where(overlap, 8.0, 4.0))
    accepted = read_listing(DESI(str(tmp_path), accept_z_warnings=True))
    assert np.allclose(accepted["main-dark-1-102"].flux, 102 + np.sin(wave), rtol=1e-6)


@pytest.mark.parametrize("damage", ["", "TARGETID", "TILEID", "text", "pairs"])
def test_the_observation_is_what_all_exposures_of_a_target_share(tmp_path, damage):
    exposures = {
        "TARGETID": np.array([101, 101, 103]),
        "TILEID": np.array([7, 8, 9]),
        "FIBER": np.array([5, 5, 6]),
        "NIGHT": np.array([20240101, 20240101, 20240102]),
    }
    if damage == "text":
        exposures["TILEID"] = np.array(["a", "b", "c"])
    elif damage == "pairs":
        exposures["TILEID"] = np.ones((3, 2), int)
    exposures.pop(damage, None)
    path = write(tmp_path)
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.BinTableHDU(Table(exposures), name="EXP_FIBERMAP"))
    fits.setval(path, "SURVEY", value="main")
    found = {name: result for name, result in read_listing(DESI(str(tmp_path))).items() if not reason(result)}
    assert len(found) == 2
    first, second = (result.observation for _, result in sorted(found.items()))
    if damage in ("TARGETID", "text", "pairs"):
        assert first == second == {}
        return
    assert first == {"survey": "main", "fiber": "5", "night": "20240101"}
    tile = {} if damage else {"tile": "9"}
    assert second == {"survey": "main", "fiber": "6", "night": "20240102"} | tile


@pytest.mark.parametrize(("part", "why"), [("104", "OBJTYPE SKY"), ("106", "COADD_FIBERSTATUS 4")])
def test_sky_and_broken_fibers_are_not_targets(tmp_path, part, why):
    result = read_path(DESI(str(tmp_path)), write(tmp_path), part=part)
    assert result.reason is QuarantineReason.NOT_A_TARGET
    assert why in result.detail


@pytest.mark.parametrize(
    ("status", "expected"), [(1 << 3, None), (1 << 23, None), (1 << 1, QuarantineReason.NOT_A_TARGET)]
)
def test_harmless_fiber_bits_are_accepted(tmp_path, status, expected):
    path = write(tmp_path, COADD_FIBERSTATUS=np.full(6, status, np.int32))
    assert reason(read_path(DESI(str(tmp_path)), path, part="101")) is expected


@pytest.mark.parametrize("cameras", ["BR", "BZ", "Z", "RZ"])
def test_missing_camera_is_masked(tmp_path, cameras):
    spectrum = read_path(DESI(str(tmp_path)), write(tmp_path, cameras), part="101")
    pixels = {i for name in cameras for i in range(CAMERAS[name][0], sum(CAMERAS[name]))}
    seen = np.rint((spectrum.wave[spectrum.ivar > 0] * 1e4 - 5000.0) / 0.8).astype(int)
    assert set(seen) == pixels
    assert np.allclose(np.diff(spectrum.wave), 0.8e-4)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cameras": ""}, QuarantineReason.BAD_TABLE),
        ({"without": ("B_IVAR",)}, QuarantineReason.BAD_TABLE),
        ({"without": ("R_WAVELENGTH",)}, QuarantineReason.BAD_TABLE),
        ({"without": ("B_MASK", "R_MASK", "Z_MASK")}, None),
        ({"mask": 1}, QuarantineReason.NO_VALID_PIXELS),
        ({"wave_unit": "nm"}, QuarantineReason.BAD_TABLE),
        ({"flux_unit": "erg/(s cm2 Angstrom)"}, QuarantineReason.BAD_TABLE),
        ({"ivar_unit": "10**-17 erg/(s cm2 Angstrom)"}, QuarantineReason.BAD_TABLE),
        ({"scale": 1e-17}, QuarantineReason.BAD_TABLE),
        ({"OBJTYPE": [1.0] * 6}, QuarantineReason.NOT_A_TARGET),
        ({"COADD_FIBERSTATUS": [0.5] * 6}, QuarantineReason.BAD_TABLE),
    ],
)
def test_faults_have_reasons(tmp_path, changed, expected):
    assert reason(read_path(DESI(str(tmp_path)), write(tmp_path, **changed), part="101")) is expected


def test_target_missing_from_the_coadd_is_not_found(tmp_path):
    assert reason(read_path(DESI(str(tmp_path)), write(tmp_path), part="999")) is QuarantineReason.NOT_FOUND


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.unlink(), QuarantineReason.NOT_FOUND),
        (lambda path: path.write_bytes(path.read_bytes()[:4000]), QuarantineReason.UNREADABLE),
        (lambda path: path.write_bytes(b"<html>"), QuarantineReason.UNREADABLE),
    ],
)
def test_unreadable_redshifts_are_one_row_and_other_files_are_listed(tmp_path, damage, expected):
    write(tmp_path)
    write(tmp_path, name="main-dark-2")
    damage(tmp_path / "redrock-main-dark-2.fits")
    results = read_listing(DESI(str(tmp_path)))
    assert len(results) == 5
    assert reason(results["main-dark-2"]) is expected
    assert reason(results["main-dark-1-101"]) is None


def test_redshifts_of_other_targets_are_refused(tmp_path):
    write(tmp_path)
    with fits.open(tmp_path / f"redrock-{NAME}.fits", mode="update") as hdus:
        hdus["FIBERMAP"].data["TARGETID"][0] = 999
    assert reason(read_listing(DESI(str(tmp_path)))[NAME]) is QuarantineReason.BAD_TABLE


def test_file_is_parsed_once_for_its_targets(tmp_path, monkeypatch):
    write(tmp_path)
    parsed = []
    monkeypatch.setattr(
        desi_files,
        "_parse_coadd",
        lambda content, parse=desi_files._parse_coadd: parsed.append(1) or parse(content),
    )
    results = read_listing(DESI(str(tmp_path), accept_z_warnings=True))
    assert len(results) == 4
    assert len(parsed) == 1


def test_catalog_lists_the_coadds(tmp_path):
    write(tmp_path)
    (tmp_path / "t.csv").write_text(f"file\ncoadd-{NAME}.fits\ncoadd-gone.fits\n")
    results = read_listing(DESI(str(tmp_path), str(tmp_path / "t.csv")))
    assert reason(results["main-dark-1-101"]) is None
    assert reason(results["gone"]) is QuarantineReason.NOT_FOUND


@pytest.mark.parametrize("cameras", ["BRZ", "BR"])
def test_truncated_file_is_detected(tmp_path, cameras):
    path = write(tmp_path, cameras)
    content = path.read_bytes()
    whole = read_path(DESI(str(tmp_path)), path, part="101")
    for cut in range(0, len(content), 2880):
        path.write_bytes(content[:cut])
        result = read_path(DESI(str(tmp_path)), path, part="101")
        if reason(result) is None:
            assert np.array_equal(result.ivar, whole.ivar), "the data that are read are complete"
        else:
            assert reason(result) in {QuarantineReason.UNREADABLE, QuarantineReason.BAD_TABLE}, cut


def test_real_files():
    folder = real_data("desi")
    results = read_listing(DESI(str(folder)))
    assert {name: result.z for name, result in results.items()} == pytest.approx(
        {
            "4-80613-thru20210324-39633345008634465": 0.36874355,
            "special-dark-27247-39089837499744649": 0.00726967,
        }
    )
    for name, spectrum in results.items():
        with fits.open(folder / f"coadd-{name.rpartition('-')[0]}.fits") as hdus:
            flux = {camera: hdus[f"{camera}_FLUX"].data[0].astype(float) for camera in "BRZ"}
            ivar = {camera: hdus[f"{camera}_IVAR"].data[0].astype(float) for camera in "BRZ"}
        found = spectrum.observation
        if name.startswith("special"):  # several tiles
            assert found == {
                "survey": "special",
                "program": "dark",
                "reduction": "ioannis, desispec 0.71.6.dev10155",
            }
        else:  # several nights
            assert found == {
                "tile": "80613",
                "petal": "4",
                "fiber": "2233",
                "reduction": "iron, desispec 0.56.5",
            }
        assert len(spectrum.wave) == 7781 == 2751 + 2326 + 2881 - 51 - 126
        assert np.allclose(spectrum.wave[[0, -1]], [0.36, 0.9824])
        assert np.array_equal(spectrum.flux[:2700], flux["B"][:2700])
        assert np.array_equal(spectrum.flux[-2755:], flux["Z"][-2755:])
        b, r = flux["B"][-51:], flux["R"][:51]
        mean = (b * ivar["B"][-51:] + r * ivar["R"][:51]) / (ivar["B"][-51:] + ivar["R"][:51])
        assert np.allclose(spectrum.flux[2700:2751], mean)
        assert np.allclose(spectrum.ivar[2700:2751], ivar["B"][-51:] + ivar["R"][:51])
