import math

import numpy as np
import pytest

from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.external import iter_external_entries, read_redshifts
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.spex import SpeX
from distspec.archives.table import TableArchive
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Spectrum
from distspec.ingest.read import read_archive_spectra
from distspec.io.remote.config import AccessConfig
from tests.archives import test_desi, test_jades, test_sdss
from tests.helpers.own_spectra import simulate, write_csv

ACCESS, UNKNOWN = AccessConfig(), math.nan


def outcomes(archive, files, z):
    """Return each entry of the files with its spectrum or the reason why there is none."""
    found = []
    for reader, entries in iter_external_entries(archive, [str(file) for file in files], z, ACCESS):
        for entry, one in zip(
            entries, read_archive_spectra(reader, ACCESS, entries, require_position=False), strict=True
        ):
            found.append((entry, one.reason if isinstance(one, InvalidSpectrumError) else one))
    return found


@pytest.mark.parametrize(
    "archive", [DJA(), JADES("elsewhere", "t.csv"), SpeX("elsewhere"), SDSS("elsewhere")]
)
def test_files_of_several_folders_keep_their_order(archive, tmp_path):
    files = [str(tmp_path / name) for name in ("b/2.fits", "a/1.fits", "a/3.fits", "b/4.fits")]
    parts = list(iter_external_entries(archive, files, [1.0, 2.0, 3.0, 4.0], ACCESS))
    assert [entry.object_id for _, part in parts for entry in part] == [
        "2.fits",
        "1.fits",
        "3.fits",
        "4.fits",
    ]
    assert [reader.url for reader, _ in parts] == [f"file://{tmp_path}/{folder}" for folder in "bab"]


def test_bulk_file_is_not_used(tmp_path):
    archive = DJA(bulk="https://example.org/a.prism_spectra.fits")
    [(reader, [entry])] = iter_external_entries(archive, [str(tmp_path / "x.spec.fits")], [5.0], ACCESS)
    assert (reader.bulk, reader.url, entry.z) == ("", f"file://{tmp_path}", 5.0)


def test_missing_and_damaged_files_have_reasons(tmp_path):
    (tmp_path / "bad.spec.fits").write_bytes(b"no FITS")
    files = [tmp_path / "none.spec.fits", tmp_path / "bad.spec.fits"]
    assert [one for _, one in outcomes(DJA(), files, [5.0, 5.0])] == [
        QuarantineReason.NOT_FOUND,
        QuarantineReason.UNREADABLE,
    ]


def test_given_redshift_overrides_a_warning(tmp_path):
    path = test_sdss.write(tmp_path / "spec-1-2-3.fits", ZWARNING=4)
    assert [one for _, one in outcomes(SDSS("elsewhere"), [path], [UNKNOWN])] == [QuarantineReason.FLAGGED]
    [(entry, spectrum)] = outcomes(SDSS("elsewhere"), [path], [0.3])
    assert isinstance(spectrum, Spectrum)
    assert entry.z == 0.3


def test_coadd_gives_all_targets_or_one(tmp_path):
    path = test_desi.write(tmp_path)
    found = {entry.object_id[-3:]: (entry.z, one) for entry, one in outcomes(DESI("x"), [path], [UNKNOWN])}
    assert found.keys() == {"101", "102", "103", "106"}
    assert found["101"][0] == 0.5, "from the redrock file in the same folder"
    assert found["102"][1] is QuarantineReason.FLAGGED
    [(entry, one)] = outcomes(DESI("x"), [f"{path}#102"], [2.0])
    assert (entry.object_id, entry.z) == ("main-dark-1-102", 2.0)
    assert isinstance(one, Spectrum)


def test_redshifts_from_a_table(tmp_path):
    (tmp_path / "z.csv").write_text("File,other,z_best\na.fits,1,5.5\nb.fits,1,\n")
    found = read_redshifts(
        ["/x/a.fits", "s3://y/b.fits", "c.fits", "a.fits#3"], str(tmp_path / "z.csv"), ACCESS
    )
    assert np.array_equal(found, [5.5, np.nan, np.nan, 5.5], equal_nan=True)
    (tmp_path / "no.csv").write_text("file,zz\na,1\n")
    with pytest.raises(ValueError, match=r"no column redshift or z or .*its columns are file, zz"):
        read_redshifts(["a"], str(tmp_path / "no.csv"), ACCESS)
    (tmp_path / "no.csv").write_text("path,zz\na,1\n")
    with pytest.raises(ArchiveError, match=r"no column file or .* and no column redshift or z or "):
        read_redshifts(["a"], str(tmp_path / "no.csv"), ACCESS)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("file,Z,u,g,r,i,z", "Z, z"),
        ("file,z_Spec,z_spec", "z_Spec, z_spec"),
        ("file,z_best,zfit", "z_best, zfit"),
    ],
)
def test_columns_that_could_be_the_redshift_are_refused(tmp_path, header, named):
    (tmp_path / "z.csv").write_text(f"{header}\na.fits{',3.9' * header.count(',')}\n")
    with pytest.raises(ArchiveError, match=rf"several columns that could be the redshift: {named}; keep one"):
        read_redshifts(["a.fits"], str(tmp_path / "z.csv"), ACCESS)
    (tmp_path / "z.csv").write_text(f"redshift,{header}\n6.4,a.fits{',3.9' * header.count(',')}\n")
    assert read_redshifts(["a.fits"], str(tmp_path / "z.csv"), ACCESS) == [6.4]


def test_files_are_found_by_name_and_folder_and_doubtful_redshifts_are_refused(tmp_path):
    rows = ["a/x.fits,1", "b/x.fits,2", "twice.fits,3", "twice.fits,4", "same.fits,5", "same.fits,5.0"]
    (tmp_path / "z.csv").write_text("\n".join(["file,z", *rows, "odd.fits,1.5?", "none.fits,--", ""]))
    urls = [
        "/d/a/x.fits",
        "s3://d/b/x.fits",
        "/d/c/x.fits",
        "twice.fits",
        "same.fits",
        "odd.fits",
        "none.fits",
    ]
    found = read_redshifts(urls, str(tmp_path / "z.csv"), ACCESS)
    assert [found[i] for i in (0, 1, 4)] == [1.0, 2.0, 5.0]
    ambiguous, bad = QuarantineReason.AMBIGUOUS, QuarantineReason.BAD_ROW
    assert [found[i].reason for i in (2, 3, 5)] == [ambiguous, ambiguous, bad]
    assert "3.0, 4.0 for twice.fits" in found[3].detail
    assert np.isnan(found[6])


def test_files_without_a_redshift_are_read(tmp_path):
    """Predictions measure it."""
    jades = test_jades.write(tmp_path / "001882_prism_clear_v5.0_1D.fits")
    own = tmp_path / write_csv(tmp_path, simulate(1)[0])
    for archive, path in ((JADES("elsewhere", "t.csv"), jades), (TableArchive(), own)):
        [(_, spectrum)] = outcomes(archive, [path], [UNKNOWN])
        assert math.isnan(spectrum.z)
