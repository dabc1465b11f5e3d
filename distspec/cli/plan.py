"""The verb ``plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import tyro

from distspec.cli.base import PrintFormat, print_table
from distspec.core.errors import ConfigError
from distspec.pipeline.machines import GB, MachineGroup, n_machines, parse_machines
from distspec.pipeline.planning import SECONDS_PER_HOUR, ResourcePlan, StagePlan, plan_resources
from distspec.pipeline.rates import DEFAULT_RATES_PATH, ResourceRates
from distspec.pipeline.recipes import find_recipe

STAGE_HEADER = ("stage", "tasks", "concurrent", "memory of each", "hours", "bound by")
SUMMARY_HEADER = ("spectra", "workers", "driver memory", "hours", "longest stage", "read", "stored")
STORAGE_HEADER = ("storage", "size")


@dataclass(frozen=True)
class PlanCommand:
    """Estimate tasks, memory, hours and storage of a run."""

    n_spectra: Annotated[int, tyro.conf.arg(name="spectra")]
    """Number of spectra."""
    machines: str = "2x8cpu32gb"
    """Worker machines: COUNTxCPUScpuGBgb, or COUNTxCPUScpuGBgb1gpu with a GPU each; join groups with +."""
    recipe: str = "dja"
    """Recipe whose settings are used."""
    n_epochs: Annotated[int, tyro.conf.arg(name="epochs")] = 0
    """Number of epochs of the training; 0: the recipe's maximum."""
    batch_size: int = 0
    """Number of spectra per training step; 0: the recipe's."""
    rates_path: Annotated[Path, tyro.conf.arg(name="rates")] = DEFAULT_RATES_PATH
    """File of measured rates, as `python -m tests.benchmarks.rates` writes it."""
    price_per_hour: Annotated[float, tyro.conf.arg(name="price")] = 0.0
    """Price of a machine per hour in any currency, to estimate the cost; 0: no estimate."""
    brief: bool = False
    """Print the totals only, as one row of a table."""
    format: Annotated[PrintFormat, tyro.conf.arg(aliases=["-f"])] = "table"
    """table: tables in Markdown; csv, json: the stages with all digits, for scripts."""

    def __post_init__(self) -> None:
        if min(self.n_epochs, self.batch_size, self.price_per_hour) < 0:
            raise ConfigError("--epochs, --batch-size and --price cannot be negative")
        parse_machines(self.machines)
        find_recipe(self.recipe)

    def run(self) -> None:
        """Print the plan."""
        groups, rates = parse_machines(self.machines), ResourceRates.read(self.rates_path)
        config = find_recipe(self.recipe)("planned")
        plan = plan_resources(config, self.n_spectra, groups, rates, self.n_epochs, self.batch_size)
        if self.format != "table":
            print_table(pa.Table.from_pylist([asdict(stage) for stage in plan.stages]), self.format)
            return
        summary = _format_markdown([SUMMARY_HEADER, _format_summary(plan)])
        if self.brief:
            print(summary)
            return
        print(_format_markdown([STAGE_HEADER, *map(_format_stage, plan.stages)]), end="\n\n")
        print(_format_markdown([STORAGE_HEADER, *_format_storage(plan)]), end="\n\n")
        print(summary, end="\n\n")
        if self.price_per_hour:
            n = n_machines(groups) + 1
            cost = n * plan.wall_hours * self.price_per_hour
            print(f"{n} machines for {plan.wall_hours:,.2f} hours cost {cost:,.2f}\n")
        print(_describe_rates(rates))


def _format_stage(stage: StagePlan) -> tuple[str, ...]:
    hours = _format_hours(stage.wall_seconds / SECONDS_PER_HOUR)
    if not stage.n_tasks:
        return (stage.name, "", "driver", "", hours, stage.bottleneck)
    memory = _format_bytes(stage.memory_per_task)
    return (stage.name, f"{stage.n_tasks:,}", f"{stage.max_concurrency:,}", memory, hours, stage.bottleneck)


def _format_summary(plan: ResourcePlan) -> tuple[str, ...]:
    longest = plan.longest_stage
    fraction = longest.wall_seconds / SECONDS_PER_HOUR / plan.wall_hours
    return (
        f"{plan.n_spectra:,}",
        " + ".join(map(_format_machines, plan.machine_groups)),
        _format_bytes(plan.driver_memory),
        _format_hours(plan.wall_hours),
        f"{longest.name} {fraction:.0%}: {longest.bottleneck}",
        _format_bytes(plan.archive_bytes),
        _format_bytes(sum(plan.storage_bytes.values())),
    )


def _format_machines(group: MachineGroup) -> str:
    gpus = f", {group.gpus} GPU" if group.gpus else ""
    return f"{group.count} × {group.cpus} CPUs, {group.memory / GB:g} GB{gpus}"


def _format_storage(plan: ResourcePlan) -> list[tuple[str, str]]:
    stored = [(f"stored in {name}/", _format_bytes(size)) for name, size in plan.storage_bytes.items()]
    return [("read from the archive, once", _format_bytes(plan.archive_bytes)), *stored]


def _describe_rates(rates: ResourceRates) -> str:
    benchmark = rates.benchmark
    return (
        f"Rates: CPU seconds of recipe {benchmark.recipe} with {benchmark.n_spectra:,} spectra of "
        f"{benchmark.n_pixels} pixels, measured {benchmark.date} on {benchmark.machine}. "
        f"To measure them again: {benchmark.command}.\n"
        f"Rates of the GPU: {rates.gpu.machine}.\n"
        "The hours are those of idle machines that read from a local disk; the speed of a network is not "
        "included, and the work is assumed to be spread evenly over the CPUs."
    )


def _format_bytes(value: float) -> str:
    unit, size = next((scale for scale in (("TB", 1e12), ("GB", 1e9)) if value >= scale[1]), ("MB", 1e6))
    return f"{value / size:,.0f} {unit}" if value >= 10 * size else f"{value / size:.1f} {unit}"


def _format_hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _format_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table, the first row of which is its head."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])
