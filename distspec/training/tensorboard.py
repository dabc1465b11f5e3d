"""Training history for TensorBoard, an optional dependency: ``pip install 'distspec[tensorboard]'``."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distspec.core.errors import ConfigError
from distspec.io.files import write_bytes
from distspec.io.paths import join_url
from distspec.training.record import EpochMetrics

COPY_INTERVAL_SECONDS = 10.0
"""Time between two uploads to the model's folder."""


def require_tensorboard() -> None:
    """Raise an error if TensorBoard's package is missing, before any worker starts.

    Raises
    ------
    ConfigError
        If the package is missing.
    """
    if find_spec("tensorboardX") is None:
        raise ConfigError(
            "training.tensorboard needs a package that is not installed: pip install 'distspec[tensorboard]'"
        )


class TensorBoardWriter:
    """Writes the training history as TensorBoard events into the model's folder.

    Parameters
    ----------
    url : str
        Folder of the model; the events are written to ``tensorboard/`` below it.
    """

    def __init__(self, url: str) -> None:
        self._event_file_url = join_url(url, "tensorboard", "events.out.tfevents.distspec")
        self._temp_dir = tempfile.TemporaryDirectory(prefix="ds-")
        # tensorboardX's SummaryWriter writes in a thread for which its flush does not wait.
        event_file_writer: Any = importlib.import_module("tensorboardX.event_file_writer")
        self._event_pb2: Any = importlib.import_module("tensorboardX.proto.event_pb2")
        self._writer = event_file_writer.EventsWriter(join_url(self._temp_dir.name, "events"))
        self._last_upload = 0.0
        self._n_epochs_written = 0

    def write_history(self, history: Sequence[EpochMetrics]) -> None:
        """Write the epochs that have not been written yet.

        Parameters
        ----------
        history : sequence of EpochMetrics
            All completed epochs.
        """
        for metrics in history[self._n_epochs_written :]:
            event = self._event_pb2.Event(wall_time=time.time(), step=metrics.epoch)
            tags = {f"{term}/train": value for term, value in metrics.train.items()}
            tags |= {f"{term}/val": value for term, value in metrics.validation.items()}
            tags |= {"lr": metrics.learning_rate, "seconds": metrics.seconds}
            for tag, value in tags.items():
                event.summary.value.add(tag=tag, simple_value=value)
            self._writer.write_event(event)
        self._n_epochs_written = len(history)
        if time.monotonic() - self._last_upload > COPY_INTERVAL_SECONDS:
            self._upload()

    def close(self) -> None:
        """Upload the remaining events and delete the local copy."""
        self._upload()
        self._writer.close()
        self._temp_dir.cleanup()

    def _upload(self) -> None:
        """Copy the local event file to the model's folder."""
        self._writer.flush()
        (file,) = Path(self._temp_dir.name).iterdir()
        write_bytes(self._event_file_url, file.read_bytes())
        self._last_upload = time.monotonic()
