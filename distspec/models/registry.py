"""Which model serves: the champion of a root, and how it is replaced.

``ROOT/models/champion.json`` is only ever replaced by a conditional put, by whoever holds the root: a holder
that lost it, or that a later one has overtaken, changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from distspec.core.records import utc_now_iso
from distspec.io.files import compare_and_swap, read_versioned
from distspec.io.lease import Lease
from distspec.io.paths import join_url


@dataclass(frozen=True)
class PromotedModel:
    """The model that serves.

    Attributes
    ----------
    model_id : str
    promoted_at : str
        UTC, ISO 8601.
    reason : str
    lease_token : int
        Of the lease under which it was chosen.
    previous_model_id : str
        The model that served before; empty: none.
    hold_reason : str
        Why it stays until somebody lets it go (`distspec rollback`); empty: it does not.
    """

    model_id: str
    promoted_at: str
    reason: str
    lease_token: int
    previous_model_id: str = ""
    hold_reason: str = ""


def read_promoted(root: str) -> PromotedModel | None:
    """Return the model that serves, None before there is one."""
    seen = read_versioned(_promoted_url(root))
    return None if seen is None else _parse(seen[0])


def promote(root: str, lease: Lease, model_id: str, reason: str, hold_reason: str = "") -> PromotedModel:
    """Let a model serve from now on.

    Raises
    ------
    RuntimeError
        When the lease is lost, or another has chosen since it was taken.
    """
    lease.check_held()
    seen = read_versioned(_promoted_url(root))
    before = None if seen is None else _parse(seen[0])
    if before is not None and before.lease_token > lease.token:
        raise RuntimeError(
            f"{_promoted_url(root)} was written by a later run: this one has lost {root}; run it again"
        )
    made = PromotedModel(
        model_id, utc_now_iso(), reason, lease.token, before.model_id if before else "", hold_reason
    )
    content = json.dumps(asdict(made), indent=1, ensure_ascii=False).encode()
    if compare_and_swap(_promoted_url(root), content, seen[1] if seen else None) is None:
        raise RuntimeError(
            f"{_promoted_url(root)} was replaced by another run this very moment: run this again"
        )
    return made


def _promoted_url(root: str) -> str:
    return join_url(root, "models", "champion.json")


def _parse(content: bytes) -> PromotedModel:
    record: dict[str, Any] = json.loads(content)
    return PromotedModel(
        **{name: record[name] for name in PromotedModel.__dataclass_fields__ if name in record}
    )
