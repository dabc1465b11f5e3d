"""TensorBoard events of the training history."""

import pytest

from distspec.core.errors import ConfigError
from distspec.training import tensorboard
from distspec.training.record import EpochMetrics
from distspec.training.tensorboard import TensorBoardWriter, require_tensorboard


def test_every_epoch_is_written_once(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs distspec[tensorboard]")
    from tensorboardX.proto.event_pb2 import Event

    writer, history = TensorBoardWriter(str(tmp_path)), []
    for epoch in range(3):
        history.append(EpochMetrics(epoch, {"recon": 2.0 - epoch}, {"recon": 3.0}, 1e-4, 1.0))
        writer.write_history(history)
    writer.close()
    content = (tmp_path / "tensorboard" / "events.out.tfevents.distspec").read_bytes()
    found = []
    while content:  # length, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        content = content[12 + length + 4 :]
    assert [(step, round(value, 3)) for step, tag, value in found if tag == "recon/train"] == [
        (0, 2.0),
        (1, 1.0),
        (2, 0.0),
    ]
    assert len(found) == 12
    assert {tag for _, tag, _ in found} == {"recon/train", "recon/val", "lr", "seconds"}


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'distspec\[tensorboard\]'"):
        require_tensorboard()
