"""Checkpoints: safetensors and JSON below one folder, each whole or not counted. Nothing is unpickled.

    <step>/shared.safetensors     what all workers have in common, written by worker 0
    <step>/worker-<r>.safetensors what each worker has of its own
    <step>/checkpoint.json        the rest, and every file's size and SHA-256: written last

A checkpoint counts when its JSON is there and every file is what the JSON says: one that a kill has cut
short, or a disk has changed, is passed over for the one before it. The last two are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from distspec.io.files import get, get_json, names, put, put_json, remove, remove_folder
from distspec.io.paths import join
from distspec.training.distributed import Team

log = logging.getLogger(__name__)
FORMAT = 1
SHARED = "shared.safetensors"
RECORD = "checkpoint.json"
KEPT = 2
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """One that is whole."""

    url: str
    record: Mapping[str, Any]

    @property
    def n_workers(self) -> int:
        """How many workers wrote it."""
        return len(self.record["files"]) - 1

    def shared(self) -> dict[str, Tensor]:
        """Return what all workers had in common."""
        return load_safetensors(get(join(self.url, SHARED)))

    def own(self, rank: int) -> dict[str, Tensor]:
        """Return what one worker had of its own."""
        return load_safetensors(get(join(self.url, worker_file(rank))))


def worker_file(rank: int) -> str:
    """Return the name of the file of what one worker has of its own."""
    return f"worker-{rank}.safetensors"


def save(url: str, step: int, shared: Tensors, own: Tensors, record: Mapping[str, Any], team: Team) -> None:
    """Write a checkpoint; every worker must call this at the same step.

    Parameters
    ----------
    url : str
        The folder of all of a model's checkpoints.
    step : int
        Names it; later is newer.
    shared : tensors that all workers have in common
    own : tensors of this worker's own
    record : what is no tensor, as JSON, of worker 0
    team : Team
    """
    here = join(url, f"{step:010d}")
    if team.rank == 0:
        # Where one of that step lies there already, it does not count from now on.
        remove(join(here, RECORD))
    team.gather(torch.zeros(1))
    seals = [_write(join(here, worker_file(team.rank)), own)]
    if team.rank == 0:
        seals.append(_write(join(here, SHARED), shared))
    files = [_file(seal) for seal in team.gather(seals[0])]
    if team.rank != 0:
        return
    listed = {worker_file(rank): file for rank, file in enumerate(files)} | {SHARED: _file(seals[1])}
    put_json(join(here, RECORD), {**record, "format": FORMAT, "step": step, "files": listed})
    steps = _steps(url)
    kept = {step, *sorted(at for at in steps if steps[at] and at < step)[1 - KEPT :]}
    for at in set(steps) - kept:
        _remove(join(url, f"{at:010d}"))


def newest(url: str, team: Team) -> Checkpoint | None:
    """Return the newest whole checkpoint, the same for every worker; None where there is none.

    What is passed over is logged, with what is wrong with it.
    """
    found = torch.tensor([-1])
    if team.rank == 0:
        for step in sorted(_steps(url), reverse=True):
            here = join(url, f"{step:010d}")
            if wrong := problem(here):
                log.warning("checkpoint %s passed over: %s", here, wrong)
                continue
            found = torch.tensor([step])
            break
    step = int(team.from_first(found))
    if step < 0:
        return None
    here = join(url, f"{step:010d}")
    return Checkpoint(here, get_json(join(here, RECORD)))


def forget(url: str) -> None:
    """Take all checkpoints away: their model is finished."""
    remove_folder(url)


def problem(url: str) -> str:
    """Say what is wrong with a checkpoint; empty where it is whole."""
    try:
        record = get_json(join(url, RECORD))
        if record["format"] != FORMAT:
            return f"its format is {record['format']}, this distspec reads {FORMAT}"
        for name, expected in record["files"].items():
            content = get(join(url, name))
            if len(content) != expected["bytes"]:
                return f"{name} has {len(content)} bytes, not {expected['bytes']}"
            if hashlib.sha256(content).hexdigest() != expected["sha256"]:
                return f"{name} is not what {RECORD} vouches for"
    except FileNotFoundError as error:
        return f"a file is missing ({error})"
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        return f"{RECORD} cannot be read ({error!r})"
    return ""


def _write(url: str, tensors: Tensors) -> Tensor:
    """Write tensors; return a seal of the file: 32 bytes of SHA-256, 8 of its size."""
    content = save_safetensors({name: t.detach().contiguous().cpu() for name, t in tensors.items()})
    put(url, content)
    seal = hashlib.sha256(content).digest() + len(content).to_bytes(8, "big")
    return torch.tensor(list(seal), dtype=torch.uint8)


def _file(seal: Tensor) -> dict[str, Any]:
    content = bytes(seal.tolist())
    return {"sha256": content[:32].hex(), "bytes": int.from_bytes(content[32:], "big")}


def _steps(url: str) -> dict[int, bool]:
    """Return the steps of which there is something, and whether their JSON is there."""
    found: dict[int, bool] = {}
    for name in names(url):
        folder, _, file = name.partition("/")
        if folder.isdigit():
            found[int(folder)] = found.get(int(folder), False) or file == RECORD
    return found


def _remove(url: str) -> None:
    remove(join(url, RECORD))  # first: what is left of it must not count
    remove_folder(url)
