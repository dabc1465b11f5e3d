"""The lock pins everything that any extra brings, exactly and once."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, distributions
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.infra.deployment import LOCK, PROJECT

PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[0-9][\w.!]*")


def required(deployment):
    project = tomllib.loads(deployment.texts[PROJECT])["project"]
    for text in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            yield requirement


def problems(deployment):
    """Yield what is not pinned, not exactly, twice, or not as pyproject.toml asks."""
    lines = [line for line in deployment.texts[LOCK].splitlines() if line and line[0] != "#"]
    yield from (f"no exact pin: {line}" for line in lines if not PIN.fullmatch(line))
    names = [canonicalize_name(re.split(r"[^\w.-]", line)[0]) for line in lines]
    yield from (f"twice: {name}" for name in sorted(set(names)) if names.count(name) > 1)
    pins = dict(zip(names, (line.partition("==")[2] for line in lines), strict=True))
    for requirement in required(deployment):
        name = canonicalize_name(requirement.name)
        if requirement.url:
            yield f"a URL: {requirement}"
        elif name not in pins:
            yield f"not pinned: {requirement}"
        elif not requirement.specifier.contains(pins[name], prereleases=True):
            yield f"{name} {pins[name]} is not {requirement}"
    yield from (f"not pinned: {text}" for text in sorted(brought(deployment)) if text.split()[0] not in pins)


def brought(deployment):
    """Return all that the requirements bring along, as far as it is installed, with what brings it."""
    todo = [(requirement, PROJECT) for requirement in required(deployment)]
    seen, found = set(), set()
    here = {canonicalize_name(each.metadata["Name"]) for each in distributions()}
    while todo:
        requirement, why = todo.pop()
        name = canonicalize_name(requirement.name)
        found.add(f"{name} (for {why})")
        for extra in ("", *requirement.extras):
            if (name, extra) in seen or name not in here:
                continue
            seen.add((name, extra))
            for text in distribution(name).requires or ():
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    todo.append((inner, name))
    return found


def test_everything_is_pinned_exactly_and_once(deployment):
    assert list(problems(deployment)) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (LOCK, "\nzarr==3.1.6\n", "\nzarr>=3.1\n", "no exact pin: zarr>=3.1"),
        (LOCK, "\nzarr==3.1.6\n", "\nzarr @ https://example.org/zarr.whl\n", "no exact pin: zarr @"),
        (LOCK, "\nzarr==3.1.6\n", "\nzarr==3.1.*\n", "no exact pin: zarr==3.1.*"),
        (LOCK, "\nzarr==3.1.6\n", "\nzarr==3.1.6\nZarr==3.1.5\n", "twice: zarr"),
        (LOCK, "\ntensorboard==2.21.0\n", "\n", "not pinned: tensorboard>="),
        (LOCK, "\ndonfig==0.8.1.post1\n", "\n", "not pinned: donfig (for zarr)"),
        (LOCK, "\nsetuptools==", "\nsetuptool==", "not pinned: setuptools (for torch)"),
        (PROJECT, "zarr>=3.1", "zarr>=3.2", "is not zarr>=3.2"),
        (PROJECT, '"zarr>=3.1"', '"zarr @ https://example.org/zarr.whl"', "a URL"),
    ],
)
def test_a_hole_in_the_lock_is_seen(deployment, name, old, new, said):
    assert said in "\n".join(problems(deployment.but(name, old, new)))


def test_what_is_installed_is_what_is_pinned(deployment):
    pins = {canonicalize_name(name): version for name, version in deployment.pinned().items()}
    there = {canonicalize_name(each.metadata["Name"]): each.version for each in distributions()}
    both = pins.keys() & there.keys()
    assert len(both) > 100
    # +cpu and the like say how it was built.
    assert {n: there[n] for n in both if Version(there[n]).public != str(Version(pins[n]))} == {}


def test_pip_finds_nothing_broken():
    said = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert said.returncode == 0, said.stdout
