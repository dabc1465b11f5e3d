"""Records of the stages of a root: what each did when it last had something to do.

Each is the file ``ROOT/stages/<stage>.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distspec.core.records import JsonRecord
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url


@dataclass(frozen=True)
class StageRecord(JsonRecord):
    """What a stage did when it last had something to do.

    Attributes
    ----------
    stage : str
        Name of the stage.
    ended : str
        Time at which it ended, UTC, ISO 8601.
    seconds : float
        How long it took [s].
    summary : mapping
        Its result: numbers and names, see `distspec.stages.result.StageResult`.
    """

    record_name = "record of a stage"

    stage: str
    ended: str
    seconds: float
    summary: Mapping[str, int | float | str]


def write_stage_record(root: str, record: StageRecord) -> None:
    """Write the record of a stage, in place of its last one.

    Parameters
    ----------
    root : str
        Root of the project.
    record : StageRecord
        Record of the stage.
    """
    write_json(_record_url(root, record.stage), record.to_json())


def read_stage_record(root: str, stage: str) -> StageRecord | None:
    """Return the record of a stage; None if it has never had anything to do.

    Parameters
    ----------
    root : str
        Root of the project.
    stage : str
        Name of the stage.

    Returns
    -------
    StageRecord or None
    """
    url = _record_url(root, stage)
    return StageRecord.from_json(read_json(url)) if url_exists(url) else None


def _record_url(root: str, stage: str) -> str:
    return join_url(root, "stages", f"{stage}.json")
