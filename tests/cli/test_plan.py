"""What a plan prints, and that the guide's table is what it prints now."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from distspec.cli.main import main
from distspec.pipeline.rates import DEFAULT_RATES_PATH

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "clusters.md").read_text()
COMMANDS = re.findall(r"^ +(distspec plan .* --brief)$", GUIDE, re.MULTILINE)


@pytest.fixture
def distspec(monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr(sys, "argv", ["distspec", *args])
        main()
        return capsys.readouterr().out

    return call


def test_the_guide_plans_three_sizes():
    assert [re.search(r"--spectra (\d+)", each)[1] for each in COMMANDS] == ["10000", "1000000", "10000000"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guides_table_is_what_the_command_prints(distspec, command):
    head, line, row = distspec(*shlex.split(command)[1:]).splitlines()
    assert f"{head}\n{line}\n" in GUIDE
    assert f"{row}\n" in GUIDE


def test_a_plan_says_stages_storage_conditions_and_what_it_costs(distspec):
    said = distspec("plan", "--spectra", "5000", "--recipe", "demo", "--price", "2")
    stages = re.findall(r"^\| (\w+) \| [\d,]* \|", said, re.MULTILINE)
    assert stages == ["synthesize", "ingest", "train", "embed", "cluster", "catalog", "report"]
    assert {"stored in archive/", "stored in store/", "stored in catalog/"} <= set(
        re.findall(r"stored in \w+/", said)
    )
    assert "python -m tests.benchmarks.rates" in said
    hours, cost = re.search(r"3 machines for ([\d.]+) hours cost ([\d.]+)", said).groups()
    assert float(cost) == pytest.approx(6 * float(hours), abs=0.05)
    assert "hours cost" not in distspec("plan", "--spectra", "5000", "--recipe", "demo")


def test_own_rates_are_taken(distspec, tmp_path):
    own = tmp_path / "mine.json"
    own.write_text(DEFAULT_RATES_PATH.read_text().replace('"machine": "', '"machine": "my machine: ', 1))
    assert "my machine" in distspec("plan", "--spectra", "500", "--recipe", "demo", "--rates", str(own))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--machines", "8 CPUs"], "COUNTxCPUScpuGBgb"),
        (["--recipe", "djb"], "choose one of"),
        (["--epochs", "-1"], "negative"),
        (["--machines", "8x1cpu0.5gb"], "GB of memory"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(distspec, given, says):
    with pytest.raises(SystemExit, match=says):
        distspec("plan", "--spectra", "500", *given)
