"""Verb: plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distspec.config import RECIPES
from distspec.machines import n_nodes, parsed
from distspec.planning import RATES, SUMMARY, Rates, conditions, planned, storage_table, summary, table
from distspec.storage import StorageConfig


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
    """Of any machine an hour, in whatever money: says what it comes to, the driver's machine too; 0: nothing."""
    brief: bool = False
    """Print one row of a table: what is needed in all."""
    storage: StorageConfig = StorageConfig()

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
            print(f"{machines} machines, {plan.hours:,.2f} hours: {machines * plan.hours * self.price:,.2f}\n")
        print(conditions(rates))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table, the first row its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
