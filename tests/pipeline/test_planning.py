from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.pipeline.machines import parsed
from distspec.pipeline.planning import planned
from distspec.pipeline.rates import Rates
from distspec.pipeline.recipes import RECIPES

RATE = Rates.read()
SOME = parsed("2x8cpu32gb")
DJA = RECIPES["dja"]("planned")


def plan(n, machines=SOME, config=DJA, **given):
    return planned(config, n, machines, RATE, **given)


def stage(found, name):
    return next(each for each in found.stages if each.name == name)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_spectra_never_need_less(a, b):
    few, many = (plan(n) for n in sorted((a, b)))
    assert few.hours <= many.hours
    assert few.driver <= many.driver
    assert few.read <= many.read
    assert all(few.storage[name] <= size for name, size in many.storage.items())
    assert all(s.memory <= stage(many, s.name).memory for s in few.stages)


def test_what_sees_a_sample_stops_growing_and_what_sees_all_does_not():
    at_sample, far = plan(DJA.clustering.sample), plan(50 * DJA.clustering.sample)
    assert stage(far, "cluster").tasks == stage(at_sample, "cluster").tasks
    a_spectrum = RATE.unit["judge"] + RATE.unit["features"] + RATE.unit["label"] * 2
    more = stage(far, "cluster").workers - stage(at_sample, "cluster").workers
    assert more == pytest.approx(49 * DJA.clustering.sample * a_spectrum, rel=0.01)
    assert stage(far, "train").workers == pytest.approx(50 * stage(at_sample, "train").workers)
    assert stage(far, "embed").workers == pytest.approx(50 * stage(at_sample, "embed").workers)


def test_more_cpus_help_what_they_share_and_not_the_driver():
    few, many = plan(10**6), plan(10**6, parsed("20x8cpu32gb"))
    assert stage(many, "embed").seconds < stage(few, "embed").seconds
    assert stage(many, "catalog") == stage(few, "catalog")
    assert stage(many, "train").seconds == stage(few, "train").seconds, "one worker trains"


def test_a_gpu_trains_by_steps():
    gpu = parsed("2x8cpu32gb+1x8cpu32gb1gpu")
    small, large = (plan(10**6, gpu, batch=size) for size in (64, 4096))
    assert stage(small, "train").on == "GPUs"
    assert stage(large, "train").workers < stage(small, "train").workers / 30
    assert plan(10**6, gpu, epochs=15).hours < plan(10**6, gpu, epochs=30).hours


def test_machines_too_small_are_refused_with_the_number():
    with pytest.raises(
        ValueError, match=r"0\.\d\d GB of memory, and the largest of these machines gives 0\.35"
    ):
        plan(1_000, parsed("8x1cpu0.5gb"))
    # Where memory is short not every CPU has a task.
    assert stage(plan(10**6, parsed("1x8cpu6gb")), "embed").at_a_time < 8


def test_what_was_never_timed_is_refused_by_name():
    with pytest.raises(ValueError, match="features: optics"):
        plan(1_000, config=replace(DJA, clustering=replace(DJA.clustering, algorithms=("optics",))))
    with pytest.raises(ValueError, match="at least 1"):
        plan(0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_planned(recipe):
    found = plan(10_000, config=RECIPES[recipe]("planned"))
    assert found.hours > 0
    assert "archive" in found.storage or recipe != "demo"
    assert sum(s.seconds for s in found.stages) == pytest.approx(3600 * found.hours)
