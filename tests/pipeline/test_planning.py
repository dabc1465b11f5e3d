from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.pipeline.machines import parse_machines
from distspec.pipeline.planning import plan_resources
from distspec.pipeline.rates import ResourceRates
from distspec.pipeline.recipes import RECIPES

RATE = ResourceRates.read()
SOME = parse_machines("2x8cpu32gb")
DJA = RECIPES["dja"]("planned")


def plan(n, machines=SOME, config=DJA, **given):
    return plan_resources(config, n, machines, RATE, **given)


def stage(found, name):
    return next(each for each in found.stages if each.name == name)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_spectra_never_need_less(a, b):
    few, many = (plan(n) for n in sorted((a, b)))
    assert few.wall_hours <= many.wall_hours
    assert few.driver_memory <= many.driver_memory
    assert few.archive_bytes <= many.archive_bytes
    assert all(few.storage_bytes[name] <= size for name, size in many.storage_bytes.items())
    assert all(s.memory_per_task <= stage(many, s.name).memory_per_task for s in few.stages)


def test_what_sees_a_sample_stops_growing_and_what_sees_all_does_not():
    at_sample, far = plan(DJA.clustering.sample_size), plan(50 * DJA.clustering.sample_size)
    assert stage(far, "cluster").n_tasks == stage(at_sample, "cluster").n_tasks
    a_spectrum = (
        RATE.seconds_per_spectrum["score"]
        + RATE.seconds_per_spectrum["features"]
        + RATE.seconds_per_spectrum["label"] * 2
    )
    more = stage(far, "cluster").worker_seconds - stage(at_sample, "cluster").worker_seconds
    assert more == pytest.approx(49 * DJA.clustering.sample_size * a_spectrum, rel=0.01)
    assert stage(far, "train").worker_seconds == pytest.approx(50 * stage(at_sample, "train").worker_seconds)
    assert stage(far, "embed").worker_seconds == pytest.approx(50 * stage(at_sample, "embed").worker_seconds)


def test_more_cpus_help_what_they_share_and_not_the_driver():
    few, many = plan(10**6), plan(10**6, parse_machines("20x8cpu32gb"))
    assert stage(many, "embed").wall_seconds < stage(few, "embed").wall_seconds
    assert stage(many, "catalog") == stage(few, "catalog")
    assert stage(many, "train").wall_seconds == stage(few, "train").wall_seconds, "one worker trains"


def test_a_gpu_trains_by_steps():
    gpu = parse_machines("2x8cpu32gb+1x8cpu32gb1gpu")
    small, large = (plan(10**6, gpu, batch_size=size) for size in (64, 4096))
    assert stage(small, "train").worker_resource == "GPUs"
    assert stage(large, "train").worker_seconds < stage(small, "train").worker_seconds / 30
    assert plan(10**6, gpu, n_epochs=15).wall_hours < plan(10**6, gpu, n_epochs=30).wall_hours


def test_machines_too_small_are_refused_with_the_number():
    with pytest.raises(
        ValueError, match=r"0\.\d\d GB of memory, and the largest of these machines gives 0\.35"
    ):
        plan(1_000, parse_machines("8x1cpu0.5gb"))
    # Where memory is short not every CPU has a task.
    assert stage(plan(10**6, parse_machines("1x8cpu6gb")), "embed").max_concurrency < 8


def test_what_was_never_timed_is_refused_by_name():
    with pytest.raises(ValueError, match="features: optics"):
        plan(
            1_000,
            config=replace(DJA, clustering=replace(DJA.clustering, algorithms=("optics",))),
        )
    with pytest.raises(ValueError, match="at least 1"):
        plan(0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_planned(recipe):
    found = plan(10_000, config=RECIPES[recipe]("planned"))
    assert found.wall_hours > 0
    assert "archive" in found.storage_bytes or recipe != "demo"
    assert sum(s.wall_seconds for s in found.stages) == pytest.approx(3600 * found.wall_hours)
