"""The files of a checkpoint: safetensors and JSON, of which nothing is unpickled.

::

    <step>/shared.safetensors        tensors that all workers share, written by worker 0
    <step>/worker-<rank>.safetensors tensors of each worker
    <step>/checkpoint.json           all else, and the size and SHA-256 of every file: written last

A checkpoint counts if its JSON exists and every file matches it; one that was cut short or is damaged is
skipped in favor of the one before it. The last two are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from distspec.core.errors import StoreError
from distspec.core.records import JsonRecord
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
from distspec.training.state import TrainingProgress

log = logging.getLogger(__name__)
FORMAT_VERSION = 2
"""Version of the files of a checkpoint; checkpoints of other versions are skipped."""
SHARED_FILE = "shared.safetensors"
RECORD_FILE = "checkpoint.json"
MAX_TO_KEEP = 2
"""Number of checkpoints that are kept."""
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class FileChecksum(JsonRecord):
    """Size and SHA-256 of a file.

    Attributes
    ----------
    sha256 : str
        SHA-256 of the content, hexadecimal.
    n_bytes : int
        Size of the content.
    """

    sha256: str
    n_bytes: int

    @classmethod
    def from_content(cls, content: bytes) -> FileChecksum:
        """Compute the checksum of a file's content.

        Parameters
        ----------
        content : bytes
            Content of the file.
        """
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class CheckpointRecord(JsonRecord):
    """Content of ``checkpoint.json``.

    Attributes
    ----------
    files : mapping of str to FileChecksum
        Checksums of the files of tensors, by name.
    progress : TrainingProgress
        Position in the training.
    format_version : int
        Version of the files.
    """

    record_name: ClassVar[str] = RECORD_FILE
    files: Mapping[str, FileChecksum]
    progress: TrainingProgress
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes
    ----------
    url : str
        Folder of the checkpoint.
    record : CheckpointRecord
        Content of its JSON.
    """

    url: str
    record: CheckpointRecord

    @property
    def n_workers(self) -> int:
        """Number of workers that wrote the checkpoint."""
        return len(self.record.files) - 1

    def read_shared_tensors(self) -> dict[str, Tensor]:
        """Read the tensors that all workers share."""
        return load_safetensors(read_bytes(join_url(self.url, SHARED_FILE)))

    def read_worker_tensors(self, rank: int) -> dict[str, Tensor]:
        """Read the tensors of one worker.

        Parameters
        ----------
        rank : int
            Number of the worker, less than `n_workers`.
        """
        return load_safetensors(read_bytes(join_url(self.url, worker_file_name(rank))))


def worker_file_name(rank: int) -> str:
    """Return the name of the file that holds a worker's tensors.

    Parameters
    ----------
    rank : int
        Number of the worker.
    """
    return f"worker-{rank}.safetensors"


def save_checkpoint(
    url: str,
    progress: TrainingProgress,
    shared_tensors: Tensors,
    worker_tensors: Tensors,
    process_group: ProcessGroup,
) -> None:
    """Write a checkpoint and delete old ones; every worker must call this at the same step.

    Parameters
    ----------
    url : str
        Folder of all checkpoints of a model.
    progress : TrainingProgress
        Position in the training; worker 0's is written. Its step names the checkpoint.
    shared_tensors : mapping of str to Tensor
        Tensors that all workers share.
    worker_tensors : mapping of str to Tensor
        Tensors of this worker.
    process_group : ProcessGroup
        The workers.
    """
    folder = join_url(url, f"{progress.step:010d}")
    if process_group.rank == 0:
        # A checkpoint of the same step may exist: it must not count while it is overwritten.
        delete_file(join_url(folder, RECORD_FILE))
    process_group.all_gather(torch.zeros(1))
    own = _write_tensors(join_url(folder, worker_file_name(process_group.rank)), worker_tensors)
    shared = _write_tensors(join_url(folder, SHARED_FILE), shared_tensors) if process_group.rank == 0 else own
    gathered = [_decode_checksum(tensor) for tensor in process_group.all_gather(_encode_checksum(own))]
    if process_group.rank != 0:
        return
    files = {worker_file_name(rank): checksum for rank, checksum in enumerate(gathered)} | {
        SHARED_FILE: shared
    }
    write_json(join_url(folder, RECORD_FILE), CheckpointRecord(files, progress).to_json())
    _delete_old_checkpoints(url, progress.step)


def find_latest_checkpoint(url: str, process_group: ProcessGroup) -> Checkpoint | None:
    """Return the newest complete checkpoint, the same on every worker, or None if there is none.

    Worker 0 checks the files and logs the problem of each checkpoint that it skips.

    Parameters
    ----------
    url : str
        Folder of all checkpoints of a model.
    process_group : ProcessGroup
        The workers.
    """
    newest = torch.tensor([-1])
    if process_group.rank == 0:
        for step in sorted(_list_steps(url), reverse=True):
            folder = join_url(url, f"{step:010d}")
            if problem := find_problem(folder):
                log.warning("checkpoint %s is skipped: %s", folder, problem)
                continue
            newest = torch.tensor([step])
            break
    step = int(process_group.broadcast(newest))
    if step < 0:
        return None
    folder = join_url(url, f"{step:010d}")
    return Checkpoint(folder, CheckpointRecord.from_json(read_json(join_url(folder, RECORD_FILE))))


def delete_checkpoints(url: str) -> None:
    """Delete all checkpoints of a model, which is complete.

    Parameters
    ----------
    url : str
        Folder of the checkpoints.
    """
    delete_folder(url)


def find_problem(url: str) -> str:
    """Return the problem of a checkpoint; empty if it is complete.

    Parameters
    ----------
    url : str
        Folder of the checkpoint.
    """
    try:
        content = read_json(join_url(url, RECORD_FILE))
        if content["format_version"] != FORMAT_VERSION:
            return f"it has format {content['format_version']}, this distspec reads {FORMAT_VERSION}"
        for name, expected in CheckpointRecord.from_json(content).files.items():
            checksum = FileChecksum.from_content(read_bytes(join_url(url, name)))
            if checksum.n_bytes != expected.n_bytes:
                return f"{name} has {checksum.n_bytes} bytes instead of {expected.n_bytes}"
            if checksum.sha256 != expected.sha256:
                return f"{name} does not match its checksum in {RECORD_FILE}"
    except FileNotFoundError as error:
        return f"a file is missing ({error})"
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        AttributeError,
        StoreError,
    ) as error:
        return f"{RECORD_FILE} cannot be read ({error!r})"
    return ""


def _write_tensors(url: str, tensors: Tensors) -> FileChecksum:
    """Write tensors to a file and return its checksum."""
    content = save_safetensors({name: t.detach().contiguous().cpu() for name, t in tensors.items()})
    write_bytes(url, content)
    return FileChecksum.from_content(content)


def _encode_checksum(checksum: FileChecksum) -> Tensor:
    """Return a checksum as a tensor of 40 bytes, which every backend can gather."""
    content = bytes.fromhex(checksum.sha256) + checksum.n_bytes.to_bytes(8, "big")
    return torch.tensor(list(content), dtype=torch.uint8)


def _decode_checksum(tensor: Tensor) -> FileChecksum:
    """Return the checksum that a tensor of 40 bytes holds."""
    content = bytes(tensor.tolist())
    return FileChecksum(content[:32].hex(), int.from_bytes(content[32:], "big"))


def _list_steps(url: str) -> dict[int, bool]:
    """Return the steps for which files exist, and whether their JSON is among them."""
    steps: dict[int, bool] = {}
    for name in list_files(url):
        folder, _, file = name.partition("/")
        if folder.isdigit():
            steps[int(folder)] = steps.get(int(folder), False) or file == RECORD_FILE
    return steps


def _delete_old_checkpoints(url: str, newest_step: int) -> None:
    """Delete all but the newest `MAX_TO_KEEP` checkpoints up to a step, and all later ones."""
    steps = _list_steps(url)
    complete = sorted(step for step, has_record in steps.items() if has_record and step < newest_step)
    kept = {newest_step, *complete[1 - MAX_TO_KEEP :]}
    for step in set(steps) - kept:
        folder = join_url(url, f"{step:010d}")
        delete_file(join_url(folder, RECORD_FILE))  # first, so that a half-deleted checkpoint does not count
        delete_folder(folder)
