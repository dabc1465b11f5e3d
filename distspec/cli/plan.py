"""Verb: plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distspec.io.storage import StorageConfig
from distspec.pipeline.machines import GB, n_machines, parse_machines
from distspec.pipeline.planning import SECONDS_PER_HOUR, plan_resources
from distspec.pipeline.planning import ResourcePlan as Planned
from distspec.pipeline.rates import DEFAULT_RATES_PATH, ResourceRates
from distspec.pipeline.recipes import find_recipe


@dataclass(frozen=True)
class PlanCommand:
    """Say what so many spectra need on given machines: tasks, memory, hours, storage."""

    n_spectra: int
    """How many."""
    machines: str = "2x8cpu32gb"
    """Workers: COUNTxCPUScpuGBgb, with a GPU each COUNTxCPUScpuGBgb1gpu; join groups by +."""
    recipe: str = "dja"
    """Whose settings."""
    n_epochs: int = 0
    """Of training, at most; 0: the recipe's."""
    batch_size: int = 0
    """Spectra a step of training; 0: the recipe's."""
    rates_file: Path = DEFAULT_RATES_PATH
    """Your own, as `python -m tests.benchmarks.rates` writes them."""
    price_per_hour: float = 0.0
    """Of a machine an hour, in any money, to say what it comes to, the driver's machine too; 0: not said."""
    brief: bool = False
    """Print one row of a table: what is needed in all."""
    storage: StorageConfig = field(default_factory=StorageConfig)

    def run(self) -> None:
        """Print it."""
        if min(self.n_epochs, self.batch_size, self.price_per_hour) < 0:
            raise ValueError("--epochs, --batch-size and --price cannot be negative")
        groups, rates = parse_machines(self.machines), ResourceRates.read(self.rates_file)
        config = find_recipe(self.recipe)("planned")
        plan = plan_resources(config, self.n_spectra, groups, rates, self.n_epochs, self.batch_size)
        if self.brief:
            print(_format_markdown_table([SUMMARY_HEADER, format_summary_row(plan)]))
            return
        print(_format_markdown_table(format_stage_table(plan)), end="\n\n")
        print(_format_markdown_table(format_storage_table(plan)), end="\n\n")
        print(_format_markdown_table([SUMMARY_HEADER, format_summary_row(plan)]), end="\n\n")
        if self.price_per_hour:
            machines = n_machines(groups) + 1
            cost = machines * plan.wall_hours * self.price_per_hour
            print(f"{machines} machines for {plan.wall_hours:,.2f} hours come to {cost:,.2f}\n")
        print(describe_rates(rates))


def format_stage_table(plan: Planned) -> list[tuple[str, ...]]:
    """Return a plan's stages as words, the names of the columns first."""
    rows = [("stage", "tasks", "at a time", "memory each", "hours", "bound by")]
    for stage in plan.stages:
        tasks = f"{stage.n_tasks:,}" if stage.n_tasks else ""
        here = f"{stage.max_concurrency:,}" if stage.n_tasks else "driver"
        memory = _format_bytes(stage.memory_per_task) if stage.n_tasks else ""
        rows.append(
            (
                stage.name,
                tasks,
                here,
                memory,
                _format_hours(stage.wall_seconds / SECONDS_PER_HOUR),
                stage.bottleneck,
            )
        )
    return rows


SUMMARY_HEADER = ("spectra", "workers", "the driver's memory", "hours", "most of them", "read", "kept")


def format_summary_row(plan: Planned) -> tuple[str, ...]:
    """Return a plan in one row of `SUMMARY_HEADER`."""
    words = " + ".join(
        f"{each.count} × {each.cpus} CPUs, {each.memory / GB:g} GB{f', {each.gpus} GPU' if each.gpus else ''}"
        for each in plan.machine_groups
    )
    longest = plan.longest_stage
    share = longest.wall_seconds / SECONDS_PER_HOUR / plan.wall_hours
    return (
        f"{plan.n_spectra:,}",
        words,
        _format_bytes(plan.driver_memory),
        _format_hours(plan.wall_hours),
        f"{longest.name} {share:.0%}: {longest.bottleneck}",
        _format_bytes(plan.archive_bytes),
        _format_bytes(sum(plan.storage_bytes.values())),
    )


def format_storage_table(plan: Planned) -> list[tuple[str, str]]:
    """Return what is read and kept as words, the names of the columns first."""
    kept = [(f"kept in {name}/", _format_bytes(size)) for name, size in plan.storage_bytes.items()]
    return [("storage", "size"), ("read of the archive, once", _format_bytes(plan.archive_bytes)), *kept]


def describe_rates(rates: ResourceRates) -> str:
    """Say where rates come from, and what they leave out."""
    taken = rates.benchmark
    return (
        f"Rates: CPU seconds of recipe {taken['recipe']}, {taken['spectra']:,} spectra of {taken['pixels']} "
        f"pixels, {taken['when']}, {taken['on']}. To take them again: {taken['again']}.\n"
        f"A GPU's: {rates.gpu['on']}.\n"
        "Hours are those of idle machines that read from a local disk: a network's speed is not counted, and "
        "CPUs are taken to share work evenly."
    )


def _format_bytes(value: float) -> str:
    unit, size = next((each for each in (("TB", 1e12), ("GB", 1e9)) if value >= each[1]), ("MB", 1e6))
    return f"{value / size:,.0f} {unit}" if value >= 10 * size else f"{value / size:.1f} {unit}"


def _format_hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _format_markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table, the first row its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
