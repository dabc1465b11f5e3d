import json

import pytest

from distspec.pipeline.rates import DEFAULT_RATES_PATH, PowerLaw, ResourceRates


def test_default_rates_name_date_machine_and_command():
    benchmark = ResourceRates.read().benchmark
    assert benchmark.date
    assert benchmark.machine
    assert "python -m" in benchmark.command


def test_file_without_rates_is_refused(tmp_path):
    other = tmp_path / "other.json"
    for text in ("{}", "[", json.dumps({"benchmark": 1})):
        other.write_text(text)
        with pytest.raises(ValueError, match=r"other\.json holds no rates"):
            ResourceRates.read(other)
    other.write_text(DEFAULT_RATES_PATH.read_text())
    assert ResourceRates.read(other) == ResourceRates.read()


def test_durations_follow_a_power_law():
    rate = PowerLaw(fixed_seconds=1.0, seconds=3.0, exponent=2.0)
    assert [rate.extrapolate(n, 1_000.0) for n in (0, 1_000, 2_000)] == [1.0, 3.0, 9.0]
