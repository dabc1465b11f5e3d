"""Every code block of README and of the documentation's pages runs, or at least parses.

- ``python`` and ``shell`` blocks are executed on a small root of recipe ``demo``; the cells of the tutorials
  are executed by ``make docs``;
- ``console`` blocks name files that readers have: verbs of `RUN_ON_FILES` are executed on such files, other
  commands of distspec are parsed, as those of indented blocks, and Make targets and modules must exist;
  commands of clouds and clusters are checked by tests/infra;
- ``sql`` blocks are executed by tests/catalog/test_queries.py, the archive of its guide by
  tests/archives/test_adding.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import pytest
import tyro

import distspec
from distspec.cli.main import VERBS, main
from distspec.pipeline.recipes import parse
from distspec.pipeline.runner import STAGES
from tests.conftest import real_data
from tests.helpers.small_demo import SMALL

TOP = Path(__file__).parents[2]
EXECUTED_ELSEWHERE = {"add_an_archive.md"}
RUN_ON_FILES = {"plan", "similar", "predict", "label", "labels", "classify", "query", "rerank", "provenance"}
"""Verbs that are executed where ``console`` blocks show them."""
PAGES = [
    TOP / "README.md",
    TOP / "CONTRIBUTING.md",
    *(
        page
        for page in sorted((TOP / "docs").rglob("*.md"))
        if not {"generated", "_build", "tutorials", "api"} & {*page.parts}
    ),
]


REAL_FILES = {
    "my/folder": "dja",
    "my/catalog.csv": "dja/catalog.csv",
    "my/spex": "spex",
    "my/plates": "sdss",
    "my/coadds": "desi",
}
"""Real files for the placeholders of the pages, below `tests.conftest.DATA`."""
QUICK = [
    *("--training.max-epochs", "3", "--clustering.n-seeds", "2", "--clustering.n-null-draws", "0"),
    *("--clustering.spaces", "features", "--clustering.k-min", "2", "--clustering.k-max", "3"),
    *("--clustering.n-actors", "1"),
]


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a shell block, with continued lines joined and comments removed."""
    for line in text.replace("\\\n", " ").splitlines():
        if command := line.split(" #")[0].strip():
            yield command


def parsed_commands() -> Iterator[str]:
    """Yield the commands of ``console`` and indented blocks."""
    for page in PAGES:
        text = "".join(blocks(page, "console"))
        text += "".join(
            re.findall(r"^(?: {4}|\t)+(?:distspec|make|python -m) .*\n", page.read_text(), re.MULTILINE)
        )
        yield from (command for command in commands(text) if re.match(r"distspec|make|python -m", command))


CONSOLE_COMMANDS = list(dict.fromkeys(parsed_commands()))


@pytest.fixture(scope="module")
def project(tmp_path_factory, demo_folder) -> Path:
    """A folder with ``out/demo``, which the commands of the pages change."""
    return shutil.copytree(demo_folder, tmp_path_factory.mktemp("docs") / "project")


@pytest.fixture(scope="module")
def reader_files(project) -> dict[str, str]:
    """Write the files that the pages name; return the value of each placeholder."""
    objects = distspec.open(project / "out" / "demo").tables["objects"].to_arrow().slice(0, 60)
    names = objects["object_id"].to_pylist()
    new = [shutil.copy(next((project / "out").rglob(name)), project) for name in names[:2]]
    rows = zip((Path(path).name for path in new), objects["z"].to_pylist(), strict=False)
    (project / "my").mkdir()
    (project / "my" / "table.csv").write_text("file,z\n" + "".join(f"{name},{z}\n" for name, z in rows))
    labeled = "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names))
    (project / "labels.csv").write_text(f"object_id,human_label\n{labeled}")
    return {
        "ROOT": "out/demo",
        "OBJECT_ID": names[0],
        "jades-gds-v4_prism-clear_1180_206183.spec.fits": names[0],
        "new/*.fits": "\n".join(map(str, new)),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_blocks_run(page, request, monkeypatch, capsys):
    for command in commands("".join(blocks(page, "shell"))):
        words = shlex.split(command)
        if words[:2] == ["pip", "install"]:
            assert words[2].startswith("distspec")
            continue
        assert words[0] == "distspec", command
        monkeypatch.chdir(request.getfixturevalue("project"))
        if words[1] == "explore":
            tyro.cli(VERBS["explore"].load(), args=words[2:])
            continue
        main(words[1:] + (SMALL if words[1:3] == ["run", "demo"] else []))
        assert capsys.readouterr().out, command


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in EXECUTED_ELSEWHERE], ids=lambda page: page.name
)
def test_python_blocks_run(page, request, monkeypatch):
    namespace: dict[str, object] = {}
    for code in blocks(page, "python"):
        monkeypatch.chdir(request.getfixturevalue("project"))
        with mpl.rc_context({"backend": "Agg"}):
            exec(compile(code, page.name, "exec"), namespace)


@pytest.mark.parametrize(
    "command", [command for command in CONSOLE_COMMANDS if command.split()[1] in RUN_ON_FILES]
)
def test_console_commands_run(command, project, reader_files, monkeypatch, capsys):
    monkeypatch.chdir(project)
    words = [word for shown in shlex.split(command) for word in reader_files.get(shown, shown).split("\n")]
    main(words[1:])
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dja", "spex", "sdss", "desi"])
def test_pipelines_that_are_shown_run(recipe, tmp_path, local_ray, monkeypatch, capsys):
    [command] = [command for command in CONSOLE_COMMANDS if command.startswith(f"distspec run {recipe} ")]
    monkeypatch.chdir(tmp_path)
    Path("my").mkdir()
    for shown in set(shlex.split(command)) & REAL_FILES.keys():
        Path(shown).symlink_to(real_data(REAL_FILES[shown]))
    main(shlex.split(command)[1:] + QUICK)
    assert "Report" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [command for command in CONSOLE_COMMANDS if command.split()[1] not in RUN_ON_FILES]
)
def test_commands_that_are_shown_exist(command):
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (TOP / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "python":
        assert find_spec(words[2])
    elif words[1] == "run":
        rest = words[2:]
        parse(rest[1:] if rest[0] in STAGES else rest)
    else:
        tyro.cli(VERBS[words[1]].load(), args=words[2:])


def test_links_lead_to_files():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            target = page.parent / link
            is_generated = page.parent.name == "reference" or "reference/" in link
            assert target.exists() or is_generated, f"{page.name}: {link}"
