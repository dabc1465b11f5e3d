"""Folders of spectra in any form, and their tables of redshifts."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.spex import SpeX
from distspec.archives.table import TableArchive
from distspec.core.errors import ArchiveError, ConfigError, InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.ingest.source import ArchiveSource, SourceRecord
from distspec.io.remote.config import AccessConfig
from distspec.io.spectra import ColumnNames, UnitNames
from tests.conftest import real_data
from tests.helpers.own_spectra import WRITERS, simulate, write_csv, write_set

ACCESS = AccessConfig()
SPECTRA = simulate(3)


def listed(archive: TableArchive) -> dict[str, dict]:
    return {row["object_id"]: row for row in archive.list_spectra().to_pylist()}


def read(archive: TableArchive) -> dict[str, Spectrum]:
    entries = listing_to_entries(archive.list_spectra())
    found = read_archive_spectra(archive, ACCESS, entries, archive.requires_position)
    return {entry.object_id: spectrum for entry, spectrum in zip(entries, found, strict=True)}


def rejected(archive: TableArchive) -> dict[str, str]:
    return {record.object_id: str(record.reason) for record in archive.read_listing().rejected}


@pytest.mark.parametrize("kind", WRITERS)
def test_sets_of_own_spectra_are_read_as_they_were_written(kind, tmp_path):
    table = write_set(kind, tmp_path / kind, SPECTRA)
    found = read(TableArchive(url=str(tmp_path / kind), catalog=str(table)))
    assert len(found) == len(SPECTRA)
    for spectrum, expected in zip(found.values(), SPECTRA, strict=True):
        valid = spectrum.ivar > 0
        assert valid.sum() >= len(expected.wave) - 10
        assert spectrum.z == expected.z
        assert np.allclose(spectrum.wave, expected.wave, rtol=1e-5)
        factor = {"fits": 2.99792458e-19 / expected.wave**2, "specutils": 1e-3}.get(kind, 1.0)  # per uJy
        assert np.allclose((spectrum.flux / factor)[valid], expected.flux[valid], rtol=1e-4, atol=1e-6)
        assert np.allclose((spectrum.ivar * factor**2)[valid], expected.err[valid] ** -2.0, rtol=1e-4)


def test_redshifts_positions_and_sources_are_those_of_the_table(tmp_path):
    folder = tmp_path / "own"
    write_set("msaexp", folder, SPECTRA)
    names = sorted(path.name for path in folder.iterdir())
    rows = [f"{names[0]},1.5,10,20,A", "galaxy s01 prism,2.5,,,", f"{names[2]},3.5,,,B"]
    (tmp_path / "z.csv").write_text("\n".join(["file,z,ra,dec,source", *rows, ""]))
    archive = TableArchive(url=str(folder), catalog=str(tmp_path / "z.csv"))
    found = [listed(archive)[name] for name in names]
    assert [row["z"] for row in found] == [1.5, 2.5, 3.5]
    assert [row["source_key"] for row in found] == ["A", "", "B"]
    assert [(row["ra"], row["dec"]) for row in found] == [(10.0, 20.0), (150.01, 2.0), (150.02, 2.0)]
    assert archive.read_listing().counts.selected == 3
    limited = replace(archive, z_min=2.0, z_max=3.0).read_listing().counts
    assert (limited.selected, limited.deselected) == (1, {"z": 2})


def test_spectra_without_redshift_are_refused_with_all_remedies_or_are_in_the_rest_frame(tmp_path):
    folder = tmp_path / "own"
    write_set("csv", folder, SPECTRA)
    archive = TableArchive(url=str(folder))
    listing = archive.read_listing()
    assert len(listing.spectra) == 0
    assert listing.counts.quarantined == {"no_redshift": 3}
    remedy = archive.suggest_remedy(listing)
    assert all(flag in remedy for flag in ("3 no_redshift", "--archive.catalog", "--archive.rest-frame"))
    stars = read(replace(archive, rest_frame=True))
    assert [spectrum.z for spectrum in stars.values()] == [0.0, 0.0, 0.0]
    rows = listed(replace(archive, rest_frame=True))
    assert all(np.isnan(row["ra"]) and row["source_key"] == name for name, row in rows.items())
    (tmp_path / "z.csv").write_text("file,z\ns00.csv,5.0\ns01.csv,-9\n")
    assert rejected(replace(archive, catalog=str(tmp_path / "z.csv"))) == {
        "s01.csv": "no_redshift",
        "s02.csv": "no_redshift",
    }


def test_files_that_only_the_table_of_redshifts_names_are_logged(tmp_path, caplog):
    folder = tmp_path / "own"
    write_set("csv", folder, SPECTRA)
    (folder / "s01.csv").write_text("broken")
    archive = TableArchive(url=str(folder), catalog=str(tmp_path / "z.csv"))
    (tmp_path / "z.csv").write_text("file,z\ns00.csv,5\ns01,5\ns02,5\n")
    assert archive.read_listing().counts.selected == 2
    assert not caplog.messages
    (tmp_path / "z.csv").write_text("file,z\ns00.csv,5\ns01,5\ns02,5\nsO3.csv,5\n")
    archive.read_listing()
    assert "belongs to 1 of the names in its column of files, the first sO3.csv" in caplog.text


def test_rows_of_an_array_are_spectra(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    flux = np.random.default_rng(0).normal(5.0, 1.0, (20, 400))
    image = fits.PrimaryHDU(flux)
    image.header.update(
        {"CTYPE1": "WAVE", "CRVAL1": 4000.0, "CDELT1": 2.0, "CRPIX1": 1.0, "CUNIT1": "Angstrom"}
    )
    image.writeto(folder / "stack.fits")
    (tmp_path / "z.csv").write_text("\n".join(["z", *(f"0.{i:02d}" for i in range(20)), ""]))
    archive = TableArchive(url=str(folder), catalog=str(tmp_path / "z.csv"))
    rows = listed(archive)
    assert list(rows)[:2] == ["stack.fits#1", "stack.fits#2"]
    assert rows["stack.fits#8"]["z"] == 0.07
    found = read(archive)
    assert np.allclose(found["stack.fits#8"].flux[found["stack.fits#8"].ivar > 0], flux[7])
    numbered = "\n".join(["file,z", "stack#3,0.5", "stack.fits#4,0.6", ""])
    (tmp_path / "some.csv").write_text(numbered)
    some = listed(replace(archive, catalog=str(tmp_path / "some.csv")))
    assert {name: row["z"] for name, row in some.items()} == {"stack.fits#3": 0.5, "stack.fits#4": 0.6}
    (tmp_path / "few.csv").write_text("z\n0.1\n")
    with pytest.raises(ArchiveError, match="1 rows, no column file, and 0 files have as many spectra"):
        replace(archive, catalog=str(tmp_path / "few.csv")).read_listing()
    (folder / "stack.fits").rename(folder / "stack")
    assert set(rejected(archive).values()) == {"bad_id"}
    (folder / "stack").rename(folder / "stack.fits")
    entries = archive.list_external_file((folder / "stack.fits").as_uri(), 0.3, ACCESS)
    assert [entry.object_id for entry in entries[:2]] == ["stack.fits#1", "stack.fits#2"]


def test_a_version_follows_what_is_read_and_not_when_a_file_was_written(tmp_path):
    folder = tmp_path / "own"
    table = write_set("csv", folder, SPECTRA)
    archive = TableArchive(url=str(folder), catalog=str(table))
    before = {name: row["version"] for name, row in listed(archive).items()}
    (folder / "s00.csv").touch()
    assert {name: row["version"] for name, row in listed(archive).items()} == before
    in_air = {name: row["version"] for name, row in listed(replace(archive, air=True)).items()}
    assert all(in_air[name] != before[name] for name in before)
    (folder / "s01.csv").unlink()
    write_csv(folder, replace(SPECTRA[1], flux=SPECTRA[1].flux + 1.0))
    changed = {name: row["version"] for name, row in listed(archive).items()}
    assert [changed[name] == before[name] for name in sorted(before)] == [True, False, True]


def test_names_are_paths_and_other_files_are_no_spectra(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_csv(tmp_path / "a", SPECTRA[0])
    write_csv(tmp_path / "b", SPECTRA[0])
    for name in ("README.md", "plot.png", ".hidden", "notes.csv"):
        (tmp_path / name).write_text("name,remark\nx,y\n")
    (tmp_path / "z.csv").write_text("file,z\na/s00.csv,5.0\nb/s00.csv,6.0\n")
    archive = TableArchive(url=str(tmp_path), catalog=str(tmp_path / "z.csv"))
    rows = listed(archive)
    assert {name: (row["z"], row["root"]) for name, row in rows.items()} == {
        "a__s00.csv": (5.0, "a"),
        "b__s00.csv": (6.0, "b"),
    }
    assert rejected(archive) == {"notes.csv": "bad_table"}


def test_every_defect_has_one_reason_or_is_mended(tmp_path):
    """Descending, repeated and missing wavelengths, NaN, no errors, two extensions that fit, mixed units."""
    wave, flux, err = (
        np.linspace(4000.0, 7000.0, 60),
        np.full(60, 3.0) + np.arange(60) % 3,
        np.full(60, 0.1),
    )

    def table(name: str, **columns: np.ndarray) -> None:
        hdu = fits.table_to_hdu(Table(columns))
        hdu.header["TUNIT1"] = "Angstrom"
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / name)

    table("descending.fits", wave=wave[::-1], flux=flux[::-1], err=err)
    table("repeated.fits", wave=np.repeat(wave, 2), flux=np.repeat(flux, 2), err=np.repeat(err, 2))
    table("nan_edges.fits", wave=wave, flux=np.where(wave < 4200.0, np.nan, flux), err=err)
    table("no_errors.fits", wave=wave, flux=flux)
    table("all_nan.fits", wave=wave, flux=flux * np.nan, err=err)
    fits.table_to_hdu(Table({"speed": wave, "flux": flux, "err": err})).writeto(tmp_path / "no_wave.fits")
    one, other = (fits.table_to_hdu(Table({"wave": wave, "flux": flux, "err": err})) for _ in range(2))
    one.name, other.name = "BLUE", "RED"
    fits.HDUList([fits.PrimaryHDU(), one, other]).writeto(tmp_path / "two.fits")
    np.savetxt(tmp_path / "mixed.csv", np.column_stack([wave / 1e4, flux, err]), delimiter=",",
               header="wave_um,flux_mJy,err", comments="")  # fmt: skip
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =" + b" " * 20)
    archive = TableArchive(url=str(tmp_path), rest_frame=True)
    found = read(archive)
    assert sorted(found) == [
        "descending.fits",
        "mixed.csv",
        "nan_edges.fits",
        "no_errors.fits",
        "repeated.fits",
    ]
    assert all(isinstance(spectrum, Spectrum) for spectrum in found.values())
    assert np.allclose(found["mixed.csv"].wave, found["descending.fits"].wave)
    assert found["mixed.csv"].unit == "mJy"
    assert len(found["repeated.fits"].wave) == 60
    assert found["nan_edges.fits"].ivar[0] == 0.0
    reasons = rejected(archive)
    assert reasons.pop("broken.fits") in {"unreadable", "bad_table"}
    assert reasons == {
        "all_nan.fits": "no_valid_pixels",
        "no_wave.fits": "bad_table",
        "two.fits": "ambiguous",
    }
    strict = rejected(replace(archive, estimate_errors=False))
    assert strict["no_errors.fits"] == "no_valid_pixels"
    named = replace(archive, hdu="RED", columns=ColumnNames(wave="speed"), units=UnitNames(wave="Angstrom"))
    assert "two.fits" not in rejected(replace(archive, hdu="RED"))
    assert "no_wave.fits" not in rejected(replace(named, hdu=""))


def test_messages_name_the_flags_of_the_pipeline(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.ones((20, 2)) * [[3.0, 1.0]], delimiter=",", header="a,b", comments="")
    archive = TableArchive(url=str(tmp_path), rest_frame=True)
    (record,) = archive.read_listing().rejected
    assert "--archive.columns.wave" in record.detail
    assert record.detail in archive.suggest_remedy(archive.read_listing())


def test_impossible_settings_are_refused(tmp_path):
    with pytest.raises(ArchiveError, match=r"--archive.url is empty"):
        TableArchive().read_listing()
    with pytest.raises(ArchiveError, match="holds no file"):
        TableArchive(url=str(tmp_path)).read_listing()
    with pytest.raises(ArchiveError, match="needs a column file"):
        TableArchive(url="https://example.org/x").read_listing()
    with pytest.raises(ConfigError, match="z-min"):
        TableArchive(z_min=3.0, z_max=2.0)
    with pytest.raises(ConfigError, match="resolving-power"):
        TableArchive(resolving_power=-1.0)


def test_the_record_of_a_source_has_all_options():
    archive = TableArchive(url="x", columns=ColumnNames(flux="F"), units=UnitNames(wave="nm"), air=True)
    record = SourceRecord.from_source(ArchiveSource(archive))
    assert SourceRecord.from_json(record.to_json()).to_source().archive == archive


@pytest.mark.parametrize(
    ("reader", "n_compared"),
    [(DJA(), 26), (SDSS(accept_z_warnings=True), 21), (JADES(), 9), (SpeX(), 20), (DESI(), 2)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_real_files_are_read_as_by_the_readers_of_their_archives(reader, n_compared, tmp_path):
    """The same axis, flux and errors, where the archive's reader takes a file; masks differ between them."""
    paths = sorted(real_data(reader.name).rglob("*.fits*"))[:80]
    for path in paths[:: {"dja": 3, "spex": 4}.get(reader.name, 1)]:
        if not path.name.startswith("stack"):  # rows of DESI that its reader does not take
            (tmp_path / path.name).symlink_to(path)
    archive = reader.external_archive(tmp_path.as_uri(), has_redshifts=True)
    n = 0
    for name, ours in read(TableArchive(url=str(tmp_path), rest_frame=True)).items():
        [entry] = archive.list_external_file((tmp_path / name).as_uri(), 0.0, ACCESS)
        [theirs] = read_archive_spectra(archive, ACCESS, [entry], require_position=False)
        if isinstance(theirs, InvalidSpectrumError):
            assert theirs.reason in {QuarantineReason.NOT_A_TARGET, QuarantineReason.FLAGGED}
            continue
        both = np.intersect1d(np.round(ours.wave, 9), np.round(theirs.wave, 9))
        assert len(both) > 0.95 * len(theirs.wave)
        i, j = (np.flatnonzero(np.isin(np.round(s.wave, 9), both)) for s in (ours, theirs))
        valid = (ours.ivar[i] > 0) & (theirs.ivar[j] > 0)
        assert valid.sum() >= 0.9 * (theirs.ivar[j] > 0).sum()
        for quantity in ("flux", "ivar"):
            one, other = (getattr(s, quantity)[k][valid] for s, k in ((ours, i), (theirs, j)))
            assert np.allclose(one, other, rtol=1e-5), (name, quantity)
        n += 1
    assert n >= n_compared
