from __future__ import annotations

import asyncio

from distspec.io.remote.files import run_coroutine


class Heavy:
    """What takes long to be written out."""

    written = 0

    def __repr__(self) -> str:
        self.written += 1
        return "Heavy()"


def test_the_result_is_never_formatted():
    heavy = Heavy()

    async def work() -> list[Heavy]:
        return [heavy]

    assert run_coroutine(work()) == [heavy]
    assert heavy.written == 0


def test_a_running_event_loop_is_no_obstacle():
    async def work() -> int:
        return 7

    async def notebook_cell() -> int:
        return run_coroutine(work())

    assert asyncio.run(notebook_cell()) == 7
