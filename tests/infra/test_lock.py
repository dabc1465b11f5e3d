"""The lock file pins the dependencies of all extras and groups, exactly and once."""

import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from importlib.metadata import distribution, distributions
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.infra.deployment import LOCK, PROJECT

PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[0-9][\w.!]*")


def list_requirements(deployment):
    settings = tomllib.loads(deployment.texts[PROJECT])
    project, groups = settings["project"], settings["dependency-groups"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *chain(*extras.values(), *groups.values())]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            yield requirement


def problems(deployment):
    """Yield packages that are not pinned, not exactly, twice, or not as pyproject.toml requires."""
    lines = [line for line in deployment.texts[LOCK].splitlines() if line and line[0] != "#"]
    yield from (f"no exact pin: {line}" for line in lines if not PIN.fullmatch(line))
    names = [canonicalize_name(re.split(r"[^\w.-]", line)[0]) for line in lines]
    yield from (f"pinned twice: {name}" for name in sorted(set(names)) if names.count(name) > 1)
    pins = dict(zip(names, (line.partition("==")[2] for line in lines), strict=True))
    for requirement in list_requirements(deployment):
        name = canonicalize_name(requirement.name)
        if requirement.url:
            yield f"a URL: {requirement}"
        elif name not in pins:
            yield f"not pinned: {requirement}"
        elif not requirement.specifier.contains(pins[name], prereleases=True):
            yield f"{name} {pins[name]} does not satisfy {requirement}"
    yield from (
        f"not pinned: {text}" for text in sorted(list_dependencies(deployment)) if text.split()[0] not in pins
    )


def list_dependencies(deployment):
    """Return the installed dependencies of the requirements, each with a package that requires it."""
    todo = [(requirement, PROJECT) for requirement in list_requirements(deployment)]
    seen, found = set(), set()
    installed = {canonicalize_name(package.metadata["Name"]) for package in distributions()}
    while todo:
        requirement, parent = todo.pop()
        name = canonicalize_name(requirement.name)
        found.add(f"{name} (for {parent})")
        for extra in ("", *requirement.extras):
            if (name, extra) in seen or name not in installed:
                continue
            seen.add((name, extra))
            for text in distribution(name).requires or ():
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    todo.append((inner, name))
    return found


def test_all_dependencies_are_pinned_exactly_and_once(deployment):
    assert list(problems(deployment)) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (LOCK, "\nzarr==3.1.6\n", "\nzarr>=3.1\n", "no exact pin: zarr>=3.1"),
        (LOCK, "\nzarr==3.1.6\n", "\nzarr @ https://example.org/zarr.whl\n", "no exact pin: zarr @"),
        (LOCK, "\nzarr==3.1.6\n", "\nzarr==3.1.*\n", "no exact pin: zarr==3.1.*"),
        (LOCK, "\nzarr==3.1.6\n", "\nzarr==3.1.6\nZarr==3.1.5\n", "pinned twice: zarr"),
        (LOCK, "\ntensorboard==2.21.0\n", "\n", "not pinned: tensorboard>="),
        (LOCK, "\ndonfig==0.8.1.post1\n", "\n", "not pinned: donfig (for zarr)"),
        (LOCK, "\nsetuptools==", "\nsetuptool==", "not pinned: setuptools (for torch)"),
        (PROJECT, "zarr>=3.1", "zarr>=3.2", "does not satisfy zarr>=3.2"),
        (PROJECT, '"zarr>=3.1"', '"zarr @ https://example.org/zarr.whl"', "a URL"),
    ],
)
def test_lock_problems_are_reported(deployment, name, old, new, message):
    assert message in "\n".join(problems(deployment.replace(name, old, new)))


def test_the_lock_has_the_date_of_its_versions(deployment):
    """Known vulnerabilities are looked up online before a release; the date says what a look-up covered."""
    [text] = re.findall(r"^# Date of the versions: (.*)$", deployment.texts[LOCK], re.MULTILINE)
    assert date(2026, 11, 1) <= date.fromisoformat(text) <= datetime.now(UTC).date()


def test_installed_versions_equal_the_pinned_ones(deployment):
    pins = {canonicalize_name(name): version for name, version in deployment.pinned().items()}
    installed = {canonicalize_name(package.metadata["Name"]): package.version for package in distributions()}
    both = pins.keys() & installed.keys()
    assert len(both) > 100
    # Local versions such as +cpu are ignored.
    assert {n: installed[n] for n in both if Version(installed[n]).public != str(Version(pins[n]))} == {}


def test_installed_packages_are_compatible():
    ended = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout
