"""Verb: plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distspec.io.storage import StorageConfig
from distspec.pipeline.machines import GB, n_nodes, parsed
from distspec.pipeline.planning import HOUR, planned
from distspec.pipeline.planning import Plan as Planned
from distspec.pipeline.rates import RATES, Rates
from distspec.pipeline.recipes import RECIPES


@dataclass(frozen=True)
class Plan:
    """Say what so many spectra need on given machines: tasks, memory, hours, storage."""

    spectra: int
    """How many."""
    machines: str = "2x8cpu32gb"
    """Workers: COUNTxCPUScpuGBgb, with a GPU each COUNTxCPUScpuGBgb1gpu; join groups by +."""
    recipe: str = "dja"
    """Whose settings."""
    epochs: int = 0
    """Of training, at most; 0: the recipe's."""
    batch_size: int = 0
    """Spectra a step of training; 0: the recipe's."""
    rates: Path = RATES
    """Your own, as `python -m tests.benchmarks.rates` writes them."""
    price: float = 0.0
    """Of a machine an hour, in any money, to say what it comes to, the driver's machine too; 0: not said."""
    brief: bool = False
    """Print one row of a table: what is needed in all."""
    storage: StorageConfig = field(default_factory=StorageConfig)

    def run(self) -> None:
        """Print it."""
        if self.recipe not in RECIPES:
            raise ValueError(f"--recipe {self.recipe}: choose of {', '.join(RECIPES)}")
        if min(self.epochs, self.batch_size, self.price) < 0:
            raise ValueError("--epochs, --batch-size and --price cannot be negative")
        groups, rates = parsed(self.machines), Rates.read(self.rates)
        config = RECIPES[self.recipe]("planned")
        plan = planned(config, self.spectra, groups, rates, self.epochs, self.batch_size)
        if self.brief:
            print(_markdown([SUMMARY, summary(plan)]))
            return
        print(_markdown(table(plan)), end="\n\n")
        print(_markdown(storage_table(plan)), end="\n\n")
        print(_markdown([SUMMARY, summary(plan)]), end="\n\n")
        if self.price:
            machines = n_nodes(groups) + 1
            cost = machines * plan.hours * self.price
            print(f"{machines} machines for {plan.hours:,.2f} hours come to {cost:,.2f}\n")
        print(conditions(rates))


def table(plan: Planned) -> list[tuple[str, ...]]:
    """Return a plan's stages as words, the names of the columns first."""
    rows = [("stage", "tasks", "at a time", "memory each", "hours", "bound by")]
    for stage in plan.stages:
        tasks = f"{stage.tasks:,}" if stage.tasks else ""
        here = f"{stage.at_a_time:,}" if stage.tasks else "driver"
        memory = _bytes(stage.memory) if stage.tasks else ""
        rows.append((stage.name, tasks, here, memory, _hours(stage.seconds / HOUR), stage.bound))
    return rows


SUMMARY = ("spectra", "workers", "the driver's memory", "hours", "most of them", "read", "kept")


def summary(plan: Planned) -> tuple[str, ...]:
    """Return a plan in one row of `SUMMARY`."""
    words = " + ".join(
        f"{each.count} × {each.cpus} CPUs, {each.memory / GB:g} GB{f', {each.gpus} GPU' if each.gpus else ''}"
        for each in plan.groups
    )
    longest = plan.longest
    share = longest.seconds / HOUR / plan.hours
    return (
        f"{plan.spectra:,}",
        words,
        _bytes(plan.driver),
        _hours(plan.hours),
        f"{longest.name} {share:.0%}: {longest.bound}",
        _bytes(plan.read),
        _bytes(sum(plan.storage.values())),
    )


def storage_table(plan: Planned) -> list[tuple[str, str]]:
    """Return what is read and kept as words, the names of the columns first."""
    kept = [(f"kept in {name}/", _bytes(size)) for name, size in plan.storage.items()]
    return [("storage", "size"), ("read of the archive, once", _bytes(plan.read)), *kept]


def conditions(rates: Rates) -> str:
    """Say where rates come from, and what they leave out."""
    taken = rates.taken
    return (
        f"Rates: CPU seconds of recipe {taken['recipe']}, {taken['spectra']:,} spectra of {taken['pixels']} "
        f"pixels, {taken['when']}, {taken['on']}. To take them again: {taken['again']}.\n"
        f"A GPU's: {rates.gpu['on']}.\n"
        "Hours are those of idle machines that read from a local disk: a network's speed is not counted, and "
        "CPUs are taken to share work evenly."
    )


def _bytes(value: float) -> str:
    unit, size = next((each for each in (("TB", 1e12), ("GB", 1e9)) if value >= each[1]), ("MB", 1e6))
    return f"{value / size:,.0f} {unit}" if value >= 10 * size else f"{value / size:.1f} {unit}"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table, the first row its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
