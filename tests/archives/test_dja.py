import csv
import gzip
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from distspec.archives import dja
from distspec.archives.base import LISTING_SCHEMA, SpectrumEntry
from distspec.archives.dja import CANUCS_URL, DJA, PUBLIC_CATALOG, PUBLIC_URL
from distspec.archives.msaexp import find_valid_pixels
from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineReason
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from tests.conftest import read_spectrum

V4 = {
    "file": ["b-v4_prism-clear_1234_7.spec.fits", "a-v4_prism-clear_1234_8.spec.fits"],
    "srcid": [7, 8],
    "ra": [150.1, 150.2],
    "dec": [2.1, 2.2],
    "grating": ["PRISM", "PRISM"],
    "filter": ["CLEAR", "CLEAR"],
    "root": ["b-v4", "a-v4"],
    "ctime": ["2025-01-01T00:00:00", "2025-01-02T00:00:00"],
    "version": ["0.9.5", "0.9.5"],
    "z_best": [5.5, 6.5],
    "grade": [3, 3],
}


def write_spec(path, n=60, **changed):
    """Write a SPEC1D file as of v4 with a known spectrum."""
    wave = np.linspace(0.6, 5.3, n)
    columns = {"wave": (wave, "um"), "flux": (wave * 0 + 2.0, "uJy"), "err": (wave * 0 + 0.1, "uJy")}
    columns |= changed
    table = fits.BinTableHDU.from_columns(
        [fits.Column(k, "D", unit=v[1], array=v[0]) for k, v in columns.items() if v is not None],
        name="SPEC1D",
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return SpectrumEntry("x", "", str(path), 10.0, 2.0, 5.0)


@pytest.fixture
def catalog(tmp_path):
    url = tmp_path / "catalog.csv"
    Table(V4).write(url, format="ascii.csv")
    return url


def test_defaults_are_the_public_archive():
    archive = DJA(bulk="auto")
    assert archive.catalog == PUBLIC_CATALOG
    assert PUBLIC_CATALOG.endswith("/extractions/dja_msaexp_emission_lines_v4.5.csv.gz")
    assert archive.bulk == PUBLIC_CATALOG.replace(".csv.gz", ".prism_spectra.fits")
    assert DJA().base_urls == (PUBLIC_URL, CANUCS_URL)


def test_listing_is_sorted_and_typed(catalog):
    listing = DJA(str(catalog), str(catalog.parent)).list_spectra()
    assert listing.schema.names == LISTING_SCHEMA.names
    assert listing["object_id"].to_pylist() == sorted(V4["file"])
    assert listing["z"].to_pylist() == [6.5, 5.5]
    assert listing["version"][0].as_py() == "2025-01-02T00:00:00.000 0.9.5 z=6.50000"


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "ecsv", "parquet"])
def test_every_format_gives_the_same_listing(catalog, tmp_path, suffix):
    url = tmp_path / f"other.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(V4), url)
    elif suffix == "ecsv":
        Table(V4).write(url, format="ascii.ecsv")
    else:
        content = catalog.read_bytes()
        url.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert DJA(str(url), str(tmp_path)).list_spectra().equals(DJA(str(catalog), str(tmp_path)).list_spectra())


def test_selection(catalog):
    def ids(**kwargs):
        return DJA(str(catalog), str(catalog.parent), **kwargs).list_spectra()["srcid"].to_pylist()

    assert ids(z_min=6.0) == ["8"]
    assert ids(z_max=6.0) == ["7"]
    assert ids(grades=(2,)) == []
    assert ids(grating="G395M") == []
    assert ids(z_min=5.5) == ["8"], "z > z_min, not z ≥ z_min"


def test_spectra_without_a_trusted_redshift_are_candidates_if_the_model_is_to_measure_them(tmp_path):
    n = 6
    columns = {
        "file": [f"a-v4_prism-clear_1234_{i}.spec.fits" for i in range(n)],
        "root": ["a-v4"] * n,
        "ra": [150.0] * n,
        "dec": [2.0] * n,
        "grating": ["PRISM"] * (n - 1) + ["G395M"],
        "filter": ["CLEAR"] * n,
        "z_best": [5.5, 3.0, 5.5, 1.0, float("nan"), float("nan")],
        "grade": [3, 3, 2, 1, -1, -1],
    }
    url = tmp_path / "catalog.csv"
    Table(columns).write(url, format="ascii.csv")
    catalog, best = (
        DJA(str(url), str(tmp_path), redshifts=redshifts).read_listing() for redshifts in ("catalog", "best")
    )
    assert not len(catalog.candidates)
    assert best.spectra.equals(catalog.spectra)
    assert best.deselected == catalog.deselected == {"grade": 2, "grating": 1, "no redshift": 1, "z": 1}
    assert best.candidates.schema.names == [*LISTING_SCHEMA.names, "deselected_as"]
    assert [name[-11] for name in best.candidates["object_id"].to_pylist()] == ["2", "3", "4"]
    assert np.isnan(best.candidates["z"].to_numpy()).all()
    assert best.candidates["deselected_as"].to_pylist() == ["grade", "grade", "no redshift"]
    assert best.candidates["uri"][0].as_py().endswith("1234_2.spec.fits")


def test_files_are_found_in_both_layouts(catalog, tmp_path):
    first = min(V4["file"])
    (tmp_path / "a-v4").mkdir()
    (tmp_path / "a-v4" / first).touch()
    assert DJA(str(catalog), str(tmp_path)).list_spectra()["uri"][0].as_py().endswith(f"/a-v4/{first}")
    (tmp_path / "a-v4" / first).rename(tmp_path / first)
    assert (
        DJA(str(catalog), str(tmp_path)).list_spectra()["uri"][0].as_py().endswith(f"{tmp_path.name}/{first}")
    )


def test_layout_is_found_despite_a_missing_file(catalog, tmp_path):
    (tmp_path / max(V4["file"])).touch()
    uris = DJA(str(catalog), str(tmp_path)).list_spectra()["uri"].to_pylist()
    assert uris == [f"file://{tmp_path}/{name}" for name in sorted(V4["file"])]


def test_catalog_and_files_over_http(tmp_path, catalog):
    """A local server stands in for the public archive."""
    write_spec(tmp_path / "a-v4_prism-clear_1234_8.spec.fits")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        archive = DJA(f"{base}/catalog.csv", base)
        existing, missing = read_archive_spectra(
            archive, DEFAULT_ACCESS, listing_to_entries(archive.list_spectra())
        )
        server.shutdown()
    assert existing.object_id == "a-v4_prism-clear_1234_8.spec.fits"
    assert np.allclose(existing.flux, 2.0)
    assert missing.reason is QuarantineReason.NOT_FOUND


def test_files_are_read_from_the_first_place_that_has_them(tmp_path, catalog):
    """On a server the files of a root are together; the access rules hold in each place."""
    in_a, in_b = (f"{root}-v4_prism-clear_1234_{number}.spec.fits" for root, number in (("a", 8), ("b", 7)))
    for place, root, name, flux in (
        ("one", "b", in_b, 1.0),
        ("two", "a", in_a, 2.0),
        ("two", "b", in_b, 3.0),
    ):
        (tmp_path / place / f"{root}-v4").mkdir(parents=True)
        write_spec(tmp_path / place / f"{root}-v4" / name, flux=(np.full(60, flux), "uJy"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for place in (str(tmp_path), base):
            archive = DJA(str(catalog), (f"{place}/one", f"{place}/two"))
            listing = archive.list_spectra()
            assert [uri.split("/")[-3] for uri in listing["uri"].to_pylist()] == ["two", "one"]
            entries = listing_to_entries(listing)
            outside = replace(entries[0], uri=entries[0].uri.replace("/two/", "/three/"))
            *spectra, refused = read_archive_spectra(archive, DEFAULT_ACCESS, [*entries, outside])
            assert [spectrum.flux[0] for spectrum in spectra] == [2.0, 1.0]
            assert refused.reason is QuarantineReason.OUTSIDE
        server.shutdown()
    missing = DJA(str(catalog), (f"{tmp_path}/x", f"{tmp_path}/one")).list_spectra()["uri"][0].as_py()
    assert missing == f"file://{tmp_path}/x/a-v4/{in_a}"


def test_etags_of_files_in_several_places_are_versions(tmp_path, catalog):
    for place, name in zip(("one", "two"), sorted(V4["file"]), strict=True):
        (tmp_path / place).mkdir()
        write_spec(tmp_path / place / name)
    archive = DJA(str(catalog), (f"{tmp_path}/one", f"{tmp_path}/two"), version_by_etag=True)
    versions = archive.list_spectra()["version"].to_pylist()
    assert all(len(version.partition("etag=")[2]) > 5 for version in versions)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2025-01-01T00:00:00", "2025-03-01 00:00:00"], 6.0),
        (["1735689600.5", "1735689600.25"], 5.5),
        (["2025-01-01T00:00:00", "1735689599"], 5.5),
        (["2025-01-01T00:00:00", ""], 5.5),
    ],
)
def test_a_later_creation_time_is_the_newer_version(tmp_path, times, expected):
    rows = {name: [values[0], values[0]] for name, values in V4.items()}
    rows |= {"ctime": times, "z_best": [5.5, 6.0]}
    Table(rows).write(tmp_path / "c.csv", format="ascii.csv")
    listing = DJA(str(tmp_path / "c.csv"), str(tmp_path)).read_listing()
    assert listing.spectra["z"].to_pylist() == [expected]
    assert listing.deselected == {"older version": 1}


def test_an_older_row_is_not_selected_instead_of_the_newer(tmp_path):
    rows = {name: [values[0], values[0]] for name, values in V4.items()}
    rows |= {"ctime": V4["ctime"], "grade": [3, 2]}
    Table(rows).write(tmp_path / "c.csv", format="ascii.csv")
    listing = DJA(str(tmp_path / "c.csv"), str(tmp_path)).read_listing()
    assert (len(listing.spectra), listing.deselected) == (0, {"older version": 1, "grade": 1})


def test_v3_catalog(tmp_path):
    """The columns of ``nirspec_graded_v3.csv``, which has no creation times."""
    rows = {name: V4[name] for name in ("ra", "dec", "file", "root", "grade", "grating", "filter")}
    rows |= {
        "zfit": [1.0, 2.0],
        "z": V4["z_best"],
        "Ha": [30.0, 20.0],
        "comment": ["", "x"],
        "FITS": ["", ""],
    }
    Table(rows).write(tmp_path / "nirspec_graded_v3.csv", format="ascii.csv")
    listing = DJA(str(tmp_path / "nirspec_graded_v3.csv"), str(tmp_path)).list_spectra()
    assert listing["z"].to_pylist() == [6.5, 5.5]


def test_columns_of_another_shape_are_bad_table(tmp_path):
    wave = np.linspace(0.6, 5.3, 60)
    columns = [fits.Column(name, "D", array=wave) for name in ("wave", "err")]
    columns.append(fits.Column("flux", "3D", array=np.ones((60, 3))))
    table = fits.BinTableHDU.from_columns(columns, name="SPEC1D")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "x.fits")
    with pytest.raises(InvalidSpectrumError, match=r"bad_table: .*of shapes"):
        read_spectrum(DJA(), SpectrumEntry("x", "", str(tmp_path / "x.fits"), 10.0, 2.0, 5.0))


def test_reading_gives_flux_and_ivar(tmp_path):
    spectrum = read_spectrum(DJA(), write_spec(tmp_path / "x.fits"))
    assert spectrum.unit == "uJy"
    assert spectrum.z == 5.0
    assert np.allclose(spectrum.flux, 2.0)
    assert np.allclose(spectrum.ivar, 100.0)
    assert spectrum.wave.dtype.isnative


def test_systematic_error_is_added_in_quadrature(tmp_path):
    """A hundredth of the flux; negative flux has no systematic error."""
    flux = np.where(np.arange(60) % 2, 20.0, -20.0)
    entry = write_spec(tmp_path / "x.spec.fits", flux=(flux, "uJy"))
    spectrum = read_spectrum(DJA(url=str(tmp_path), sys_err=0.01), entry)
    assert np.allclose(spectrum.ivar, np.where(flux > 0, 1.0 / (0.1**2 + 0.2**2), 1.0 / 0.1**2))
    with pytest.raises(ConfigError, match=r"--archive\.sys-err 1\.5"):
        DJA(sys_err=1.5)


def test_units_of_the_table_are_converted(tmp_path):
    wave = np.linspace(0.6, 5.3, 60)
    entry = write_spec(
        tmp_path / "x.fits",
        wave=(wave * 1e4, "Angstrom"),
        flux=(wave * 0 + 2e-3, "mJy"),
        err=(wave * 0 + 1e-4, "mJy"),
    )
    spectrum = read_spectrum(DJA(), entry)
    assert np.allclose(spectrum.wave, wave)
    assert np.allclose(spectrum.flux, 2.0)
    assert np.allclose(spectrum.ivar, 100.0)


def test_valid_pixels_are_those_of_msaexp(rng):
    flux, err = np.ones(100), rng.uniform(0.9, 1.1, 100)
    bad = {3: ("flux", np.nan), 10: ("err", np.nan), 20: ("err", 0.0), 30: ("err", -1.0), 40: ("flux", 0.0)}
    for i, (what, value) in bad.items():
        (flux if what == "flux" else err)[i] = value
    err[50] = 0.1
    flux[60] = -5.0
    assert set(np.flatnonzero(~find_valid_pixels(flux, err))) == {*bad, 50}


def test_masked_pixels_have_no_weight(tmp_path):
    wave = np.linspace(0.6, 5.3, 60)
    flux = np.ones(60)
    flux[:5] = np.nan
    spectrum = read_spectrum(DJA(), write_spec(tmp_path / "x.fits", flux=(flux, "uJy")))
    assert np.array_equal(spectrum.ivar == 0, np.arange(60) < 5)
    assert np.isfinite(spectrum.flux).all()
    assert np.array_equal(spectrum.wave, wave)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DATASUM = '{datasum}'", "DATASUM = {datasum}"),
        ("COMMENT", "TSCAL2  =              1.0e+00"),
        ("TFORM4  = 'D       '", "TFORM4  = '8A4     '"),
    ],
)
def test_files_in_other_legal_notations_are_read(tmp_path, old, new):
    path = tmp_path / "a.spec.fits"
    entry = write_spec(path, flag=(np.arange(60.0), None))
    with fits.open(path, "update") as hdus:
        hdus[1].header["COMMENT"] = ""
        hdus[1].add_datasum()
        datasum = hdus[1].header["DATASUM"]
    content, old = path.read_bytes(), old.format(datasum=datasum).encode()
    assert content.count(old) == 1
    start = content.index(old)
    new = new.format(datasum=datasum).encode().ljust(80)
    path.write_bytes(content[:start] + new + content[start + 80 :])
    assert np.allclose(read_spectrum(DJA(str(tmp_path / "c"), str(tmp_path)), entry).flux, 2.0)


def test_gzipped_file_is_read_under_any_name(tmp_path):
    entry = write_spec(tmp_path / "x.fits")
    expected = read_spectrum(DJA(), entry)
    (tmp_path / "x.fits").write_bytes(gzip.compress((tmp_path / "x.fits").read_bytes()))
    assert np.array_equal(read_spectrum(DJA(), entry).flux, expected.flux)
    (tmp_path / "x.fits").write_bytes((tmp_path / "x.fits").read_bytes()[:-40])
    with pytest.raises(InvalidSpectrumError, match="unreadable"):
        read_spectrum(DJA(), entry)


def test_faults_have_reasons(tmp_path):
    def reason(entry):
        with pytest.raises(InvalidSpectrumError) as caught:
            read_spectrum(DJA(), entry)
        return caught.value.reason

    assert (
        reason(SpectrumEntry("x", "", str(tmp_path / "no.fits"), 10.0, 2.0, 5.0))
        is QuarantineReason.NOT_FOUND
    )
    html = tmp_path / "x.fits"
    html.write_text("<html>404</html>")
    assert reason(SpectrumEntry("x", "", str(html), 10.0, 2.0, 5.0)) is QuarantineReason.UNREADABLE
    assert reason(write_spec(tmp_path / "y.fits", err=None)) is QuarantineReason.BAD_TABLE
    whole = write_spec(tmp_path / "z.fits")
    content = (tmp_path / "z.fits").read_bytes()
    (tmp_path / "z.fits").write_bytes(content[: len(content) // 2])
    assert reason(whole) in {QuarantineReason.UNREADABLE, QuarantineReason.BAD_TABLE}
    (tmp_path / "z.fits").write_bytes(b"")
    assert reason(whole) is QuarantineReason.UNREADABLE


@pytest.mark.parametrize(
    ("content", "message"),
    [("a,b\n1,2\n", "no column file"), ("", "CSV"), (None, "not_found")],
)
def test_error_names_the_wrong_catalog(tmp_path, content, message):
    url = tmp_path / "wrong.csv"
    if content is not None:
        url.write_text(content)
    with pytest.raises(ValueError, match=message):
        DJA(str(url), str(tmp_path)).list_spectra()


def test_empty_redshift_range_is_refused():
    with pytest.raises(ValueError, match="must be below"):
        DJA(z_min=5.0, z_max=4.0)


def test_v1_and_v2_catalogs(dja_catalogs):
    for release, n_all in (("v1", 3653), ("v2", 8218)):
        url = dja_catalogs / f"DJA_{release}.csv"
        everything = DJA(str(url), str(dja_catalogs), grades=(-1, 0, 1, 2, 3), z_min=-1.0).list_spectra()
        assert len(everything) == n_all
        with url.open() as file:
            rows = [r for r in csv.DictReader(file) if "_prism-" in r["file"] and float(r["z"]) > 4]
        paper = DJA(str(url), str(dja_catalogs)).list_spectra()
        assert sorted(r["file"] for r in rows if r["grade"] == "3") == paper["object_id"].to_pylist()


def test_real_files_against_astropy(dja_files):
    archive = DJA(str(dja_files / "catalog.csv"), str(dja_files), grades=(-1, 0, 1, 2, 3), z_min=-1.0)
    listing = archive.list_spectra()
    with (dja_files / "catalog.csv").open() as file:
        with_redshift = [row["file"] for row in csv.DictReader(file) if row["z_best"]]
    assert listing["object_id"].to_pylist() == sorted(with_redshift)
    lengths, observations = set(), []
    for entry in listing_to_entries(listing):
        spectrum = read_spectrum(archive, entry)
        table = fits.getdata(dja_files / entry.object_id, "SPEC1D")
        assert np.array_equal(spectrum.wave, table["wave"])
        good = spectrum.ivar > 0
        assert np.array_equal(spectrum.flux[good], table["flux"][good])
        assert np.allclose(spectrum.ivar[good], table["err"][good] ** -2.0)
        assert good.mean() > 0.5
        lengths.add(len(table))
        header = fits.getheader(dja_files / entry.object_id, "SPEC1D")
        assert int(spectrum.observation["program"]) == int(header["PROGRAM"])
        assert spectrum.observation["detector"] == header["DETECTOR"]
        assert str(header["VERSION"]) in spectrum.observation["reduction"]
        observations.append(spectrum.observation)
    assert lengths == {473, 435}
    assert sum("slitlet" in observation for observation in observations) > 0.8 * len(observations)


@pytest.mark.parametrize("written", ["20240501", "1714557600.5", "0.9.5-dev", "2024-05-01"])
def test_only_dates_with_hyphens_are_formatted_as_times(written):
    """The number 20240501 must stay the number that another edition writes as 20240501.0."""
    expected = "2024-05-01T00:00:00.000" if written == "2024-05-01" else written
    assert dja._format_timestamp(written) == expected
