"""Objects that other installed packages provide by entry points."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedEntryPoints:
    """Entry points of one group.

    Attributes
    ----------
    objects : mapping
        The objects that could be loaded, by entry point name.
    problems : mapping
        Why the others could not be loaded, by entry point name.
    """

    objects: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problems: Mapping[str, str] = field(default_factory=dict[str, str])


def load_entry_points(group: str, reserved_names: Collection[str]) -> LoadedEntryPoints:
    """Load the entry points of a group.

    A name that is reserved, or that two packages claim, is refused. A package that cannot be imported, or
    whose name is refused, does not affect the others: the problem is logged as a warning and returned.

    Parameters
    ----------
    group : str
        Entry point group.
    reserved_names : collection of str
        Names that distspec uses itself.

    Returns
    -------
    LoadedEntryPoints
    """
    points = {(point.name, _package_name(point), point.value): point for point in entry_points(group=group)}
    counts = Counter(name for name, _, _ in points)
    objects: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for (name, package, value), point in sorted(points.items()):
        if name in reserved_names:
            problems[name] = f"package {package}: the name {name!r} is already used by distspec"
        elif counts[name] > 1:
            packages = sorted({package_name for point_name, package_name, _ in points if point_name == name})
            problems[name] = f"the name {name!r} is claimed more than once, by {' and '.join(packages)}"
        else:
            try:
                objects[name] = point.load()
            except Exception as error:  # other people's code may fail in any way
                problems[name] = f"package {package}: {value} cannot be imported: {error!r}"
    for problem in problems.values():
        logger.warning("entry point group %s: %s", group, problem)
    return LoadedEntryPoints(objects, problems)


def _package_name(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(":")[0].partition(".")[0]
