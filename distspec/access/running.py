"""From code that waits for nothing into code that waits for files."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in an event loop of its own and return its result.

    Examples
    --------
    >>> async def read() -> bytes:
    ...     return b"SIMPLE"
    >>> run(read())
    b'SIMPLE'
    """
    results: list[Result] = []

    async def keep() -> None:
        results.append(await work)

    # Not returned: asyncio.run, when it gives Ctrl-C back, writes out its task and all that this returned,
    # which for arrays and whole files takes longer than reading them.
    asyncio.run(keep())
    return results[0]
