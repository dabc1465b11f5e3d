from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.pipeline.machines import parse_machines
from distspec.pipeline.planning import plan_resources
from distspec.pipeline.rates import ResourceRates
from distspec.pipeline.recipes import RECIPES

RATE = ResourceRates.read()
MACHINES = parse_machines("2x8cpu32gb")
DJA = RECIPES["dja"]("planned")


def plan(n, machines=MACHINES, config=DJA, **given):
    return plan_resources(config, n, machines, RATE, **given)


def stage(found, name):
    return next(item for item in found.stages if item.name == name)


@settings(max_examples=8)
@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_resources_increase_with_the_number_of_spectra(a, b):
    less, more_ = (plan(n) for n in sorted((a, b)))
    assert less.wall_hours <= more_.wall_hours
    assert less.driver_memory <= more_.driver_memory
    assert less.archive_bytes <= more_.archive_bytes
    assert all(less.storage_bytes[name] <= size for name, size in more_.storage_bytes.items())
    # Training is left out: it keeps its spectra in memory up to training.cache_mb, and streams more.
    others = [s for s in less.stages if s.name != "train"]
    assert all(s.memory_per_task <= stage(more_, s.name).memory_per_task for s in others)


def test_only_the_sweep_is_limited_by_the_sample_size():
    sample, large = plan(DJA.clustering.sample_size), plan(50 * DJA.clustering.sample_size)
    assert stage(large, "cluster").n_tasks == stage(sample, "cluster").n_tasks
    seconds_per_spectrum = (
        RATE.seconds_per_spectrum["score"]
        + RATE.seconds_per_spectrum["features"] * (1 + 3 / 9)
        + RATE.seconds_per_spectrum["label"] * 2
    )
    more = stage(large, "cluster").worker_seconds - stage(sample, "cluster").worker_seconds
    assert more == pytest.approx(49 * DJA.clustering.sample_size * seconds_per_spectrum, rel=0.01)
    assert stage(large, "train").worker_seconds == pytest.approx(50 * stage(sample, "train").worker_seconds)
    assert stage(large, "embed").worker_seconds == pytest.approx(50 * stage(sample, "embed").worker_seconds)


def test_every_model_is_trained_and_embeds_all_spectra():
    one = replace(DJA, clustering=replace(DJA.clustering, n_models=1))
    few, many = plan(10**5, config=one), plan(10**5)
    assert stage(many, "train").worker_seconds == 4 * stage(few, "train").worker_seconds
    assert stage(many, "embed").worker_seconds == 4 * stage(few, "embed").worker_seconds
    assert many.storage_bytes["models"] == 4 * few.storage_bytes["models"]
    startup = stage(few, "train").wall_seconds - stage(few, "train").worker_seconds
    twice = startup + 2 * stage(few, "train").worker_seconds
    assert stage(many, "train").wall_seconds == pytest.approx(twice), "three models are trained side by side"
    two_cpus = parse_machines("1x2cpu16gb")
    assert stage(plan(10**5, two_cpus), "train").max_concurrency == 1
    pretrained = replace(DJA, pretrained_model="m-1")
    assert stage(plan(10**5, config=pretrained), "embed").n_tasks == stage(few, "embed").n_tasks


def test_more_cpus_accelerate_only_distributed_stages():
    less, more_ = plan(10**6), plan(10**6, parse_machines("20x8cpu32gb"))
    assert stage(more_, "embed").wall_seconds < stage(less, "embed").wall_seconds
    assert stage(more_, "catalog") == stage(less, "catalog")
    assert stage(more_, "train").wall_seconds == stage(less, "train").wall_seconds, "one worker trains"


def test_gpu_training_time_depends_on_batch_size_and_epochs():
    gpu = parse_machines("2x8cpu32gb+1x8cpu32gb1gpu")
    small, large = (plan(10**6, gpu, batch_size=size) for size in (64, 4096))
    assert stage(small, "train").worker_resource == "GPUs"
    assert stage(large, "train").worker_seconds < stage(small, "train").worker_seconds / 30
    assert plan(10**6, gpu, n_epochs=15).wall_hours < plan(10**6, gpu, n_epochs=30).wall_hours


def test_too_small_machines_are_refused_with_the_required_memory():
    with pytest.raises(
        ValueError, match=r"0\.\d\d GB of memory, and the largest of these machines gives 0\.35"
    ):
        plan(1_000, parse_machines("8x1cpu0.5gb"))
    # Memory limits the number of concurrent tasks.
    assert stage(plan(10**6, parse_machines("1x8cpu6gb")), "embed").max_concurrency < 8


def test_algorithms_without_a_rate_and_zero_spectra_are_refused():
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
