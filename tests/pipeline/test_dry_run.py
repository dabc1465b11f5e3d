"""What a run would do, without writing anything."""

import json
from pathlib import Path

import numpy as np
import pytest

from distspec.cli.main import main
from distspec.pipeline.dry_run import dry_run, tabulate_listing
from distspec.pipeline.recipes import parse
from tests.helpers.own_spectra import simulate, write_set


def lines(*words: str) -> list[str]:
    return list(dry_run(parse(list(words))))


def test_own_spectra_are_described_with_what_is_left_out_and_proposed(tmp_path, capsys):
    table = write_set("csv", tmp_path / "own", simulate(12))
    (tmp_path / "own" / "odd.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "own" / "more.csv").write_text(
        "wave_um,flux_uJy\n" + "".join(f"{i / 10},1\n" for i in range(6, 50))
    )
    flags = ["--archive.url", str(tmp_path / "own"), "--archive.catalog", str(table), "--archive.z-min", "5"]
    before = sorted(tmp_path.rglob("*"))
    main(["run", "table", "--root", str(tmp_path / "root"), "--dry-run", *flags])
    text = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    n_low = sum(spectrum.z <= 5 for spectrum in simulate(12))
    assert f"{n_low} not 5 < z <= 20" in text
    for part in (
        "14 spectra in 14 files, understood as",
        "12  CSV table; wavelength_um [um], flux_uJy [uJy], error (sigma); the first s00.csv",
        "0.6–5.3 um, 300 pixels (296 valid), λ/Δλ of a pixel 137",
        "1  nothing, and refused; the first odd.csv",
        "wavelengths: 13 taken as in vacuum (otherwise: --archive.air)",
        "errors: 12 given, 1 estimated from the scatter",
        "flux density: 13 uJy",
        "redshifts: 12 from the table, 2 unknown",
        "14 rows read",
        "1 bad_table, the first odd.csv",
        "1 no_redshift, the first more.csv",
        "selected spectra have no position",
        "--grid.start",
        "--norm.windows",
        "Nothing was written.",
    ):
        assert part in text


def test_the_summary_is_as_short_for_many_files_and_the_table_has_each(tmp_path, capsys):
    table = write_set("fits", tmp_path / "own", simulate(30))
    (tmp_path / "own" / "odd.csv").write_text("a,b\n1,2\n3,4\n")
    words = ["run", "table", "--root", str(tmp_path / "root"), "--dry-run", "--archive.catalog", str(table)]
    words += ["--archive.url", str(tmp_path / "own"), "--archive.z-min", "5"]
    main(words)
    text = capsys.readouterr().out
    assert "mended: 30 with descending wavelengths reversed" in text
    assert len(text.splitlines()) < 20
    main([*words, "--format", "json"])
    rows = {row["object_id"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 31
    assert rows["s07.fits"]["understood_as"].startswith("FITS table")
    assert rows["s07.fits"]["n_pixels"] == 300
    assert rows["odd.csv"]["problem"].startswith("bad_table: ")
    selected = {name for name, row in rows.items() if row["selected"]}
    assert selected == {f"{s.name}.fits" for s in simulate(30) if s.z > 5}
    main([*words, "--archive.air", "-f", "csv"])
    assert len(capsys.readouterr().out.splitlines()) == 32
    with pytest.raises(SystemExit):
        main([*words, "--format", "xml"])


def test_all_that_is_missing_is_in_one_message(tmp_path, capsys):
    write_set("csv", tmp_path / "own", simulate(3))
    (tmp_path / "own" / "odd.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "run",
                "table",
                "--dry-run",
                "--root",
                str(tmp_path / "root"),
                "--archive.url",
                str(tmp_path / "own"),
            ]
        )
    assert stopped.value.code == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(
        part in message
        for part in ("3 no_redshift", "--archive.catalog", "1 bad_table", "--archive.columns.wave", "odd.csv")
    )


def test_the_selection_of_a_known_archive_is_counted_by_reason(dja_files, tmp_path):
    flags = ["--archive.url", str(dja_files), "--archive.catalog", str(dja_files / "catalog.csv")]
    found = lines("dja", "--root", str(tmp_path / "root"), *flags, "--archive.z-min", "7.5")
    assert found[0].startswith("catalog: 78 rows read")
    assert any("not 7.5 < z <= 20" in line for line in found)
    assert not any("proposed" in line for line in found)
    assert any(line.startswith("sample: ") for line in found)
    assert not (tmp_path / "root").exists()


def test_a_simulated_archive_does_not_exist_yet(tmp_path):
    assert "would be simulated" in lines("demo", "--root", str(tmp_path / "root"))[0]


def test_a_folder_without_readable_spectra_is_no_sample(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    wave = np.linspace(0.6, 5.0, 100)
    np.savetxt(folder / "dark.csv", np.column_stack([wave, -np.ones(100), np.ones(100)]), delimiter=",",
               header="wave_um,flux_uJy,err", comments="")  # fmt: skip
    words = ["table", "--root", str(tmp_path / "root"), "--archive.url", str(folder), "--archive.rest-frame"]
    with pytest.raises(ValueError, match=r"--norm.windows"):
        lines(*words)
    found = lines(*words, "--norm.windows", "10000", "12000", "--norm.reference-wave", "11000")
    assert any("no_normalisation" in line for line in found)
    assert Path(folder / "dark.csv").exists()


def test_a_known_archive_has_a_table_of_its_spectra_too(dja_files, tmp_path):
    flags = ["--archive.url", str(dja_files), "--archive.catalog", str(dja_files / "catalog.csv")]
    table = tabulate_listing(parse(["dja", "--root", str(tmp_path / "root"), *flags]))
    n_rejected = len(table) - table["problem"].null_count
    assert {"object_id", "uri", "z", "ra", "dec"} < set(table.column_names)
    assert 0 <= n_rejected < len(table) <= 78
