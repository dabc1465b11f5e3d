"""Every promise of SECURITY.md names a test that is there, and the documents' links and flags hold."""

import re

import pytest

from distspec.pipeline.recipes import parse
from tests.infra.deployment import GUIDE, SECURITY, TOP

ROWS = re.compile(r"^\| (?P<promise>[^|]+) \| [^|]+ \| (?P<tests>`tests/[^|]+) \|$", re.MULTILINE)


def dangling(text, folder):
    """Yield tests and links that lead nowhere."""
    for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text):
        if not (TOP / name).exists():
            yield name
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if not (folder / link).exists():
            yield link
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    titles = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    yield from (f"#{anchor}" for anchor in re.findall(r"\]\(#([^)]+)\)", text) if anchor not in titles)


@pytest.mark.parametrize("name", [GUIDE, SECURITY])
def test_what_is_pointed_to_is_there(deployment, name):
    assert list(dangling(deployment.texts[name], (TOP / name).parent)) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (SECURITY, "test_authentication.py", "test_authentification.py"),
        (GUIDE, "(security.md)", "(safety.md)"),
        (GUIDE, "(#kubernetes)", "(#kuberay)"),
    ],
)
def test_what_leads_nowhere_is_seen(deployment, name, old, new):
    assert list(dangling(deployment.but(name, old, new).texts[name], (TOP / name).parent))


def test_every_promise_has_a_test(deployment):
    table = [line for line in deployment.texts[SECURITY].splitlines() if line.startswith("| ")]
    assert len(ROWS.findall(deployment.texts[SECURITY])) == len(table) - 1 >= 7


def test_the_flags_that_are_named_are_flags(deployment):
    with pytest.raises(SystemExit):
        parse(["dja", "--root", "/r", "--archive.nonsense", "x"])
    for flag, value in {"--ingest.commit-rows": "100", "--training.checkpoint-interval-minutes": "2"}.items():
        assert flag in deployment.texts[GUIDE]
        parse(["dja", "--root", "/r", flag, value])
