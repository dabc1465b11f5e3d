"""The result of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Count = int | float | str
"""A number or a name in the result of a stage."""


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes
    ----------
    counts : mapping
        Numbers and names by what they count or name, in the order in which they are logged.
    did_work : bool
        False if everything was there already.
    """

    counts: Mapping[str, Count] = field(default_factory=dict[str, Count])
    did_work: bool = True

    def __str__(self) -> str:
        return ", ".join(f"{name} {_format_count(value)}" for name, value in self.counts.items())


def _format_count(value: Count) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else value
