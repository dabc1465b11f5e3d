"""The promoted model of a root: the one whose embeddings are clustered and published.

``ROOT/models/promoted.json`` is replaced by a conditional write under the root's lease, so that a job that
has lost its lease, or that a later job has overtaken, changes nothing. Importing this module does not import
torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from distspec.core.errors import LeaseLostError
from distspec.core.records import JsonRecord, utc_now_iso
from distspec.io.files import compare_and_swap, read_versioned
from distspec.io.lease import Lease
from distspec.io.paths import join_url


@dataclass(frozen=True)
class PromotedModel(JsonRecord):
    """The promoted model.

    Attributes
    ----------
    model_id : str
        Name of the model.
    promoted_at : str
        Time of the promotion (UTC, ISO 8601).
    reason : str
        Why it was promoted.
    lease_token : int
        Token of the lease under which it was promoted.
    previous_model_id : str
        Model that was promoted before; empty if there was none.
    pin_reason : str
        Why the model stays until it is unpinned (``distspec rollback``); empty if it is not pinned.
    """

    record_name: ClassVar[str] = "models/promoted.json"
    model_id: str
    promoted_at: str
    reason: str
    lease_token: int
    previous_model_id: str = ""
    pin_reason: str = ""


def read_promoted(root: str) -> PromotedModel | None:
    """Return the promoted model of a root, or None if no model has been promoted yet.

    Parameters
    ----------
    root : str
        Root of the models.

    Returns
    -------
    PromotedModel or None
        None if no model has been promoted yet.
    """
    versioned = read_versioned(_promoted_url(root))
    return None if versioned is None else PromotedModel.from_json(json.loads(versioned[0]))


def promote(root: str, lease: Lease, model_id: str, reason: str, pin_reason: str = "") -> PromotedModel:
    """Promote a model.

    Parameters
    ----------
    root : str
        Root of the model.
    lease : Lease
        The lease of the root, held by this job.
    model_id : str
        Name of the model.
    reason : str
        Why it is promoted.
    pin_reason : str, optional
        Why retraining must not replace it; empty to leave it unpinned.

    Returns
    -------
    PromotedModel
        The record of the promotion.

    Raises
    ------
    LeaseLostError
        If the lease was lost, or another job has promoted a model since this job took its lease.
    """
    lease.check_held()
    url = _promoted_url(root)
    versioned = read_versioned(url)
    previous = None if versioned is None else PromotedModel.from_json(json.loads(versioned[0]))
    if previous is not None and previous.lease_token > lease.token:
        raise LeaseLostError(f"{url} was written by a later job: this one has lost {root}; run it again")
    promoted = PromotedModel(
        model_id, utc_now_iso(), reason, lease.token, previous.model_id if previous else "", pin_reason
    )
    content = json.dumps(promoted.to_json(), indent=1, ensure_ascii=False).encode()
    if compare_and_swap(url, content, versioned[1] if versioned else None) is None:
        raise LeaseLostError(f"{url} was replaced by another job at the same time: run this one again")
    return promoted


def _promoted_url(root: str) -> str:
    return join_url(root, "models", "promoted.json")
