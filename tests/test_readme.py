"""The README's picture of the code is the code."""

import ast
import re
from pathlib import Path

import pytest

from distspec.core.errors import QuarantineReason
from distspec.pipeline.recipes import RECIPES
from distspec.pipeline.runner import STAGES

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
MODULES = sorted(
    str(path.relative_to(TOP)) for path in (TOP / "distspec").rglob("*.py") if path.name != "__init__.py"
)


def test_the_module_table_lists_exactly_the_modules():
    assert sorted(re.findall(r"^\| `(distspec/[\w/]+\.py)` \|", README, re.MULTILINE)) == MODULES


def test_recipes_reasons_and_stages_are_all_there():
    assert all(f"| `{name}` |" in README for name in RECIPES)
    assert all(f"| `{reason}` |" in README for reason in QuarantineReason)
    assert re.findall(r"^\d\. \*\*(\w+)\*\*", README, re.MULTILINE) == list(STAGES)


def test_every_stage_has_a_job():
    jobs = {path.stem for path in (TOP / "jobs").glob("*.py")} - {"__init__"}
    assert jobs == {*STAGES, "pipeline"}


@pytest.set_withdrawn.parametrize("module", MODULES)
def test_only_the_stages_know_ray(module):
    tree = ast.parse((TOP / module).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    knows_ray = any(name.split(".")[0] == "ray" for name in names)
    assert not knows_ray or module.startswith("distspec/stages/")


def test_flags_in_the_readme_exist(capsys):
    from distspec.pipeline.recipes import parse

    for recipe in ("dja", "sdss"):
        with pytest.raises(SystemExit):
            parse([recipe, "--help"])
    documented = capsys.readouterr().out
    for flag in set(re.findall(r"--[a-z]+\.[a-z-]+", README)):
        assert flag in documented, flag
