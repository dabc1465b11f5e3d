import json

import pytest

from distspec.pipeline.rates import DEFAULT_RATES_PATH, PowerLaw, ResourceRates


def test_those_that_come_along_say_where_they_were_taken():
    taken = ResourceRates.read().benchmark
    assert taken.date
    assert taken.machine
    assert "python -m" in taken.command


def test_a_file_that_holds_none_is_refused(tmp_path):
    other = tmp_path / "other.json"
    for text in ("{}", "[", json.dumps({"benchmark": 1})):
        other.write_text(text)
        with pytest.raises(ValueError, match=r"other\.json holds no rates"):
            ResourceRates.read(other)
    other.write_text(DEFAULT_RATES_PATH.read_text())
    assert ResourceRates.read(other) == ResourceRates.read()


def test_what_a_unit_takes_grows_from_few_points_by_its_power():
    rate = PowerLaw(fixed_seconds=1.0, seconds=3.0, exponent=2.0)
    assert [rate.extrapolate(n, 1_000.0) for n in (0, 1_000, 2_000)] == [1.0, 3.0, 9.0]
