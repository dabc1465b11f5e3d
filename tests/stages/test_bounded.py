import time

import ray

from distspec.stages.bounded import in_order


@ray.remote(num_cpus=0)
def slow_first(i: int) -> int:
    time.sleep(0.3 if i == 0 else 0.0)
    return i


def test_results_come_in_order_whatever_the_order_they_end_in(local_ray):
    assert list(in_order(slow_first.remote, range(12), in_flight=4)) == list(range(12))


def test_no_more_than_allowed_are_held(local_ray):
    submitted = 0

    def submit(i: int):
        nonlocal submitted
        submitted += 1
        return slow_first.remote(i)

    for taken, _ in enumerate(in_order(submit, range(20), in_flight=3), start=1):
        assert submitted - taken <= 3 - 1
    assert submitted == 20


def test_nothing_to_do(local_ray):
    assert list(in_order(slow_first.remote, [], in_flight=3)) == []
