"""The result of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SummaryValue = int | float | str
"""A number or a name in the result of a stage."""


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes
    ----------
    summary : mapping
        Numbers and names by what they count or name, in the order in which they are logged.
    did_work : bool
        False if everything was there already.
    """

    summary: Mapping[str, SummaryValue] = field(default_factory=dict[str, SummaryValue])
    did_work: bool = True

    def __str__(self) -> str:
        return ", ".join(f"{name} {_format_value(value)}" for name, value in self.summary.items())


def _format_value(value: SummaryValue) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else value
