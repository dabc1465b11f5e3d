"""The wheel: what it declares, what it contains, and that it runs where nothing else is installed."""

import re
import subprocess
import sys
import tomllib
from email import message_from_string
from zipfile import ZipFile

import pytest

from distspec.models.record import CHECKSUM_FILES, RECORD_FILE
from tests.infra.deployment import LOCK, PROJECT, TOP

LINK = re.compile(r"\]\(([^)]+)\)")
SMALL = [
    *("--simulation.n-spectra", "120", "--grid.n-pixels", "128", "--training.max-epochs", "2"),
    *("--clustering.k-max", "6", "--clustering.n-seeds", "2", "--clustering.n-null-draws", "1"),
]
"""A demo that does all that the full one does, with less of each."""


def build_wheel(folder, repository=""):
    """Build the wheel of a copy of the project's settings, with an address of its repository."""
    from hatchling.builders.wheel import WheelBuilder
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    config = tomllib.loads((TOP / PROJECT).read_text())
    config["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"] = repository
    metadata = ProjectMetadata(str(TOP), PluginManager(), config)
    builder = WheelBuilder(str(TOP), config=config["tool"]["hatch"], metadata=metadata)
    [path] = builder.build(directory=str(folder), versions=["standard"])
    return path


def read_wheel(path):
    with ZipFile(path) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(wheel.read(name).decode()), wheel.namelist()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_metadata_is_that_of_a_typed_package_without_development_extras(wheel):
    metadata, files = read_wheel(wheel)
    assert "distspec/py.typed" in files
    model = "distspec/models/weights/prism-simulated"
    assert {f"{model}/{name}" for name in (*CHECKSUM_FILES.values(), RECORD_FILE, "README.md")} <= set(files)
    assert {name.partition("/")[0] for name in files} == {"distspec", "distspec-0.1.0.dist-info"}
    extras = {"cluster", "feedback", "gcp", "hats", "specutils", "tensorboard"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    assert metadata["Maintainer"]
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_the_classifiers_name_the_python_that_ci_runs():
    """`.ci/run` runs make, which takes this interpreter."""
    project = tomllib.loads((TOP / PROJECT).read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    used = re.findall(r"command -v python(3\.\d+)", (TOP / "Makefile").read_text())
    assert named == used == [project["requires-python"].removeprefix(">=")]


def test_links_of_the_long_description_are_absolute(wheel, tmp_path):
    text = read_wheel(wheel)[0].get_payload()
    assert all(link.startswith("https://") for link in LINK.findall(text))
    metadata, _ = read_wheel(build_wheel(tmp_path, "https://example.org/distspec/"))
    links = LINK.findall(metadata.get_payload())
    assert all(link.startswith("https://") for link in links)
    own = [link for link in links if link.startswith("https://example.org/distspec/")]
    for link in own:
        tag, path = link.removeprefix("https://example.org/distspec/").split("/", 2)[1:]
        assert tag == "v0.1.0"
        assert (TOP / path.partition("#")[0]).exists(), link
    assert len(own) == len(re.findall(r"\]\((?!https:)", (TOP / "README.md").read_text()))
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL"))
    assert urls["Source"] == "https://example.org/distspec"
    assert set(urls) == {"Source", "Documentation", "Changelog", "Issues"}


@pytest.mark.slow
def test_the_wheel_runs_the_demo_in_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    install = [environment / "bin" / "pip", "install", "--quiet", "-c", TOP / LOCK, wheel]
    subprocess.run(install, check=True, cwd=tmp_path)
    command = [environment / "bin" / "distspec", "run", "demo", "--root", "demo", *SMALL]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    query = ["query", "SELECT count(*) FROM objects", "--root", "demo", "--format", "csv"]
    command = [environment / "bin" / "distspec", *query]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert 100 < int(answer.split()[-1]) <= 120
