"""Back-pressure: many Ray tasks, few at a time, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

Item = TypeVar("Item")


def in_order(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], in_flight: int
) -> Iterator[Any]:
    """Yield the results of tasks in the order of their items, with at most `in_flight` held at a time.

    Results that wait for an earlier one count as held, so memory is bounded whatever the order they end in.
    """
    pending: deque[ray.ObjectRef[Any]] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) >= in_flight:
            yield ray.get(pending.popleft())
    while pending:
        yield ray.get(pending.popleft())
