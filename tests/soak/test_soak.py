"""Whatever breaks, the catalogue is the one that an undisturbed archive's pipeline publishes."""

import pytest

from tests.soak.soak import soak


def test_two_nights(capsys):
    """A driver is killed, then a machine is lost."""
    nights = soak(2, seed=0, kinds=("driver killed", "machine lost"))
    assert len(nights[0].attempts) > 1
    assert "2 editions, 0 failed" in capsys.readouterr().out


@pytest.mark.slow
def test_forty_nights():
    """Something at random befalls each; also `python -m tests.soak`."""
    nights = soak(40, seed=0)
    assert len(nights) == 40
