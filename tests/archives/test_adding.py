"""The guide on adding an archive: its example, installed as a package of its own, works."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from distspec.archives.base import LISTING_SCHEMA, Archive
from distspec.archives.registry import builtin_archives, get_archive, list_archives
from distspec.core.entry_points import load_entry_points
from distspec.core.errors import ArchiveError, ConfigError, QuarantineReason
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.pipeline.recipes import find_recipe
from tests.helpers.reading import reason
from tests.helpers.rest_frame import to_rest_frame

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "external_package"
GUIDE = (REPOSITORY / "docs" / "guides" / "add_an_archive.md").read_text()
N_PIXELS = 400
WAVE = np.linspace(4000.0, 9000.0, N_PIXELS)
FLUX = 5.0 + np.sin(np.arange(N_PIXELS))


@pytest.fixture
def example():
    """Return the example's module."""
    spec = spec_from_file_location("example_survey", PACKAGE / "example_survey.py")
    module = module_from_spec(spec)
    sys.modules["example_survey"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["example_survey"]


@pytest.fixture
def survey(tmp_path):
    """Return the folder of a survey of four targets within the redshift limit, two of them unusable."""
    folder = tmp_path / "survey"
    (folder / "spectra").mkdir(parents=True)
    (folder / "targets.csv").write_text(
        "name,ra,dec,z,warning,updated\nb,10,2,0.5,0,2025-01-01\na,11,2,0.6,1,2025-01-01\n"
        "far,12,2,3.0,0,2025-01-01\ngone,12,2,0.1,0,2025-01-01\nnm,13,2,0.1,0,2025-01-01\n"
    )
    for name in ("a", "b", "far"):
        write_spectrum(folder / "spectra" / f"{name}.fits")
    write_spectrum(folder / "spectra" / "nm.fits", unit="nm")
    return folder


def write_spectrum(path, unit="Angstrom"):
    columns = [
        fits.Column("WAVE", "D", unit=unit, array=WAVE),
        fits.Column("FLUX", "E", array=FLUX),
        fits.Column("IVAR", "E", array=np.where(np.arange(N_PIXELS) == 3, 0.0, 4.0)),
        fits.Column("MASK", "J", array=np.arange(N_PIXELS) == 7),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="SPECTRUM")]).writeto(path)


def install(folder, name="example-survey", entry_points=None):
    """Install the example, or only entry points, as `pip install --target` does."""
    folder.mkdir(exist_ok=True)
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    if entry_points is None:
        entry_points = project["entry-points"]
        shutil.copy(PACKAGE / "example_survey.py", folder)
    info = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


def run_python(code, site):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(REPOSITORY)])}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=site, capture_output=True, text=True, timeout=300
    )


def test_guide_contains_the_tested_package():
    for language, name in (("python", "example_survey.py"), ("toml", "pyproject.toml")):
        [block] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
        assert block == (PACKAGE / name).read_text()


def test_guide_lists_every_member_and_reason():
    table = GUIDE.partition("| member |")[2].partition("\n\n")[0]
    members = {name for name in vars(Archive) | Archive.__annotations__ if not name.startswith("_")}
    assert members == set(re.findall(r"`(\w+)[`(]", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE))))
    named = set(re.findall(r"`(\w+)`", GUIDE.partition("| reason |")[2].partition("are raised by")[0]))
    assert named <= {str(code) for code in QuarantineReason}
    assert len(named) == 13


def test_example_lists(example, survey):
    listing = example.ExampleSurvey(str(survey)).list_spectra()
    assert listing.schema.equals(LISTING_SCHEMA)
    assert listing["object_id"].to_pylist() == ["a", "b", "gone", "nm"]
    assert listing["grade"].to_pylist() == [0, 3, 3, 3]


def test_example_reads(example, survey):
    archive = example.ExampleSurvey(str(survey))
    entries = listing_to_entries(archive.list_spectra())
    a, b, gone, nm = read_archive_spectra(archive, DEFAULT_ACCESS, entries)
    assert [reason(result) for result in (a, b)] == [None, None]
    assert [reason(result) for result in (gone, nm)] == [
        QuarantineReason.NOT_FOUND,
        QuarantineReason.BAD_TABLE,
    ]
    wave, flux, ivar = to_rest_frame(b)
    assert np.allclose(wave, WAVE / 1.5)
    assert np.allclose(flux[ivar > 0], 1.5e-17 * FLUX[ivar > 0])
    assert np.flatnonzero(ivar == 0).tolist() == [3, 7]


def test_example_recipe_is_consistent(example):
    config = example.example("root")
    grid, norm = config.grid.resolve(np.array([0.5])), config.norm
    low, high = norm.windows[0]
    assert low <= norm.reference_wave <= high
    assert grid.start < min(min(norm.windows)) < max(max(norm.windows)) < grid.stop
    archive = example.ExampleSurvey
    assert [column.name for column in archive.measurements.columns] == [
        "hbeta_ew",
        "hbeta_ew_err",
        "hbeta_snr",
    ]


def test_installed_package_is_ingested(tmp_path, survey):
    """Workers read the archive of an installed package, and its name in the store finds it again."""
    site, root = tmp_path / "site", tmp_path / "root"
    install(site)
    code = f"""
import json
from distspec.archives.registry import get_archive
from distspec.cli.run import main
from distspec.ingest.source import read_source
from distspec.io.paths import store_url
from distspec.store.store import open_store

main(["ingest", "example", "--root", {str(root)!r}, "--archive.url", {str(survey)!r},
      "--ray.num-cpus", "1"])
store = open_store(store_url({str(root)!r}))
archive = get_archive(store.config.archive_name)
print(json.dumps({{
    "n_rows": store.n_rows,
    "class": archive.__module__,
    "source": type(read_source({str(root)!r}).archive).__qualname__,
    "z_max": read_source({str(root)!r}).archive.z_max,
    "columns": [column.name for column in archive.measurements.columns],
    "viewer": archive.viewer_url({{"srcid": "b"}}),
}}))
"""
    result = run_python(code, site)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "n_rows": 2,
        "class": "example_survey",
        "source": "ExampleSurvey",
        "z_max": 1.5,
        "columns": ["hbeta_ew", "hbeta_ew_err", "hbeta_snr"],
        "viewer": "https://example.org/targets/b",
    }


def test_store_of_a_removed_package_names_the_remedy():
    with pytest.raises(ArchiveError, match=r"'example' is unknown: install the package .* desi, dja, jades"):
        get_archive("example")


BROKEN = {"distspec.archives": {"broken": "no_such_module:Survey"}, "distspec.recipes": {"broken": "no:f"}}


def test_package_that_cannot_be_imported_is_reported_and_harmless(tmp_path):
    site = tmp_path / "site"
    install(site)
    install(site, "broken-survey", BROKEN)
    code = """
from distspec.archives.registry import get_archive, list_archives
from distspec.core.errors import ArchiveError, ConfigError
from distspec.pipeline.recipes import find_recipe, list_recipes
builtin = {"dja", "desi", "jades", "sdss", "spex", "table"}
print(sorted(set(list_archives()) - builtin), "example" in list_recipes())
for find, error in ((get_archive, ArchiveError), (find_recipe, ConfigError)):
    try:
        find("broken")
    except error as problem:
        print(problem)
"""
    result = run_python(code, site)
    assert result.returncode == 0, result.stderr
    names, archive, recipe = result.stdout.splitlines()
    assert names == "['example'] True"
    assert "package broken-survey: no_such_module:Survey cannot be imported" in archive
    assert "recipe broken cannot be used: package broken-survey" in recipe
    assert "package broken-survey" in result.stderr


def test_taken_names_are_refused(tmp_path, monkeypatch):
    site = tmp_path / "site"
    install(site, "one", {"distspec.archives": {"dja": "example_survey:ExampleSurvey", "twice": "math:pi"}})
    install(site, "other", {"distspec.archives": {"twice": "math:e", "fine": "math:tau"}})
    monkeypatch.syspath_prepend(str(site))
    loaded = load_entry_points("distspec.archives", builtin_archives())
    assert list(loaded.objects) == ["fine"]
    assert loaded.problems == {
        "dja": "package one: the name 'dja' is already used by distspec",
        "twice": "the name 'twice' is claimed more than once, by one and other",
    }


def test_entry_point_must_be_an_archive_of_that_name(tmp_path):
    site = tmp_path / "site"
    install(site)
    points = {"number": "math:pi", "renamed": "example_survey:ExampleSurvey"}
    install(site, "wrong", {"distspec.archives": points})
    code = """
from distspec.archives.registry import get_archive
for name in ("number", "renamed"):
    try:
        get_archive(name)
    except ValueError as problem:
        print(problem)
"""
    number, renamed = run_python(code, site).stdout.splitlines()
    assert "is not a subclass of distspec.archives.Archive" in number
    assert "ExampleSurvey.name is 'example', but its entry point is 'renamed'" in renamed


def test_built_in_archives():
    assert sorted(builtin_archives()) == ["desi", "dja", "jades", "sdss", "spex", "table"]
    assert builtin_archives().items() <= list_archives().items()
    for name, archive in builtin_archives().items():
        assert get_archive(name) is archive
        names = {column.name for column in archive.measurements.columns}
        assert all(set(rule.measurements) <= {*names, "balmer_ew"} for rule in archive.galaxy_types)
    assert get_archive("").measurements.columns == ()


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(ConfigError, match="demo, paper, learnspec, dja"):
        find_recipe("example")
