"""The page on adding an archive: its example is an archive that works."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import distspec.archives
from distspec.archives.base import LISTING_SCHEMA, Archive
from distspec.core.errors import QuarantineReason
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from tests.helpers.reading import reason
from tests.helpers.rest_frame import to_rest_frame

PAGE = (Path(distspec.archives.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
N = 100
WAVE, FLUX = np.linspace(4000.0, 9000.0, N), 5.0 + np.sin(np.arange(N))


@pytest.fixture
def example(monkeypatch):
    assert len(BLOCKS[0].splitlines()) < 80
    module = types.ModuleType("example_archive")
    monkeypatch.setitem(sys.modules, "example_archive", module)
    exec(compile(BLOCKS[0], "README.md", "exec"), module.__dict__)
    return module.Example


def write(path, unit="Angstrom"):
    path.parent.mkdir(exist_ok=True)
    mask = np.arange(N) == 7
    columns = [
        fits.Column("WAVE", "D", unit=unit, array=WAVE),
        fits.Column("FLUX", "E", array=FLUX),
        fits.Column("IVAR", "E", array=np.where(np.arange(N) == 3, 0.0, 4.0)),
        fits.Column("MASK", "J", array=mask),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="SPECTRUM")]).writeto(path)


@pytest.fixture
def survey(tmp_path):
    (tmp_path / "targets.csv").write_text(
        "name,ra,dec,z,warning,updated\nb,10,2,0.5,0,2025-01-01\na,11,2,0.6,1,2025-01-01\n"
        "far,12,2,3.0,0,2025-01-01\ngone,12,2,0.1,0,2025-01-01\nnm,13,2,0.1,0,2025-01-01\n"
    )
    for name in ("a", "b", "far"):
        write(tmp_path / "spectra" / f"{name}.fits")
    write(tmp_path / "spectra" / "nm.fits", unit="nm")
    return str(tmp_path)


def test_the_example_lists(example, survey):
    archive: Archive = example(survey)
    listing = archive.list_spectra()
    assert listing.schema.equals(LISTING_SCHEMA)
    assert listing["object_id"].to_pylist() == ["a", "b", "gone", "nm"]
    assert listing["grade"].to_pylist() == [0, 3, 3, 3]


def test_the_example_is_ingested(example, survey):
    archive = example(survey)
    results = dict(
        zip(
            "ab-n",
            read_archive_spectra(archive, DEFAULT_ACCESS, listing_to_entries(archive.list())),
            strict=True,
        )
    )
    assert [reason(result) for result in results.values()] == [
        None,
        None,
        QuarantineReason.NOT_FOUND,
        QuarantineReason.BAD_TABLE,
    ]
    wave, flux, ivar = to_rest_frame(results["b"])
    assert np.allclose(wave, WAVE / 1.5)
    assert np.allclose(flux[ivar > 0], 1.5e-17 * FLUX[ivar > 0])
    assert np.flatnonzero(ivar == 0).tolist() == [3, 7]


def test_every_reason_on_the_page_is_one():
    named = set(re.findall(r"`(\w+)`", PAGE.partition("| reason |")[2].partition("`distspec.io.remote`")[0]))
    assert named <= {str(one) for one in QuarantineReason}
    assert len(named) == 13


def test_the_recipe_is_one(example):
    made = []
    names = {"GridConfig": GridConfig, "NormConfig": NormConfig, "Example": example}
    names |= {"Config": lambda *args, **settings: made.append((args, settings))}
    exec(f"from __future__ import annotations\n{BLOCKS[1]}", names)
    names["example"]("root")
    (args, settings), *_ = made
    assert args[:2] == ("root", "example")
    norm, grid = settings["norm"], settings["grid"].resolve(np.array([0.5]))
    low, high = norm.windows[0]
    assert low <= norm.reference_wave <= high
    assert grid.start < min(min(norm.windows)) < max(max(norm.windows)) < grid.stop
