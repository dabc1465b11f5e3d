"""Learning curves for TensorBoard, which is optional: ``pip install distspec[tensorboard]``."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distspec.io.files import write_bytes
from distspec.io.paths import join_url

COPY_INTERVAL_SECONDS = 10.0
"""Between two copies to where the model is."""


def require_tensorboard() -> None:
    """Refuse at once what would fail in a worker.

    Raises
    ------
    ValueError
        When the package is missing.
    """
    if find_spec("tensorboardX") is None:
        raise ValueError(
            "training.tensorboard needs a package that is not there: pip install 'distspec[tensorboard]'"
        )


class TensorBoardWriter:
    """Writes rows of the history as events, and keeps a copy of them below the model.

    Parameters
    ----------
    url : str
        The model's folder: the events go into ``tensorboard/`` there.
    """

    def __init__(self, url: str) -> None:
        self.event_file_url = join_url(url, "tensorboard", "events.out.tfevents.distspec")
        self.temp_dir = tempfile.TemporaryDirectory(prefix="ds-")
        # Its SummaryWriter writes in a thread, and its flush does not wait for that: write events ourselves.
        files: Any = importlib.import_module("tensorboardX.event_file_writer")
        self.event_pb2: Any = importlib.import_module("tensorboardX.proto.event_pb2")
        self.writer = files.EventsWriter(join_url(self.temp_dir.name, "events"))
        self.last_copy = 0.0
        self.n_epochs_written = 0

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the epochs of a history that are not written yet."""
        for row in history[self.n_epochs_written :]:
            event = self.event_pb2.Event(wall_time=time.time(), step=int(row["epoch"]))
            for name, value in row.items():
                side, _, term = name.rpartition("_")
                if name != "epoch":
                    event.summary.value.add(tag=f"{term}/{side}" if side else name, simple_value=value)
            self.writer.write_event(event)
        self.n_epochs_written = len(history)
        if time.monotonic() - self.last_copy > COPY_INTERVAL_SECONDS:
            self._upload()

    def close(self) -> None:
        """Write what is still held back."""
        self._upload()
        self.writer.close()
        self.temp_dir.cleanup()

    def _upload(self) -> None:
        self.writer.flush()
        (file,) = Path(self.temp_dir.name).iterdir()
        write_bytes(self.event_file_url, file.read_bytes())
        self.last_copy = time.monotonic()
