"""Descriptions of machines: how many, and how many CPUs, GPUs and how much memory each has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from distspec.core.errors import ConfigError

GB = 1e9
RAY_MEMORY_FRACTION = 0.7
"""Fraction of a node's memory that Ray gives to tasks; the rest is for its object store."""
_GROUP_PATTERN = re.compile(r"(\d+)x(\d+)cpu(\d+(?:\.\d+)?)gb(?:(\d+)gpu)?")


@dataclass(frozen=True)
class MachineGroup:
    """Machines of the same kind.

    Attributes
    ----------
    count : int
        Number of machines.
    cpus : int
        CPUs of each.
    memory : float
        Memory of each [bytes].
    gpus : int
        GPUs of each.
    """

    count: int
    cpus: int
    memory: float
    gpus: int = 0


def parse_machines(text: str) -> tuple[MachineGroup, ...]:
    """Parse groups of machines such as ``10x8cpu32gb+1x8cpu32gb1gpu``.

    Parameters
    ----------
    text : str
        Groups ``COUNTxCPUScpuGBgb`` or ``COUNTxCPUScpuGBgbGPUSgpu``, joined by ``+``.

    Raises
    ------
    ConfigError
        If the text has another form.

    Examples
    --------
    >>> parse_machines("2x8cpu32gb+1x4cpu16gb1gpu")[1]
    MachineGroup(count=1, cpus=4, memory=16000000000.0, gpus=1)
    """
    groups: list[MachineGroup] = []
    for part in text.split("+"):
        match = _GROUP_PATTERN.fullmatch(part.strip().lower())
        if match is None or "0" in match.groups()[:2] or not float(match[3]):
            raise ConfigError(
                f"machines {text!r}: {part!r} is not COUNTxCPUScpuGBgb, such as 4x8cpu32gb or, with a GPU "
                "each, 1x8cpu32gb1gpu; join groups with +"
            )
        groups.append(MachineGroup(int(match[1]), int(match[2]), float(match[3]) * GB, int(match[4] or 0)))
    return tuple(groups)


def n_machines(groups: Sequence[MachineGroup]) -> int:
    """Return the number of machines.

    Parameters
    ----------
    groups : sequence of MachineGroup
        Groups of equal machines.
    """
    return sum(group.count for group in groups)


def n_gpus(groups: Sequence[MachineGroup]) -> int:
    """Return the number of GPUs of all machines.

    Parameters
    ----------
    groups : sequence of MachineGroup
        Groups of equal machines.
    """
    return sum(group.count * group.gpus for group in groups)


def count_concurrent_processes(process_name: str, memory: float, groups: Sequence[MachineGroup]) -> int:
    """Return how many processes of one CPU each the machines can run at the same time.

    Parameters
    ----------
    process_name : str
        Name of the process, for the error message.
    memory : float
        Memory of each process [bytes].
    groups : sequence of MachineGroup
        The machines.

    Raises
    ------
    ConfigError
        If a process fits on none of the machines.
    """
    n_processes = sum(
        group.count * min(group.cpus, int(group.memory * RAY_MEMORY_FRACTION / memory)) for group in groups
    )
    if not n_processes:
        largest = max(group.memory for group in groups)
        raise ConfigError(
            f"{process_name} needs {memory / GB:.2f} GB of memory, and the largest of these machines gives "
            f"{largest * RAY_MEMORY_FRACTION / GB:.2f} of its {largest / GB:g} GB to Ray's tasks: "
            "use larger machines"
        )
    return n_processes
