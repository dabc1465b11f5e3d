"""The verb plan, and the table of plans in the guide."""

import re
import shlex
from pathlib import Path

import pytest

from distspec.pipeline.rates import DEFAULT_RATES_PATH

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "clusters.md").read_text()
COMMANDS = re.findall(r"^ +(distspec plan .* --brief)$", GUIDE, re.MULTILINE)


def test_the_guide_has_plans_of_three_sizes():
    assert [re.search(r"--spectra (\d+)", each)[1] for each in COMMANDS] == ["10000", "1000000", "10000000"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guide_shows_what_the_command_prints(distspec, command):
    head, line, row = distspec(*shlex.split(command)[1:]).splitlines()
    assert f"{head}\n{line}\n" in GUIDE
    assert f"{row}\n" in GUIDE


def test_a_plan_has_stages_storage_rates_and_cost(distspec):
    output = distspec("plan", "--spectra", "5000", "--recipe", "demo", "--price", "2")
    stages = re.findall(r"^\| (\w+) \| [\d,]* \|", output, re.MULTILINE)
    assert stages == ["simulate", "ingest", "train", "redshifts", "embed", "cluster", "catalog", "report"]
    assert {"stored in archive/", "stored in store/", "stored in catalog/"} <= set(
        re.findall(r"stored in \w+/", output)
    )
    assert "python -m tests.benchmarks.rates" in output
    hours, cost = re.search(r"3 machines for ([\d.]+) hours cost ([\d.]+)", output).groups()
    assert float(cost) == pytest.approx(6 * float(hours), abs=0.05)
    assert "hours cost" not in distspec("plan", "--spectra", "5000", "--recipe", "demo")


def test_rates_can_be_read_from_a_file(distspec, tmp_path):
    own = tmp_path / "mine.json"
    own.write_text(DEFAULT_RATES_PATH.read_text().replace('"machine": "', '"machine": "my machine: ', 1))
    assert "my machine" in distspec("plan", "--spectra", "500", "--recipe", "demo", "--rates", str(own))


@pytest.mark.parametrize(
    ("args", "message", "status"),
    [
        (["--machines", "8 CPUs"], "COUNTxCPUScpuGBgb", 2),
        (["--recipe", "djb"], "choose one of", 2),
        (["--epochs", "-1"], "negative", 2),
        (["--machines", "8x1cpu0.5gb"], "GB of memory", 2),
    ],
)
def test_impossible_plans_are_refused(distspec, args, message, status):
    distspec.fails("plan", "--spectra", "500", *args, match=message, status=status)
