"""Every parameter of a public function and every field of a public dataclass has a sentence."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString

import distspec

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(distspec.__path__, "distspec.")
    if not any(part.startswith("_") for part in module.name.split("."))
)
SECTIONS = ("Parameters", "Other Parameters", "Attributes")


def described(documented: Any) -> set[str]:
    """Return the names that a docstring describes with at least one line; no section may repeat a name."""
    sections = NumpyDocString(inspect.getdoc(documented) or "")
    for section in SECTIONS:
        names = [entry.name for entry in sections[section]]
        assert len(names) == len(set(names)), f"{documented} describes a parameter twice"
    entries = [entry for section in SECTIONS for entry in sections[section] if any(entry.desc)]
    return {name.strip().lstrip("*") for entry in entries for name in entry.name.split(",")}


def parameters_of(function: Any) -> list[str]:
    names = list(inspect.signature(function).parameters)
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def methods_of(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods that a class defines, but for those that override a base class's method."""
    for name, attribute in vars(cls).items():
        function = attribute.__func__ if isinstance(attribute, classmethod | staticmethod) else attribute
        overrides = any(name in vars(base) for base in cls.__mro__[1:])
        if inspect.isfunction(function) and not name.startswith("_") and not overrides:
            yield name, function


def described_after(cls: type) -> set[str]:
    """Return the fields of a class that are followed by a string that describes them."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def fields_of(cls: type) -> list[str]:
    """Return the public fields that a dataclass declares, but for those that a base class declares."""
    inherited = {name for base in cls.__mro__[1:] for name in inspect.get_annotations(base)}
    declared = set(inspect.get_annotations(cls)) - inherited
    return [f.name for f in dataclasses.fields(cls) if f.name in declared and not f.name.startswith("_")]


def missing_in_class(cls: type) -> Iterator[str]:
    if dataclasses.is_dataclass(cls):
        explained = described(cls) | described_after(cls)
        yield from (f"{cls.__name__}.{name}" for name in fields_of(cls) if name not in explained)
    elif "__init__" in vars(cls) and not getattr(cls, "_is_protocol", False):
        initializer = vars(cls)["__init__"]
        explained = described(cls) | described(initializer)
        yield from (f"{cls.__name__}({name})" for name in parameters_of(initializer) if name not in explained)
    for name, method in methods_of(cls):
        explained = described(method)
        yield from (
            f"{cls.__name__}.{name}({parameter})"
            for parameter in parameters_of(method)
            if parameter not in explained
        )


def missing_in_module(module: Any) -> list[str]:
    """Return the parameters and fields of a module's public functions and classes that have no sentence."""
    found: list[str] = []
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member):
            found.extend(missing_in_class(member))
        elif callable(member) and inspect.isfunction(inspect.unwrap(member)):
            explained = described(member)
            found.extend(
                f"{name}({parameter})" for parameter in parameters_of(member) if parameter not in explained
            )
    return found


@pytest.mark.parametrize("name", MODULES)
def test_every_parameter_and_field_has_a_sentence(name: str) -> None:
    assert missing_in_module(importlib.import_module(name)) == []


def test_a_parameter_without_a_sentence_is_found() -> None:
    def undocumented(width: int) -> None:
        """Do nothing.

        Parameters
        ----------
        width
        """

    assert set(parameters_of(undocumented)) - described(undocumented) == {"width"}
