"""Batches whose task failed are divided; a node that lacks room is the fault of no spectrum."""

import errno

import pytest
from ray.exceptions import OutOfDiskError, RayTaskError

from distspec.stages import load
from tests.helpers.fake_archive import fake


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "error",
    [
        RayTaskError("task", "...", OSError(errno.ENOSPC, "No space left on device")),
        RayTaskError("task", "...", OSError(errno.EDQUOT, "Disk quota exceeded")).as_instanceof_cause(),
        OutOfDiskError("full"),
    ],
)
def test_a_task_that_failed_for_lack_of_room_is_neither_divided_nor_quarantined(error, n):
    listing = fake(*(f"good{i}" for i in range(n))).list_spectra()
    with pytest.raises(type(error)) as caught:
        list(load._bisect_batch(None, None, listing, error))
    assert caught.value is error
