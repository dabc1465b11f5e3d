"""Every guarantee in SECURITY.md names an existing test; links and flags in the documents are valid."""

import re

import pytest

from distspec.pipeline.recipes import parse
from tests.infra.deployment import GUIDE, SECURITY, TOP

ROWS = re.compile(r"^\| (?P<guarantee>[^|]+) \| [^|]+ \| (?P<tests>`tests/[^|]+) \|$", re.MULTILINE)


def find_broken_references(text, folder):
    """Yield tests, files and anchors that do not exist."""
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
def test_references_exist(deployment, name):
    assert list(find_broken_references(deployment.texts[name], (TOP / name).parent)) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (SECURITY, "test_authentication.py", "test_authentification.py"),
        (GUIDE, "(security.md)", "(safety.md)"),
        (GUIDE, "(#kubernetes)", "(#kuberay)"),
    ],
)
def test_broken_references_are_reported(deployment, name, old, new):
    assert list(find_broken_references(deployment.replace(name, old, new).texts[name], (TOP / name).parent))


def test_every_guarantee_has_a_test(deployment):
    text = deployment.texts[SECURITY]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    n_headers = text.count("|---|---|---|")
    assert len(ROWS.findall(text)) == len(rows) - n_headers >= 7


def test_flags_in_the_guide_exist(deployment):
    with pytest.raises(SystemExit):
        parse(["dja", "--root", "/r", "--archive.nonsense", "x"])
    for flag, value in {"--ingest.commit-rows": "100", "--training.checkpoint-interval-minutes": "2"}.items():
        assert flag in deployment.texts[GUIDE]
        parse(["dja", "--root", "/r", flag, value])
