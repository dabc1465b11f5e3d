"""Timing of pairs of functions, and the rows of the table of results.

The functions of a pair run alternately in one process, so that the load of the machine affects both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

Workload = Callable[[], Any]
Values = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A row of the table: a measured quantity, and its ratio to a reference if there is one.

    Attributes
    ----------
    name : str
        What was measured.
    unit : str
        Unit of the values; "" for none.
    values : tuple of float
        One value for each repetition.
    reference : str
        Name of the row that the ratios refer to; "" for none.
    ratios : tuple of float
        Value divided by that of the reference, for each repetition.
    """

    name: str
    unit: str
    values: Values
    reference: str = ""
    ratios: Values = ()

    def relative_to(self, reference: Row) -> Row:
        """Return the row with its ratios to a row whose repetitions alternated with its own."""
        ratios = tuple(value / other for value, other in zip(self.values, reference.values, strict=True))
        return replace(self, reference=reference.name, ratios=ratios)

    def cells(self) -> tuple[str, ...]:
        """Return name, median, unit, range, name of the reference, and median and range of the ratios."""
        ratio = f"{format_number(median(self.ratios))} ({format_range(self.ratios)})" if self.ratios else ""
        value = format_number(median(self.values))
        return self.name, value, self.unit, format_range(self.values), self.reference, ratio


def rate_row(name: str, n: float, unit: str, seconds: Values) -> Row:
    """Return the row of a rate.

    Parameters
    ----------
    name : str
        What was measured.
    n : float
        Number of units that are processed in one repetition.
    unit : str
        Name of the units.
    seconds : tuple of float
        Duration of each repetition [s].
    """
    return Row(name, f"{unit}/s", tuple(n / duration for duration in seconds))


def time_call(workload: Workload) -> float:
    """Return the duration of one call [s]."""
    start = time.perf_counter()
    workload()
    return time.perf_counter() - start


def time_pair(first: Workload, second: Workload, repeats: int = 5) -> tuple[Values, Values]:
    """Return the durations of two functions that are called alternately, after one call of each [s]."""
    for workload in (first, second):
        workload()
    pairs = [(time_call(first), time_call(second)) for _ in range(repeats)]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def format_number(value: float) -> str:
    """Format a number with three significant digits, or without decimals from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def format_range(values: Values) -> str:
    """Format the smallest and the largest value."""
    return f"{format_number(min(values))}–{format_number(max(values))}"
