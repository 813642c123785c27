"""Event files for TensorBoard, written with tensorboardX."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .fit import Callback, Row, Training
from .health import Monitor


class Board(Callback):
    """The figures of each epoch as scalars. Raises ImportError where tensorboardX is missing."""

    def __init__(self, directory: Path, monitor: Monitor) -> None:
        from tensorboardX import SummaryWriter

        # What an interrupted epoch had written is dropped when the run goes on.
        first = monitor.training.epoch
        self.monitor = monitor
        self.writer = SummaryWriter(str(directory / "tensorboard"), purge_step=first)

    def on_epoch(self, training: Training) -> None:
        self.add(self.monitor.rows()[-1])

    def on_end(self, training: Training) -> None:
        self.close()

    def add(self, row: Row) -> None:
        """One epoch's row; `dead:0.1` becomes dead/0.1, so that layers share a section."""
        with _going_on():
            for name, value in row.items():
                if name != "epoch":
                    self.writer.add_scalar(name.replace(":", "/"), value, int(row["epoch"]))
            self.writer.flush()

    def close(self) -> None:
        with _going_on():
            self.writer.close()


@contextmanager
def _going_on() -> Iterator[None]:
    """Where the files can't be written, say so, and let the training go on."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"the event files could not be written: {error}", stacklevel=4)
