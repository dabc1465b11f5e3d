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

from distspec.io.files import (
    delete_file,
    delete_folder,
    list_files,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
)
from distspec.io.paths import join_url
from distspec.training.distributed import ProcessGroup

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
SHARED_FILE = "shared.safetensors"
RECORD_FILE = "checkpoint.json"
MAX_TO_KEEP = 2
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

    def read_shared_tensors(self) -> dict[str, Tensor]:
        """Return what all workers had in common."""
        return load_safetensors(read_bytes(join_url(self.url, SHARED_FILE)))

    def read_worker_tensors(self, rank: int) -> dict[str, Tensor]:
        """Return what one worker had of its own."""
        return load_safetensors(read_bytes(join_url(self.url, worker_file_name(rank))))


def worker_file_name(rank: int) -> str:
    """Return the name of the file of what one worker has of its own."""
    return f"worker-{rank}.safetensors"


def save_checkpoint(
    url: str,
    step: int,
    shared_tensors: Tensors,
    worker_tensors: Tensors,
    record: Mapping[str, Any],
    process_group: ProcessGroup,
) -> None:
    """Write a checkpoint; every worker must call this at the same step.

    Parameters
    ----------
    url : str
        The folder of all of a model's checkpoints.
    step : int
        Names it; later is newer.
    shared_tensors : tensors that all workers have in common
    worker_tensors : tensors of this worker's own
    record : what is no tensor, as JSON, of worker 0
    process_group : Team
    """
    here = join_url(url, f"{step:010d}")
    if process_group.rank == 0:
        # Where one of that step lies there already, it does not count from now on.
        delete_file(join_url(here, RECORD_FILE))
    process_group.all_gather(torch.zeros(1))
    seals = [_write_tensors(join_url(here, worker_file_name(process_group.rank)), worker_tensors)]
    if process_group.rank == 0:
        seals.append(_write_tensors(join_url(here, SHARED_FILE), shared_tensors))
    files = [_decode_checksum(seal) for seal in process_group.all_gather(seals[0])]
    if process_group.rank != 0:
        return
    listed = {worker_file_name(rank): file for rank, file in enumerate(files)} | {
        SHARED_FILE: _decode_checksum(seals[1])
    }
    write_json(
        join_url(here, RECORD_FILE), {**record, "format": FORMAT_VERSION, "step": step, "files": listed}
    )
    steps = _list_steps(url)
    kept = {step, *sorted(at for at in steps if steps[at] and at < step)[1 - MAX_TO_KEEP :]}
    for at in set(steps) - kept:
        _delete_checkpoint(join_url(url, f"{at:010d}"))


def find_latest_checkpoint(url: str, process_group: ProcessGroup) -> Checkpoint | None:
    """Return the newest whole checkpoint, the same for every worker; None where there is none.

    What is passed over is logged, with what is wrong with it.
    """
    found = torch.tensor([-1])
    if process_group.rank == 0:
        for step in sorted(_list_steps(url), reverse=True):
            here = join_url(url, f"{step:010d}")
            if wrong := find_problem(here):
                log.warning("checkpoint %s passed over: %s", here, wrong)
                continue
            found = torch.tensor([step])
            break
    step = int(process_group.broadcast(found))
    if step < 0:
        return None
    here = join_url(url, f"{step:010d}")
    return Checkpoint(here, read_json(join_url(here, RECORD_FILE)))


def delete_checkpoints(url: str) -> None:
    """Take all checkpoints away: their model is finished."""
    delete_folder(url)


def find_problem(url: str) -> str:
    """Say what is wrong with a checkpoint; empty where it is whole."""
    try:
        record = read_json(join_url(url, RECORD_FILE))
        if record["format"] != FORMAT_VERSION:
            return f"its format is {record['format']}, this distspec reads {FORMAT_VERSION}"
        for name, expected in record["files"].items():
            content = read_bytes(join_url(url, name))
            if len(content) != expected["bytes"]:
                return f"{name} has {len(content)} bytes, not {expected['bytes']}"
            if hashlib.sha256(content).hexdigest() != expected["sha256"]:
                return f"{name} is not what {RECORD_FILE} vouches for"
    except FileNotFoundError as error:
        return f"a file is missing ({error})"
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        return f"{RECORD_FILE} cannot be read ({error!r})"
    return ""


def _write_tensors(url: str, tensors: Tensors) -> Tensor:
    """Write tensors; return a seal of the file: 32 bytes of SHA-256, 8 of its size."""
    content = save_safetensors({name: t.detach().contiguous().cpu() for name, t in tensors.items()})
    write_bytes(url, content)
    seal = hashlib.sha256(content).digest() + len(content).to_bytes(8, "big")
    return torch.tensor(list(seal), dtype=torch.uint8)


def _decode_checksum(checksum: Tensor) -> dict[str, Any]:
    content = bytes(checksum.tolist())
    return {"sha256": content[:32].hex(), "bytes": int.from_bytes(content[32:], "big")}


def _list_steps(url: str) -> dict[int, bool]:
    """Return the steps of which there is something, and whether their JSON is there."""
    found: dict[int, bool] = {}
    for name in list_files(url):
        folder, _, file = name.partition("/")
        if folder.isdigit():
            found[int(folder)] = found.get(int(folder), False) or file == RECORD_FILE
    return found


def _delete_checkpoint(url: str) -> None:
    delete_file(join_url(url, RECORD_FILE))  # first: what is left of it must not count
    delete_folder(url)
