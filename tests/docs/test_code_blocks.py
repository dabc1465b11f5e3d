"""Every code block of README and of the documentation's pages runs.

- ``python`` and ``shell`` blocks are executed on a small root of recipe ``demo``; the cells of the tutorials
  are executed by ``make docs``;
- commands of ``console`` and indented blocks are executed on files as readers have them; pipelines on the
  reader's archives are long (marked slow), and ``make test`` parses their settings;
- Make targets are those that continuous integration runs, the forty runs are a test of tests/soak, and
  commands of clouds and clusters are checked by tests/infra;
- ``sql`` blocks are executed by tests/catalog/test_queries.py, the archive of its guide by
  tests/archives/test_adding.py.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import matplotlib as mpl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tyro
from astropy.table import Table

import distspec
from distspec.catalog.editions import find_record
from distspec.cli.main import VERBS, main
from distspec.pipeline.recipes import RECIPES, parse
from distspec.pipeline.runner import STAGES
from tests.conftest import real_data
from tests.helpers.seaweed import s3, seaweed
from tests.helpers.small_demo import SMALL

__all__ = ["s3", "seaweed"]

TOP = Path(__file__).parents[2]
DISTSPEC = str(Path(sys.executable).with_name("distspec"))
EXECUTED_ELSEWHERE = {"add_an_archive.md"}
EXAMPLE_RECIPE = "example"
"""Recipe that a reader of add_an_archive.md writes."""
RUN_ON_FILES = {
    *("plan", "similar", "predict", "label", "labels", "classify", "query", "rerank", "provenance"),
    "compare-encoders",
}
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
    "my/jades": "jades",
}
"""Real files for the placeholders of the pages, below `tests.conftest.DATA`."""
QUICK = [
    *("--training.max-epochs", "3", "--clustering.n-seeds", "2", "--clustering.n-null-draws", "0"),
    *("--clustering.spaces", "features", "--clustering.k-min", "2", "--clustering.k-max", "3"),
    *("--clustering.n-models", "1", "--clustering.n-actors", "1"),
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
    points = objects.select(["object_id", "umap_0", "umap_1"]).to_pylist()
    pq.write_table(pa.Table.from_pylist(points), project / "embedding.parquet")
    classes = "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names))
    (project / "classes.csv").write_text(f"object_id,type\n{classes}")
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
        # The figures of the project are drawn already, which takes long.
        monkeypatch.setattr("distspec.report.page.write_report", lambda data, url: url)
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


EXPLORERS = [command for command in CONSOLE_COMMANDS if " explore " in command]


@pytest.mark.parametrize("command", EXPLORERS)
def test_settings_of_the_explorer_are_valid(command):
    tyro.cli(VERBS["explore"].load(), args=shlex.split(command)[2:])


@pytest.mark.parametrize(
    "command",
    [
        # tests/explorer/test_server.py starts it without a proxy.
        command if "--proxy" in command else pytest.param(command, marks=pytest.mark.slow)
        for command in EXPLORERS
    ],
)
def test_the_explorer_starts(command, project):
    words = [word.replace("ROOT", "out/demo") for word in shlex.split(command)]
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": {**os.environ, "BROWSER": "true"}}
    with subprocess.Popen([DISTSPEC, *words[1:]], cwd=project, **pipes) as process:
        try:
            address = process.stdout.readline().split()[-1]
            if "--proxy" in words:  # which is not there
                port, token = address.rstrip("/").split("/")[-2:]
                assert address == f"https://hub.example.org/user/ann/proxy/{port}/{token}/"
                address = f"http://127.0.0.1:{port}/{token}/"
            with urlopen(address, timeout=60) as page:
                assert b"distspec explorer" in page.read()
            process.send_signal(signal.SIGINT)  # the server, which answers, handles it
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("command", [command for command in CONSOLE_COMMANDS if " reproduce " in command])
def test_a_published_run_is_reproduced(command, demo_folder, tmp_path, monkeypatch, capsys):
    root = tmp_path / "demo"
    shutil.copytree(demo_folder / "out" / "demo", root)
    words = shlex.split(command)
    words[words.index("reproduce") + 1] = find_record(str(root)).run_id
    words[words.index("ROOT")] = str(root)
    monkeypatch.chdir(tmp_path)
    main(words[1:])
    assert "identical" in capsys.readouterr().out


def test_outputs_of_two_versions_are_compared(demo_folder, tmp_path):
    shown = [command for command in CONSOLE_COMMANDS if "tests.helpers.equivalence" in command]
    again = next(command for command in shown if " record " in command).replace("before", "after")
    for command in sorted([*shown, again], reverse=True):
        words = [word.replace("ROOT", str(demo_folder / "out" / "demo")) for word in shlex.split(command)]
        environment = {**os.environ, "PYTHONPATH": str(TOP)}
        subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize("command", [command for command in CONSOLE_COMMANDS if command.startswith("make ")])
def test_continuous_integration_runs_the_targets(command):
    assert command in (TOP / ".ci" / "run").read_text().splitlines()


PIPELINES = [command for command in CONSOLE_COMMANDS if command.startswith("distspec run ")]


@pytest.mark.parametrize("command", PIPELINES)
def test_settings_of_pipelines_are_valid(command):
    words = shlex.split(command)[2:]
    parse(words[1:] if words[0] in STAGES else words)


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """A folder with real files in the places that the pages name."""
    folder = tmp_path_factory.mktemp("archives")
    (folder / "my").mkdir()
    for shown, real in REAL_FILES.items():
        (folder / shown).symlink_to(real_data(real))
    files = sorted(path.name for path in (folder / "my" / "jades").glob("*.fits"))
    rows = [(name, 3.1 + 0.5 * i, 53.0 + 0.01 * i, -27.8) for i, name in enumerate(files)]
    Table(rows=rows, names=["file", "z", "ra", "dec"]).write(folder / "my" / "redshifts.fits")
    return folder


LOCAL_PIPELINES = [
    command
    for command in PIPELINES
    if "s3://" not in command and "--report.table" not in command  # tests/pipeline joins a table to a root
]


@pytest.mark.slow
@pytest.mark.parametrize("command", LOCAL_PIPELINES)
def test_pipelines_on_local_files(command, archives, local_ray, monkeypatch, capsys):
    monkeypatch.chdir(archives)
    words = shlex.split(command)[1:]
    if "--pretrained-model" in words:
        [model] = [path for path in Path("out/dja/models").iterdir() if path.is_dir()]
        words = [word.replace("out/dja/models/MODEL", str(model)) for word in words]
        words[words.index("--root") + 1] += "-pretrained"
    main([*words, *QUICK])
    assert "Report" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in PIPELINES if "s3://" in command])
def test_an_archive_in_a_bucket(command, s3, tmp_path):
    dja = real_data("dja")
    for path in dja.glob("*.fits"):
        s3.put(f"archive/extractions/{path.name}", path.read_bytes())
    s3.put("archive/extractions/catalog.csv.gz", gzip.compress((dja / "catalog.csv").read_bytes()))
    words = [word.replace("s3://", f"{s3.url('')}") for word in shlex.split(command)]
    ended = subprocess.run([DISTSPEC, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "rows read" in ended.stderr


def test_every_console_command_is_executed_by_a_test_above():
    words = [command.split() for command in CONSOLE_COMMANDS]
    verbs = {first_two[1] for first_two in words if first_two[0] == "distspec"}
    assert verbs <= RUN_ON_FILES | {"run", "explore", "reproduce"}
    modules = {first_three[2] for first_three in words if first_three[0] == "python"}
    assert modules <= {"tests.helpers.equivalence", "tests.soak"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page):
    """Verbs that sentences name, recipes that they run, and extras that they install."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(r"`distspec ([^`]+)`", text):
        verb, *rest = command.split()
        assert verb in VERBS or verb in ("run", "VERB") or verb.startswith("-"), command
        if verb == "run" and rest and not rest[0].isupper() and not rest[0].startswith(("-", "[")):
            assert rest[0] in {*RECIPES, *STAGES, EXAMPLE_RECIPE}, command
    extras = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name for names in re.findall(r"distspec\[([\w,]+)\]", page.read_text()) for name in names.split(",")
    }
    assert named <= set(extras)


def test_links_lead_to_files():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            target = page.parent / link
            is_generated = page.parent.name == "reference" or "reference/" in link
            assert target.exists() or is_generated, f"{page.name}: {link}"
