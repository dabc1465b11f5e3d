"""Which model serves: the champion of a root, and how it is replaced.

``ROOT/models/champion.json`` is only ever replaced by a conditional put, by whoever holds the root: a holder
that lost it, or that a later one has overtaken, changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from distspec.core.records import now
from distspec.io.files import get_versioned, swap
from distspec.io.lease import Lease
from distspec.io.paths import join


@dataclass(frozen=True)
class Champion:
    """The model that serves.

    Attributes
    ----------
    model_id : str
    since : str
        UTC, ISO 8601.
    why : str
    token : int
        Of the lease under which it was chosen.
    before : str
        The model that served before; empty: none.
    held : str
        Why it stays until somebody lets it go (`distspec rollback`); empty: it does not.
    """

    model_id: str
    since: str
    why: str
    token: int
    before: str = ""
    held: str = ""


def champion(root: str) -> Champion | None:
    """Return the model that serves, None before there is one."""
    seen = get_versioned(_url(root))
    return None if seen is None else _read(seen[0])


def crown(root: str, lease: Lease, model_id: str, why: str, held: str = "") -> Champion:
    """Let a model serve from now on.

    Raises
    ------
    RuntimeError
        When the lease is lost, or another has chosen since it was taken.
    """
    lease.check()
    seen = get_versioned(_url(root))
    before = None if seen is None else _read(seen[0])
    if before is not None and before.token > lease.token:
        raise RuntimeError(f"{_url(root)} was written by a later run: this one has lost {root}; run it again")
    made = Champion(model_id, now(), why, lease.token, before.model_id if before else "", held)
    content = json.dumps(asdict(made), indent=1, ensure_ascii=False).encode()
    if swap(_url(root), content, seen[1] if seen else None) is None:
        raise RuntimeError(f"{_url(root)} was replaced by another run this very moment: run this again")
    return made


def _url(root: str) -> str:
    return join(root, "models", "champion.json")


def _read(content: bytes) -> Champion:
    record: dict[str, Any] = json.loads(content)
    return Champion(**{name: record[name] for name in Champion.__dataclass_fields__ if name in record})
