"""The documentation lists every recipe, quarantine reason, stage and verb."""

import re
from pathlib import Path

from distspec.cli.main import VERBS
from distspec.core.errors import QuarantineReason
from distspec.pipeline.recipes import RECIPES
from distspec.pipeline.runner import STAGES

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"


def text(page: str) -> str:
    return (DOCS / page).read_text()


def test_every_recipe_is_listed():
    assert [name for name in RECIPES if f"| `{name}` |" not in text("getting_started.md")] == []


def test_every_quarantine_reason_is_listed():
    guide = text("guides/growing_archives.md")
    assert [reason for reason in QuarantineReason if f"| `{reason}` |" not in guide] == []


def test_the_stages_are_described_in_order():
    assert re.findall(r"^\d\. \*\*(\w+)\*\*", text("method.md"), re.MULTILINE) == list(STAGES)


def test_every_stage_has_a_job():
    jobs = {path.stem for path in (TOP / "jobs").glob("*.py")} - {"__init__"}
    assert jobs == {*STAGES, "pipeline"}


def test_every_verb_is_mentioned():
    pages = "".join(page.read_text() for page in DOCS.rglob("*.md") if "generated" not in page.parts)
    assert [verb for verb in VERBS if f"distspec {verb}" not in pages] == []


def test_the_readme_is_short():
    assert len((TOP / "README.md").read_text().splitlines()) <= 150
