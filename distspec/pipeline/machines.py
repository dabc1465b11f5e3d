"""Machines in words: how many, with how many CPUs, how much memory, how many GPUs each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GB = 1e9
RAY_MEMORY_FRACTION = 0.7
"""Of a node's memory Ray gives this to tasks; the rest is its objects'."""
_GROUP_PATTERN = re.compile(r"(\d+)x(\d+)cpu(\d+(?:\.\d+)?)gb(?:(\d+)gpu)?")


@dataclass(frozen=True)
class MachineGroup:
    """Machines that are alike.

    Attributes
    ----------
    count : int
    cpus, gpus : int
        Of each.
    memory : float
        Of each [bytes].
    """

    count: int
    cpus: int
    memory: float
    gpus: int = 0


def parse_machines(text: str) -> tuple[MachineGroup, ...]:
    """Return groups of machines, as in ``10x8cpu32gb+1x8cpu32gb1gpu``.

    Raises
    ------
    ValueError
        When that is not what is said.

    Examples
    --------
    >>> parsed("2x8cpu32gb+1x4cpu16gb1gpu")[1]
    Group(count=1, cpus=4, memory=16000000000.0, gpus=1)
    """
    groups: list[MachineGroup] = []
    for part in text.split("+"):
        found = _GROUP_PATTERN.fullmatch(part.strip().lower())
        if found is None or "0" in found.groups()[:2] or not float(found[3]):
            raise ValueError(
                f"machines {text!r}: {part!r} is not COUNTxCPUScpuGBgb, such as 4x8cpu32gb or, with a GPU "
                "each, 1x8cpu32gb1gpu; join groups by +"
            )
        groups.append(MachineGroup(int(found[1]), int(found[2]), float(found[3]) * GB, int(found[4] or 0)))
    return tuple(groups)


def n_machines(groups: Sequence[MachineGroup]) -> int:
    """Return how many machines there are."""
    return sum(group.count for group in groups)


def n_gpus(groups: Sequence[MachineGroup]) -> int:
    """Return how many GPUs they have."""
    return sum(group.count * group.gpus for group in groups)


def count_concurrent_processes(process_name: str, memory: float, groups: Sequence[MachineGroup]) -> int:
    """Return how many processes of one CPU and so many bytes they hold.

    Raises
    ------
    ValueError
        When none of them holds one.
    """
    held = sum(
        group.count * min(group.cpus, int(group.memory * RAY_MEMORY_FRACTION / memory)) for group in groups
    )
    if not held:
        most = max(group.memory for group in groups)
        raise ValueError(
            f"{process_name} needs {memory / GB:.2f} GB of memory, and the largest of these machines gives "
            f"{most * RAY_MEMORY_FRACTION / GB:.2f} of its {most / GB:g} GB to Ray's tasks: name larger ones"
        )
    return held
