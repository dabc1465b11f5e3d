"""The verb describe."""

import pytest

from distspec.cli.main import main


def test_lists_what_files_are_and_why_others_cannot_be_read(tmp_path, capsys):
    rows = "\n".join(f"{0.5 + 0.01 * i},{1 + i % 3},0.1" for i in range(30))
    (tmp_path / "a.csv").write_text(f"# z = 3\nwave,flux,err\n{rows}\n")
    (tmp_path / "b.txt").write_text("notes of the night\n")
    main(["describe", str(tmp_path), "--units.flux", "uJy"])
    printed = capsys.readouterr().out
    assert (
        "CSV table; wave, flux [uJy], err (sigma); 30 of 30 pixels valid, 0.5–0.79 um, z = 3, no position"
        in printed
    )
    assert "b.txt: bad_table" in printed
    assert printed.endswith("2 spectra: 1 readable, 1 bad_table\n")


def test_missing_files_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["describe", str(tmp_path / "gone.fits")])
    assert "gone.fits" in capsys.readouterr().err
