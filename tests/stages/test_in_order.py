import time

import ray

from distspec.stages.pool import map_ordered


@ray.remote(num_cpus=0)
def slow_first(i: int) -> int:
    time.sleep(0.3 if i == 0 else 0.0)
    return i


def test_results_come_in_order_of_the_items(local_ray):
    assert list(map_ordered(slow_first.remote, range(12), lambda: 4)) == list(range(12))


def test_number_of_held_results_is_bounded(local_ray):
    submitted = 0

    def submit(i: int):
        nonlocal submitted
        submitted += 1
        return slow_first.remote(i)

    held = 0
    for taken, _ in enumerate(map_ordered(submit, range(20), lambda: 3)):
        held = max(held, submitted - taken)
    assert submitted == 20
    assert 3 < held <= 2 * 3, "others run while the first is waited for, within the bound"


def test_number_of_running_tasks_is_bounded(local_ray, tmp_path):
    @ray.remote(num_cpus=0)
    def count(i: int) -> int:
        (tmp_path / str(i)).touch()
        time.sleep(0.05)
        running = len(list(tmp_path.iterdir()))
        (tmp_path / str(i)).unlink()
        return running

    assert max(map_ordered(count.remote, range(12), lambda: 2)) <= 2


def test_no_items_give_no_results(local_ray):
    assert list(map_ordered(slow_first.remote, [], lambda: 3)) == []
