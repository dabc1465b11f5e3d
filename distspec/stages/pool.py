"""Bounded submission of Ray tasks, a pool of actors that grows with the cluster, and the count of retries."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import ray
from ray._private.worker import global_worker

from distspec.stages.session import can_autoscale, n_cpus

Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")
log = logging.getLogger("distspec")
POLL_SECONDS = 2.0
"""Interval at which new and hanging actors are looked for [s]."""
HANG_TIMEOUT_SECONDS, HANG_FACTOR = 900.0, 20.0
"""A call hangs if it takes longer than this [s] and than this multiple of the longest call so far."""


@dataclass(frozen=True)
class CountedResult:
    """Result of a task or of an actor's method, and how often Ray has repeated it.

    Attributes
    ----------
    value : object
        What the function returned.
    task_name : str
        Name of the task, such as "SweepActor.run_job".
    n_retries : int
        Number of earlier attempts, each of which ended with its process or node.
    """

    value: Any
    task_name: str
    n_retries: int


class _Retries:
    """Number of retries in this process since the last `take_retries`."""

    count = 0


def count_retries(function: Callable[Parameters, Any]) -> Callable[Parameters, CountedResult]:
    """Let a function that Ray runs return a `CountedResult`, which `get_result` unpacks.

    Parameters
    ----------
    function : callable
        Function of a task, or method of an actor.
    """

    @wraps(function)
    def run_counted(*args: Parameters.args, **kwargs: Parameters.kwargs) -> CountedResult:
        name = ray.get_runtime_context().get_task_name() or function.__name__
        return CountedResult(function(*args, **kwargs), name, get_retry_number())

    return run_counted


def get_retry_number() -> int:
    """Return, within a task, the number of its earlier attempts; Ray's public interface lacks it."""
    worker: Any = global_worker
    return worker.core_worker.get_current_task_attempt_number()


def get_result(reference: ray.ObjectRef[Any], item: object = "") -> Any:
    """Return the result of a task; report its retries if it is a `CountedResult`.

    Parameters
    ----------
    reference : ObjectRef
        Reference of the task.
    item : object
        What the task worked on, for the log.
    """
    result = ray.get(reference)
    if not isinstance(result, CountedResult):
        return result
    report_retries(f"{result.task_name} {str(item)[:100]}".rstrip(), result.n_retries)
    return result.value


def report_retries(task: str, n_retries: int) -> None:
    """Log that a task was repeated, and count it for the result of the stage.

    Parameters
    ----------
    task : str
        Name of the task and what it worked on.
    n_retries : int
        Number of earlier attempts; nothing happens for 0.
    """
    if n_retries:
        _Retries.count += n_retries
        log.warning(
            "%s was run %d times, because its process or node died: its result is complete "
            '(see "A Ray worker aborts" in docs/guides/clusters.md)',
            task,
            n_retries + 1,
        )


def take_retries() -> int:
    """Return the number of retries that were reported since the last call."""
    count, _Retries.count = _Retries.count, 0
    return count


def map_ordered(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], max_in_flight: Callable[[], int]
) -> Iterator[Any]:
    """Yield the results of tasks in the order of their items.

    Parameters
    ----------
    submit : callable
        Submits the task of an item.
    items : iterable
        Items.
    max_in_flight : callable
        Returns the largest number of tasks that run at a time.
    """
    for item, reference in map_ordered_refs(submit, items, max_in_flight):
        yield get_result(reference, item)


def map_ordered_refs(
    submit: Callable[[Item], ray.ObjectRef[Any]], items: Iterable[Item], max_in_flight: Callable[[], int]
) -> Iterator[tuple[Item, ray.ObjectRef[Any]]]:
    """Yield items, in order, with the references of their tasks, each once its task is done.

    At most `max_in_flight` tasks run at a time, and at most twice as many are held, results that wait for an
    earlier one included, so that memory is bounded. The limit is determined anew before each task and may
    grow with the cluster: pending tasks are what makes an autoscaler add nodes.

    Parameters
    ----------
    submit : callable
        Submits the task of an item.
    items : iterable
        Items.
    max_in_flight : callable
        Returns the largest number of tasks that run at a time.
    """
    remaining = iter(items)
    submitted: deque[tuple[Item, ray.ObjectRef[Any]]] = deque()
    running: set[ray.ObjectRef[Any]] = set()
    while True:
        while len(running) < (limit := max_in_flight()) and len(submitted) < 2 * limit:
            try:
                item = next(remaining)
            except StopIteration:
                break
            submitted.append((item, submit(item)))
            running.add(submitted[-1][1])
        if not submitted:
            return
        if submitted[0][1] in running:
            done, _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            running.difference_update(done)
        while submitted and submitted[0][1] not in running:
            yield submitted.popleft()


class ActorPool:
    """Actors of one class.

    Actors that no node has room for stay pending, which makes an autoscaler add nodes. They get no work
    before they are ready, so that a node that never comes delays nothing. The actors end with the process
    that created the pool.

    Parameters
    ----------
    create_actor : callable
        Starts an actor.
    max_actors : int
        Largest number of actors that there is work for.
    count_slots : callable
        Returns the number of actors that the nodes of the cluster have room for.
    """

    def __init__(
        self, create_actor: Callable[[], Any], max_actors: int, count_slots: Callable[[], int] = n_cpus
    ) -> None:
        self._create_actor, self._max_actors, self._count_slots = create_actor, max_actors, count_slots
        self._pending: dict[Any, Any] = {}
        self._ready: list[Any] = []

    def wait_ready(self) -> list[Any]:
        """Return the actors that are ready; wait until there is at least one."""
        # Twice the number of slots, so that an autoscaling cluster doubles whenever it has caught up.
        target = min(self._max_actors, self._count_slots() * (2 if can_autoscale() else 1))
        while len(self._ready) + len(self._pending) < target:
            actor = self._create_actor()
            self._pending[actor.__ray_ready__.remote()] = actor
        if self._pending:
            timeout = 0.0 if self._ready else None
            ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=timeout)
            if ready:
                ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0.0)
            ray.get(ready)  # raises the error of an actor that could not be started
            self._ready += [self._pending.pop(reference) for reference in ready]
        return self._ready

    def map_unordered(
        self, submit: Callable[[Any, Item], Any], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Any]]:
        """Yield items with their results as they are done; each actor handles one item at a time.

        Parameters
        ----------
        submit : callable
            Takes an actor and an item; returns the Ray reference of the result.
        items : iterable
            Items.
        """
        remaining, busy, longest = deque(items), dict[Any, tuple[Any, Item, float]](), 0.0
        while remaining or busy:
            working = [actor for actor, _, _ in busy.values()]
            for actor in self.wait_ready() if remaining else ():
                if actor not in working and remaining:
                    item = remaining.popleft()
                    busy[submit(actor, item)] = actor, item, time.monotonic()
            done, _ = ray.wait(list(busy), num_returns=1, timeout=POLL_SECONDS)
            now = time.monotonic()
            for reference in done:
                _, item, started = busy.pop(reference)
                longest = max(longest, now - started)
                yield item, get_result(reference, item)
            for reference, (actor, item, started) in busy.items():
                if now - started > max(HANG_TIMEOUT_SECONDS, HANG_FACTOR * longest):
                    log.warning(
                        "an actor has not answered for %.0f s: restarting it and repeating its work",
                        now - started,
                    )
                    ray.kill(actor, no_restart=False)
                    busy[reference] = actor, item, now

    def map(self, submit: Callable[[Any, Item], Any], items: Iterable[Item]) -> list[Any]:
        """Return the results of items, in order.

        Parameters
        ----------
        submit : callable
            Takes an actor and an item; returns the Ray reference of the result.
        items : iterable
            Items.
        """
        numbered = list(enumerate(items))
        results = {
            number: result
            for (number, _), result in self.map_unordered(
                lambda actor, pair: submit(actor, pair[1]), numbered
            )
        }
        return [results[number] for number, _ in numbered]

    def shutdown(self) -> None:
        """End all actors, so that their CPUs become free for tasks."""
        for actor in [*self._ready, *self._pending.values()]:
            ray.kill(actor)
        self._ready, self._pending = [], {}
