"""What a stage says when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StageResult:
    """Counts of what a stage did; ``did_work`` is False where everything was there already."""

    counts: Mapping[str, int | float | str] = field(default_factory=dict[str, "int | float | str"])
    did_work: bool = True

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {value:,}"
            if isinstance(value, int)
            else f"{name} {value:.4g}"
            if isinstance(value, float)
            else f"{name} {value}"
            for name, value in self.counts.items()
        )
