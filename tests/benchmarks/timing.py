"""Timing side by side: what is compared runs in turns in one process, so that both meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

Work = Callable[[], Any]
Times = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table: a measurement, one value a repeat, and what it was compared with."""

    what: str
    unit: str
    values: Times
    compared_with: str = ""
    ratios: Times = ()
    """This over the other, pair by pair."""

    def against(self, other: Row) -> Row:
        """Compare with a row whose repeats alternated with this one's."""
        ratios = tuple(ours / theirs for ours, theirs in zip(self.values, other.values, strict=True))
        return replace(self, compared_with=other.what, ratios=ratios)

    def cells(self) -> tuple[str, ...]:
        """Return what, value, unit, spread, compared with, ratio."""
        ratio = f"{number(median(self.ratios))} ({spread(self.ratios)})" if self.ratios else ""
        value = number(median(self.values))
        return self.what, value, self.unit, spread(self.values), self.compared_with, ratio


def rate(what: str, n: float, unit: str, times: Times) -> Row:
    """Return the row of a work that does `n` of `unit` in so many seconds, one a repeat."""
    return Row(what, f"{unit}/s", tuple(n / each for each in times))


def seconds(work: Work) -> float:
    """Return how long one call takes [s]."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(a: Work, b: Work, repeats: int = 5) -> tuple[Times, Times]:
    """Run both once to warm up, then a, b, a, b …: seconds each of a, and of b."""
    for work in (a, b):
        work()
    pairs = [(seconds(a), seconds(b)) for _ in range(repeats)]
    return tuple(first for first, _ in pairs), tuple(second for _, second in pairs)


def number(value: float) -> str:
    """Write three digits, all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def spread(values: Times) -> str:
    """Write the smallest and the largest."""
    return f"{number(min(values))}–{number(max(values))}"
