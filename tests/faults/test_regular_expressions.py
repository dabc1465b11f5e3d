"""Regular expressions of the package, found in its source, do not backtrack without bound."""

import ast
import re
import time
from pathlib import Path

import pytest

import distspec

FUNCTIONS = {"compile", "match", "search", "fullmatch", "sub", "split", "findall", "finditer"}
FRAGMENTS = (
    "0",
    "a",
    "A",
    " ",
    "'",
    "''",
    "-",
    "_",
    "/",
    "#",
    "\n",
    "#\n",
    " \n",
    ".",
    "1.",
    "1:",
    "(",
    "1,",
    "=",
)
N_REPEATS = 1500
LIMIT = 1.0
"""Maximum time of one match [s]; quadratic ones take less than a tenth of it."""


def find_patterns():
    """Yield file, line and pattern of every call of the module re, with names and placeholders filled in."""
    package = Path(distspec.__file__).parent
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        if "import re\n" not in text:
            continue
        tree = ast.parse(text)
        constants = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            function = node.func if isinstance(node, ast.Call) else None
            if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
                continue
            if function.value.id == "re" and function.attr in FUNCTIONS:
                yield f"{path.relative_to(package)}:{node.lineno}", text_of(node.args[0], constants)


def text_of(node, constants):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(value.value if isinstance(value, ast.Constant) else r"\w+" for value in node.values)
    return constants[node.id]


PATTERNS = dict(find_patterns())


def slowest(pattern):
    seconds = []
    for fragment in FRAGMENTS:
        text = fragment * N_REPEATS + "\x01"
        text = text.encode() if isinstance(pattern, bytes) else text
        start = time.process_time()
        re.compile(pattern).fullmatch(text)
        re.compile(pattern).search(text)
        seconds.append(time.process_time() - start)
    return max(seconds)


def test_patterns_are_found():
    assert len(PATTERNS) > 12


@pytest.mark.parametrize("place", PATTERNS)
def test_no_text_takes_long(place):
    assert slowest(PATTERNS[place]) < LIMIT


def test_a_pattern_that_backtracks_is_detected(monkeypatch):
    monkeypatch.setattr("tests.faults.test_regular_expressions.N_REPEATS", 100)
    assert slowest(r"a*a*a*b") > 20 * slowest(r"a*b")
