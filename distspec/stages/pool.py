"""Actors that share work: as many as the machines hold, more of them as machines come."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from distspec.stages.session import can_autoscale, n_cpus

Item = TypeVar("Item")


def map_ordered(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], max_in_flight: Callable[[], int]
) -> Iterator[Any]:
    """Yield the results of tasks in the order of their items, at most `max_in_flight` running at a time."""
    for _, done in map_ordered_refs(submit, items, max_in_flight):
        yield ray.get(done)


def map_ordered_refs(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], max_in_flight: Callable[[], int]
) -> Iterator[tuple[Item, ray.ObjectRef[Any]]]:
    """Yield items, in their order, and what was submitted for them, once it is done.

    At most `max_in_flight` tasks run at a time, and at most twice as many are held: results that wait for an
    earlier one count, so memory is bounded whatever the order they end in. It is asked again before each
    task, and may grow as machines come: what waits is what makes an autoscaler add them.
    """
    todo = iter(items)
    held: deque[tuple[Item, ray.ObjectRef[Any]]] = deque()
    running: set[ray.ObjectRef[Any]] = set()
    while True:
        while len(running) < (most := max_in_flight()) and len(held) < 2 * most:
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


log = logging.getLogger("distspec")
POLL_SECONDS = 2.0
"""Seconds between looks at who has come, and at who is silent, while nothing else happens."""
HANG_TIMEOUT_SECONDS, HANG_FACTOR = 900.0, 20.0
"""An actor hangs that has been at one thing for so long [s], and so many times as long as anything took."""


class ActorPool:
    """Actors of one kind.

    Those that no machine has room for yet wait, which tells an autoscaler to add machines; they get no work
    before they are there, so a machine that never comes holds nothing up. They end with whoever hired them.

    Parameters
    ----------
    create_actor : callable
        Starts an actor.
    max_actors : int
        Actors that there is work for.
    count_slots : callable
        Says how many the machines hold that are there.
    """

    def __init__(
        self, create_actor: Callable[[], Any], max_actors: int, count_slots: Callable[[], int] = n_cpus
    ) -> None:
        self._hire, self._most, self._room = create_actor, max_actors, count_slots
        self._coming: dict[Any, Any] = {}
        self._here: list[Any] = []

    def wait_ready(self) -> list[Any]:
        """Return those that are there: at least one, which is waited for."""
        # Twice as many as there is room for: it doubles what a cluster has, each time it has come.
        most = min(self._most, self._room() * (2 if can_autoscale() else 1))
        while len(self._here) + len(self._coming) < most:
            actor = self._hire()
            self._coming[actor.__ray_ready__.remote()] = actor
        if self._coming:
            patience = 0.0 if self._here else None
            come, _ = ray.wait(list(self._coming), num_returns=1, timeout=patience)
            if come:
                come, _ = ray.wait(list(self._coming), num_returns=len(self._coming), timeout=0.0)
            ray.get(come)  # one that could not be started says why
            self._here += [self._coming.pop(ready) for ready in come]
        return self._here

    def map_unordered(
        self, submit: Callable[[Any, Item], Any], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Any]]:
        """Yield items with what became of them, as it comes: each actor is at one at a time.

        Parameters
        ----------
        submit : callable
            Takes an actor and an item; returns Ray's reference to what becomes of it.
        items : iterable
        """
        todo, busy, longest = deque(items), dict[Any, tuple[Any, Item, float]](), 0.0
        while todo or busy:
            working = [actor for actor, _, _ in busy.values()]
            for actor in self.wait_ready() if todo else ():
                if actor not in working and todo:
                    item = todo.popleft()
                    busy[submit(actor, item)] = actor, item, time.monotonic()
            done, _ = ray.wait(list(busy), num_returns=1, timeout=POLL_SECONDS)
            now = time.monotonic()
            for made in done:
                _, item, since = busy.pop(made)
                longest = max(longest, now - since)
                yield item, ray.get(made)
            for made, (actor, item, since) in busy.items():
                if now - since > max(HANG_TIMEOUT_SECONDS, HANG_FACTOR * longest):
                    log.warning("an actor was silent for %.0f s: it is started again", now - since)
                    ray.kill(actor, no_restart=False)  # and what it was at is done again
                    busy[made] = actor, item, now

    def map(self, submit: Callable[[Any, Item], Any], items: Iterable[Item]) -> list[Any]:
        """Return what became of items, in their order."""
        numbered = list(enumerate(items))
        found = {
            number: made for (number, _), made in self.map_unordered(lambda a, i: submit(a, i[1]), numbered)
        }
        return [found[number] for number, _ in numbered]

    def shutdown(self) -> None:
        """Give their CPUs back: tasks beside them would wait for ever."""
        for actor in [*self._here, *self._coming.values()]:
            ray.kill(actor)
        self._here, self._coming = [], {}
