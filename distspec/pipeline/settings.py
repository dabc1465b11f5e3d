"""Settings given in Python: nested dictionaries or dotted names, applied to a `Config` and type-checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from distspec.core.errors import ConfigError
from distspec.pipeline.config import Config


def apply_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Return a configuration with some settings replaced.

    Parameters
    ----------
    config : Config
        Configuration to start from.
    settings : mapping
        Values by name. A group of settings is a mapping (``{"clustering": {"n_seeds": 5}}``), a configuration
        object of its own (``{"archive": SpeX()}``), or written with dots (``{"clustering.n_seeds": 5}``).

    Raises
    ------
    ConfigError
        If a setting does not exist, or its value has the wrong type or is out of range.
    """
    return _apply(config, _nest(settings), "")


def _nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into nested dictionaries."""
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        group, dot, rest = name.partition(".")
        content = _nest({rest: value}) if dot else _nest(value) if isinstance(value, Mapping) else value
        known = nested.get(group)
        nested[group] = (
            _merge(known, content) if isinstance(known, dict) and isinstance(content, dict) else content
        )
    return nested


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for name, value in other.items():
        known = merged.get(name)
        merged[name] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _apply(target: Any, settings: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(type(target), include_extras=True)
    known = [field.name for field in fields(target)]
    values: dict[str, Any] = {}
    for name, value in settings.items():
        full_name = f"{prefix}{name}"
        if name not in known:
            near = get_close_matches(name, known, 3) or known
            raise ConfigError(f"there is no setting {full_name}: did you mean {', '.join(near)}?")
        current = getattr(target, name)
        if current is None and isinstance(value, Mapping):
            current = _default_group(hints[name])
        if isinstance(value, Mapping) and is_dataclass(current):
            values[name] = _apply(current, value, f"{full_name}.")
            continue
        try:
            values[name] = _coerce(value, hints[name])
        except TypeError:
            wanted = _describe(hints[name])
            raise ConfigError(f"{full_name} = {value!r} has the wrong type: give {wanted}") from None
    return replace(target, **values)


def _default_group(hint: Any) -> Any:
    """Return the default of a group of settings that is switched off (``X | None``)."""
    arguments = get_args(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    return next(
        (argument() for argument in arguments if isinstance(argument, type) and is_dataclass(argument)), None
    )


def _coerce(value: Any, hint: Any) -> Any:
    """Return a value as its annotated type: lists as tuples, NumPy's and other numbers as Python's.

    Raises
    ------
    TypeError
        If the value does not have that type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _coerce(value, arguments[0])
    if origin in (Union, UnionType):
        return _coerce_to_any(value, arguments)
    if origin is tuple and isinstance(value, list | tuple):
        items = [arguments[0]] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        if len(items) == len(value):
            return tuple(map(_coerce, value, items))
    elif hint is int and not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    elif hint is float and not isinstance(value, bool) and isinstance(value, Real):
        return float(value)
    elif value in arguments if origin is Literal else _is_instance(value, origin or hint):
        return value
    raise TypeError


def _is_instance(value: Any, hint: Any) -> bool:
    return hint is Any or (hint not in (int, float) and isinstance(value, hint))


def _coerce_to_any(value: Any, hints: Sequence[Any]) -> Any:
    for hint in hints:
        with suppress(TypeError):
            return _coerce(value, hint)
    raise TypeError


def _describe(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
