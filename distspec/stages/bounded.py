"""Back-pressure: many Ray tasks, few at a time, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

Item = TypeVar("Item")


def in_order(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], in_flight: Callable[[], int]
) -> Iterator[Any]:
    """Yield the results of tasks in the order of their items, at most `in_flight` running at a time."""
    for _, done in done_in_order(submit, items, in_flight):
        yield ray.get(done)


def done_in_order(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], in_flight: Callable[[], int]
) -> Iterator[tuple[Item, ray.ObjectRef[Any]]]:
    """Yield items, in their order, and what was submitted for them, once it is done.

    At most `in_flight` tasks run at a time, and at most twice as many are held: results that wait for an
    earlier one count, so memory is bounded whatever the order they end in. It is asked again before each
    task, and may grow as machines come: what waits is what makes an autoscaler add them.
    """
    todo = iter(items)
    held: deque[tuple[Item, ray.ObjectRef[Any]]] = deque()
    running: set[ray.ObjectRef[Any]] = set()
    while True:
        while len(running) < (most := in_flight()) and len(held) < 2 * most:
            try:
                item = next(todo)
            except StopIteration:
                break
            held.append((item, submit(item)))
            running.add(held[-1][1])
        if not held:
            return
        if held[0][1] in running:
            done, _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            running.difference_update(done)
        while held and held[0][1] not in running:
            yield held.popleft()
