"""Write the reference pages that are generated from the code.

- ``reference/generated/configuration.md``: every setting, from the configuration dataclasses
- ``reference/generated/command_line.md``: the help text of every command
- ``reference/api.md``: the public names of distspec and of its packages, from ``__all__``
- ``_static/packages.svg``: the packages in their layers, from the import statements
- ``reference/generated/packages.md``: the packages and what each is for, from their docstrings
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
import shutil
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

TOP = Path(__file__).parents[1]
PACKAGE = TOP / "distspec"


def write_all(docs: Path) -> None:
    """Write all generated pages below ``docs/reference/generated``."""
    shutil.rmtree(docs / "api", ignore_errors=True)  # pages of names that are gone would stay
    folder = docs / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "configuration.md": configuration(),
        "command_line.md": command_line(),
        "packages.md": packages(),
    }
    for name, text in pages.items():
        # Sphinx reads a page again if its time changes, so leave it alone if its text does not.
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
    (docs / "reference" / "api.md").write_text(api())
    draw_packages(docs / "_static" / "packages.svg")


# Configuration --------------------------------------------------------------------------------------------


def field_docstrings(cls: type) -> dict[str, str]:
    """Return the string literal below each field of a dataclass, of its base classes as well."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        body = tree.body[0].body
        for statement, following in pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
                value = following.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[statement.target.id] = " ".join(value.value.split())
    return found


def config_classes(hint: object) -> list[type]:
    """Return the dataclasses that a type hint admits."""
    if typing.get_origin(hint) is typing.Annotated:
        return config_classes(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [cls for part in typing.get_args(hint) for cls in config_classes(part)]
    return [hint] if dataclasses.is_dataclass(hint) else []


def format_type(hint: object) -> str:
    """Return a type hint as it is written in the code, without module names."""
    if typing.get_origin(hint) is typing.Annotated:
        return format_type(typing.get_args(hint)[0])
    text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return re.sub(r"\b(?:typing|tyro\.conf|[\w.]+)\.(?=\w)", "", text).replace("|", "\\|")


def format_default(value: object) -> str:
    """Return a default value as text."""
    if value == "":
        return "empty"
    if isinstance(value, tuple):
        return " ".join(f"`{item}`" for item in value) or "none"
    return f"`{value}`"


def field_default(field: dataclasses.Field) -> object:
    """Return the default of a field, `dataclasses.MISSING` if it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def settings_table(cls: type, prefix: str) -> Iterator[str]:
    """Yield a Markdown table with one row for each setting of a dataclass."""
    hints, words = typing.get_type_hints(cls), field_docstrings(cls)
    yield "| flag | type | default | meaning |"
    yield "|---|---|---|---|"
    for field in dataclasses.fields(cls):
        if not field.init or field.name in ("recipe", "archive") or config_classes(hints[field.name]):
            continue
        default = field_default(field)
        shown = "required" if default is dataclasses.MISSING else format_default(default)
        flag = f"--{prefix}{field.name}".replace("_", "-")
        meaning = words.get(field.name, "").replace("|", "\\|").replace("{", "\\{")
        yield f"| `{flag}` | {format_type(hints[field.name])} | {shown} | {meaning} |"


def configuration() -> str:
    """Return the page that lists every setting."""
    from distspec.archives.registry import list_archives
    from distspec.pipeline.config import Config
    from distspec.pipeline.recipes import RECIPES

    lines = ["# Configuration", "", inspect.cleandoc(CONFIGURATION_INTRO), "", "## Recipes", ""]
    lines += ["| recipe | what it is |", "|---|---|"]
    for name, make in RECIPES.items():
        summary = inspect.cleandoc(make.__doc__ or "").partition("\n")[0].removeprefix("Return ")
        lines.append(f"| `{name}` | {summary} |")
    hints, words = typing.get_type_hints(Config, include_extras=True), field_docstrings(Config)
    lines += ["", "## Top level", "", *settings_table(Config, ""), ""]
    for field in dataclasses.fields(Config):
        is_archive = field.name == "archive"
        for cls in list_archives().values() if is_archive else config_classes(hints[field.name]):
            lines += [f"## archive: {cls.__name__}" if is_archive else f"## {field.name}", ""]
            doc = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
            summary = doc if is_archive else words.get(field.name) or doc
            rows = list(settings_table(cls, f"{field.name}."))
            for nested, hint in typing.get_type_hints(cls).items() if is_archive else ():
                for group in config_classes(hint):
                    rows += [*settings_table(group, f"{field.name}.{nested}.")][2:]  # without another head
            lines += [" ".join(summary.split()), "", *rows, ""]
    return "\n".join(lines)


CONFIGURATION_INTRO = """
Every setting is a field of a frozen dataclass, a flag of `distspec run`, and a keyword of
{func}`distspec.run`. A recipe is a complete configuration with other defaults than the ones listed here;
`distspec run RECIPE --help` lists the defaults of that recipe. Unknown flags and impossible values are
refused. A changed setting repeats only the stages that depend on it.
"""


# Command line ---------------------------------------------------------------------------------------------


def help_text(arguments: list[str]) -> str:
    """Return what ``distspec … --help`` prints, 100 columns wide and without colors."""
    from distspec.cli.main import main

    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).rstrip()


SHORT_OPTIONS = """\
| short | long | where |
|---|---|---|
| `-h` | `--help` | everywhere |
| `-r` | `--root` | every command that works on a root; without it, `$DISTSPEC_ROOT` |
| `-f` | `--format` | commands that print a table: `table`, or `csv` or `json` with all digits |
| `-o` | `--to` | commands that write a file |
| `-n` | `--n` | commands that list the first so many |

`python -m distspec` is the command `distspec`. A command line with several mistakes is refused with all of
them. The guide of scheduled runs lists the exit statuses; `distspec status` of a root with nothing in it ends
with 1.
"""


def command_line() -> str:
    """Return the page with the help text of every command."""
    from distspec.cli.main import GROUPS, VERBS

    lines = ["# Command line", "", SHORT_OPTIONS, "```text", help_text([]), "```", ""]
    lines += ["## run", "", "See [](configuration.md) for the settings of a recipe.", ""]
    lines += ["```text", help_text(["run"]), "```", ""]
    for group, title in GROUPS.items():
        lines += [f"## {title}", ""]
        for name, verb in VERBS.items():
            if verb.group == group:
                lines += [f"### distspec {name}", "", "```text", help_text([name]), "```", ""]
    return "\n".join(lines)


# Python API -----------------------------------------------------------------------------------------------


def api() -> str:
    """Return the page that lists the public names of distspec and of each package."""
    lines = ["# Python API", "", "## distspec", "", *summary_table("distspec", "distspec")]
    for layer in layers():
        for name in layer:
            if name == "project":
                continue  # its names are those of distspec itself
            module = importlib.import_module(f"distspec.{name}")
            lines += [f"## distspec.{name}", "", inspect.cleandoc(module.__doc__ or ""), ""]
            lines += summary_table(f"distspec.{name}", name)
    return "\n".join(lines)


def summary_table(module: str, folder: str) -> list[str]:
    """Return the directive that lists the public names of a module, with a page for each."""
    imported, top = importlib.import_module(module), importlib.import_module("distspec")
    names = [name for name in getattr(imported, "__all__", []) if not name.startswith("__")]
    if imported is not top:  # what distspec itself lists is documented there
        listed = [getattr(top, name) for name in top.__all__]
        names = [name for name in names if not any(getattr(imported, name) is one for one in listed)]
    if not names:
        return []
    head = [
        "```{eval-rst}",
        f".. currentmodule:: {module}",
        "",
        ".. autosummary::",
        f"   :toctree: ../api/{folder}",
        "",
    ]
    return [*head, *(f"   {name}" for name in names), "```", ""]


# Packages -------------------------------------------------------------------------------------------------


def layers() -> list[list[str]]:
    """Return the packages of each layer, the highest first, as pyproject.toml declares them."""
    config = tomllib.loads((TOP / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    declared = next(one for one in contracts if one["type"] == "layers" and "containers" in one)
    return [re.split(r"\s*[|:]\s*", layer) for layer in declared["layers"]]


def package_of(path: Path) -> str:
    """Return the package, or the top-level module, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def package_imports() -> dict[str, set[str]]:
    """Return which packages of distspec each package imports."""
    graph: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.parent == PACKAGE and path.name == "__init__.py":
            continue
        name = package_of(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("distspec."):
                target = (node.module or "").split(".")[1]
                if target != name:
                    graph.setdefault(name, set()).add(target)
    return graph


def packages() -> str:
    """Return a table of the packages with their modules and the first sentence of their docstrings."""
    lines = ["| package | modules | what it is for |", "|---|---|---|"]
    for layer in layers():
        for name in layer:
            folder = PACKAGE / name
            source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            doc = ast.get_docstring(ast.parse(source.read_text())) or ""
            sentence = re.split(r"(?<=\.)\s", " ".join(doc.split()))[0].replace("|", "\\|")
            modules = sorted(
                str(path.relative_to(folder).with_suffix("")).replace("/", ".")
                for path in folder.rglob("*.py")
                if path.name != "__init__.py"
            )
            lines.append(f"| `{name}` | {', '.join(f'`{module}`' for module in modules)} | {sentence} |")
    return "\n".join(lines) + "\n"


def draw_packages(path: Path) -> None:
    """Draw the packages in their layers, with a line for every import between packages."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "distspec"  # the same drawing has the same bytes
    import matplotlib.pyplot as plt

    rows, graph = layers(), package_imports()
    place = {
        name: ((column + 1) / (len(row) + 1), len(rows) - height)
        for height, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    figure, ax = plt.subplots(figsize=(10, 7))
    for source, targets in graph.items():
        for target in targets:
            if source in place and target in place:
                (x0, y0), (x1, y1) = place[source], place[target]
                ax.plot([x0, x1], [y0 - 0.2, y1 + 0.2], color="#9aa5b1", lw=0.6, zorder=1)
    for name, (x, y) in place.items():
        color = "#dbe9f6" if name != "stages" else "#fde2c4"
        box = {"boxstyle": "round,pad=0.4", "facecolor": color, "edgecolor": "#44546a"}
        ax.text(x, y, name, ha="center", va="center", bbox=box, zorder=2, fontsize=9)
    ax.set(xlim=(0, 1), ylim=(0.4, len(rows) + 0.6))
    ax.axis("off")
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    write_all(Path(__file__).parent)
