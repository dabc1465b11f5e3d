import asyncio
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import median_filter

from distspec.archives import dja_bulk
from distspec.archives.dja import DJA
from distspec.archives.msaexp import find_valid_pixels
from distspec.core.errors import QuarantineReason
from distspec.ingest.read import listing_to_entries
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.io.remote.files import open_archive_client
from tests.helpers.reading import read_listing, read_path, reason

N_PIXELS, N = 50, 11
WAVE = np.linspace(0.6, 5.3, N_PIXELS)


@pytest.fixture
def spectra(rng):
    """Return flux and err, each of shape (N, N_PIXELS), with masked pixels."""
    flux, err = rng.normal(2.0, 0.1, (N, N_PIXELS)), rng.uniform(0.09, 0.11, (N, N_PIXELS))
    flux[rng.random(flux.shape) < 0.1] = np.nan
    return flux, err


def write_bulk(path, fluxes, errs, dtype="D", valid=None, **units):
    n = len(fluxes)
    columns = [fits.Column("wave", "D", unit=units.get("wave", "um"), array=WAVE)]
    columns += [
        fits.Column(name, f"{n}{dtype}", unit=units.get(name, "uJy"), array=values.T)
        for name, values in (("flux", fluxes), ("err", errs), ("full_err", errs))
        if name != units.get("without")
    ]
    if units.get("without") != "valid":
        valid = np.isfinite(fluxes) if valid is None else valid
        columns.append(fits.Column("valid", f"{n}L", array=valid.T))
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path, overwrite=True)


@pytest.fixture
def release(tmp_path, spectra):
    """Return the folder of a catalog with several gratings, one file per spectrum, and the bulk file."""
    rows = []
    flux, err = spectra
    for i in range(N):
        rows.append((f"a-v4_prism-clear_1_{N - i}.spec.fits", "PRISM", "CLEAR", 3 if i % 3 else 2))
        if i % 2:
            rows.append((f"a-v4_g395m-f290lp_1_{i}.spec.fits", "G395M", "F290LP", 3))
        columns = [fits.Column("wave", "D", unit="um", array=WAVE)]
        columns += [fits.Column(k, "D", unit="uJy", array=v[i]) for k, v in (("flux", flux), ("err", err))]
        table = fits.BinTableHDU.from_columns(columns, name="SPEC1D")
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / f"a-v4_prism-clear_1_{N - i}.spec.fits")
    catalog = Table(rows=rows, names=["file", "grating", "filter", "grade"])
    catalog["root"], catalog["ra"], catalog["dec"], catalog["z_best"] = "a-v4", 10.0, 2.0, 5.0
    catalog["ctime"] = "2025-01-01T00:00:00"
    catalog.write(tmp_path / "catalog.csv", format="ascii.csv")
    write_bulk(tmp_path / "dja.prism_spectra.fits", flux, err)
    return tmp_path


def archives(folder, **options):
    catalog = str(folder / "catalog.csv")
    whole = DJA(catalog, bulk=str(folder / "dja.prism_spectra.fits"), **options)
    return whole, DJA(catalog, str(folder), **options)


@pytest.mark.parametrize("block", [1, 4, 4096])
def test_bulk_equals_single_files(release, monkeypatch, block):
    monkeypatch.setattr(dja_bulk, "BLOCK_SIZE", block)
    whole, single = archives(release)
    from_bulk, from_files = read_listing(whole), read_listing(single)
    assert sorted(from_bulk) == sorted(from_files)
    assert len(from_bulk) == 7, "four of eleven have another grade"
    for name, expected in from_files.items():
        for field in ("wave", "flux", "ivar"):
            assert np.array_equal(getattr(from_bulk[name], field), getattr(expected, field)), (name, field)


def test_entries_are_in_the_order_of_the_bulk_file(release):
    listing = archives(release)[0].list_spectra()
    indices = [int(entry.fragment) for entry in listing_to_entries(listing)]
    assert indices == [1, 2, 4, 5, 7, 8, 10]
    assert listing["srcid"].to_pylist() == [str(N - index) for index in indices]
    assert {entry.file_url for entry in listing_to_entries(listing)} == {
        f"file://{release}/dja.prism_spectra.fits"
    }
    assert listing["version"][0].as_py() == "2025-01-01T00:00:00.000 z=5.00000 bulk=dja.prism_spectra.fits"


def test_only_blocks_are_read(release, monkeypatch):
    monkeypatch.setattr(dja_bulk, "BLOCK_SIZE", 2)
    monkeypatch.setattr(dja_bulk, "HEAD_BYTES", 3 * 2880)
    spans = []

    async def read():
        async with open_archive_client(f"file://{release}", DEFAULT_ACCESS) as files:
            read_far = files.read_range

            async def counted(url, start, stop):
                spans.append((start, stop))
                return await read_far(url, start, stop)

            monkeypatch.setattr(files, "read_range", counted)
            file = files.get_file(f"file://{release}/dja.prism_spectra.fits")
            return [await dja_bulk.read_bulk_spectrum(file, index) for index in (4, 5, 4)]

    asyncio.run(read())
    assert spans[0] == (0, 3 * 2880)
    assert len(spans) == 1 + 4 * N_PIXELS, "wave, flux, err and valid once, full_err never"
    assert sum(stop - start for start, stop in spans[1:]) == N_PIXELS * (8 * (1 + 2 + 2) + 2)


def test_pixels_that_the_file_masks_are_masked(release, spectra):
    whole = archives(release)[0]
    name = f"a-v4_prism-clear_1_{N - 4}.spec.fits"
    before = read_listing(whole)[name].ivar > 0
    valid = np.isfinite(spectra[0])
    valid[4, 20:30] = False
    write_bulk(release / "dja.prism_spectra.fits", *spectra, valid=valid)
    after = read_listing(whole)[name].ivar > 0
    assert np.array_equal(after, before & valid[4])
    assert before[20:30].any()
    write_bulk(release / "dja.prism_spectra.fits", *spectra, without="valid")
    assert np.array_equal(read_listing(whole)[name].ivar > 0, before), "files need not have a mask"


def read_with_msaexp(table):
    """Return the columns of a bulk file as ``msaexp.spectrum.read_spectrum`` computes them."""
    wave, flux, err = (np.nan_to_num(np.asarray(table[name], float)) for name in ("wave", "flux", "err"))
    valid = np.isfinite(np.asarray(table["flux"]) + np.asarray(table["err"])) & (err > 0) & (flux != 0)
    valid &= err > 0.5 * np.percentile(err[valid], 5)
    median = np.interp(wave, wave[valid], median_filter(err[valid], 11), left=0, right=0)
    valid &= err > 0.2 * median
    full_err = np.hypot(err, np.maximum(0.02 * flux, 0))
    return (*(np.where(valid, values, 0.0) for values in (flux, err, full_err)), valid)


def test_masks_and_errors_of_real_files_are_those_of_the_bulk_product(dja_files):
    """Also after msaexp has set masked pixels to 0; ``full_err`` is that of ``sys_err`` 0.02."""
    for path in sorted(dja_files.glob("*.spec.fits")):
        table = fits.getdata(path, "SPEC1D")
        flux, err, full_err, valid = read_with_msaexp(table)
        spectrum = read_path(DJA(url=str(dja_files), sys_err=0.02), path.resolve())
        assert np.array_equal(spectrum.ivar > 0, valid), path.name
        assert np.array_equal(find_valid_pixels(flux, err), valid), path.name
        assert np.allclose(spectrum.ivar[valid], full_err[valid] ** -2.0, rtol=1e-12), path.name


@pytest.mark.parametrize(("dtype", "tolerance"), [("E", 1e-6), ("D", 0.0)])
def test_units_of_the_file_are_converted(release, spectra, dtype, tolerance):
    write_bulk(release / "dja.prism_spectra.fits", *spectra, dtype=dtype, flux="mJy", wave="nm")
    index = 4
    spectrum = read_listing(archives(release)[0])[f"a-v4_prism-clear_1_{N - index}.spec.fits"]
    good = spectrum.ivar > 0
    assert np.allclose(spectrum.flux[good], 1e3 * spectra[0][index][good], rtol=tolerance or 1e-12)
    assert np.allclose(spectrum.wave, WAVE * 1e-3)


def test_bulk_file_of_another_release_is_refused(release, spectra):
    write_bulk(release / "dja.prism_spectra.fits", spectra[0][:-1], spectra[1][:-1])
    with pytest.raises(ValueError, match=r"contains 10 spectra, .*catalog\.csv lists 11 PRISM"):
        archives(release)[0].list_spectra()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, f, e: path.unlink(), "not_found"),
        (lambda path, f, e: path.write_bytes(b"<html>404</html>"), "unreadable"),
        (lambda path, f, e: path.write_bytes(path.read_bytes()[:-5000]), "truncated"),
        (lambda path, f, e: write_bulk(path, f, e, without="err"), "no column err"),
        (lambda path, f, e: write_bulk(path, f, e, flux="m"), "unit .m. cannot be converted to uJy"),
        (lambda path, f, e: write_bulk(path, f, e, dtype="J"), "column flux has type int32"),
    ],
)
def test_invalid_bulk_file_ends_the_listing(release, spectra, damage, message):
    flux, err = np.nan_to_num(spectra[0]), spectra[1]
    damage(release / "dja.prism_spectra.fits", flux, err)
    with pytest.raises(ValueError, match=message):
        archives(release)[0].list_spectra()


def test_missing_index_and_truncated_file_have_reasons(release, spectra):
    archive = archives(release)[0]
    table = archive.list_spectra()
    write_bulk(release / "dja.prism_spectra.fits", spectra[0][:9], spectra[1][:9])
    results = read_listing(archive, table)
    assert [reason(result) for result in results.values()] == [None] * 6 + [QuarantineReason.NOT_FOUND]
    path = release / "dja.prism_spectra.fits"
    path.write_bytes(path.read_bytes()[:-4000])
    assert {reason(result) for result in read_listing(archive, table).values()} == {
        QuarantineReason.UNREADABLE
    }


def test_url_is_the_folder_of_the_bulk_file(release):
    whole = archives(release)[0]
    assert whole.url == f"file://{release}"
    assert Path(whole.bulk).name == "dja.prism_spectra.fits"


@pytest.mark.parametrize("options", [{"grating": "G395M"}, {"bulk": "x.prism_spectra.fits.gz"}])
def test_unsupported_bulk_options_are_refused(options):
    with pytest.raises(ValueError, match=r"--archive\.bulk"):
        DJA(**{"bulk": "x.prism_spectra.fits"} | options)
