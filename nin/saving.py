"""What a run keeps of its training: checkpoints now and then, results after each epoch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

from minicnn import distributed

from . import state as training_state
from .checkpoint import State
from .command_line import Failure, described
from .fit import Callback, Training
from .health import FINDINGS, Monitor
from .progress import Progress
from .run import SETUP, Run
from .schema import Misfit, choice, exactly, items, record, text, whole

EVENT = record(
    {
        "kind": choice(*FINDINGS, "reinit", "epochs", "software"),
        "step": whole(0, 10**15),
        "text": text(10_000),
    }
)


class Saver(Callback):
    """Writes what a run keeps; where that can't be done, it warns, and the training goes on.

    A training on several ranks ends there, as it would go on on machines that nobody looks at.

    A checkpoint holds the state of the training, of its monitor, and of the run: the setup that
    decides its numbers, and what happened. `written` is whether the results are up to date.
    """

    def __init__(
        self, run: Run, training: Training, monitor: Monitor, progress: Progress, minutes: float
    ) -> None:
        self.run, self.training, self.monitor, self.progress = run, training, monitor, progress
        self.minutes = minutes
        self.saved = time.monotonic()
        self.written = True

    def on_batch(self, training: Training) -> None:
        if time.monotonic() - self.saved > 60 * self.minutes:
            self.save()

    def on_epoch(self, training: Training) -> None:
        self.save()
        self.write()

    def save(self) -> bool:
        """Write a checkpoint."""
        self.saved = time.monotonic()
        return self._try("no checkpoint could be written", self._save)

    def _save(self) -> None:
        if not self.training.whole:
            raise OSError("the step under way failed when it had changed some of the weights")
        self.run.checkpoints.write(self.state())

    def write(self) -> bool:
        """Bring the run's other files up to the last finished epoch."""
        self.written = self._try("the results could not be written", self._write)
        return self.written

    def _write(self) -> None:
        if self.training.batch:  # in mid-epoch, as after a resume: the model is an epoch's end
            self.run.describe_model()
        elif self.training.history:
            self.run.write_model(self.training.model)
        self.run.write_metrics(self.monitor.rows(), self.monitor.looks)

    def write_test(self, loss: float, accuracy: float) -> None:
        """Add what the test gave at the end to the run's files."""
        failure = "the test's result could not be written"
        self.written &= self._try(failure, lambda: self.run.write_test(loss, accuracy))

    def _try(self, failure: str, write: Callable[[], None]) -> bool:
        try:
            if not self.run.directory.is_dir():
                self.run.make_again()
                self.progress.close()
                warnings.warn(f"{self.run.directory} was gone, and is made again", stacklevel=3)
            write()
        except (OSError, MemoryError) as error:
            self.progress.close()
            why = described(error) if isinstance(error, OSError) else str(error)
            said = f"{failure}: {why or 'out of memory'}"
            if self.training.steps and distributed.get_world_size() > 1:
                raise Failure(f"{said}; make room, and --resume goes on from the last") from None
            warnings.warn(said, stacklevel=3)
            return False
        return True

    def state(self) -> State:
        """What a checkpoint holds."""
        arrays, rest = training_state.take(self.training)
        environment = {name: self.run.environment[name] for name in SETUP}
        monitor, events = self.monitor.state(), self.run.events
        return arrays, {**rest, "environment": environment, "monitor": monitor, "events": events}

    def load(self, state: State) -> None:
        """Go on from what `save` wrote.

        Raises Misfit, which names the field, if that is not of this run's settings, data and setup.
        """
        arrays, rest = state
        others: dict[str, Any] = {
            name: rest.get(name) for name in ("environment", "monitor", "events")
        }
        own = {name: value for name, value in rest.items() if name not in others}
        given = " as in environment.json"
        setup = {name: exactly(self.run.environment[name], given) for name in SETUP}
        record(setup)(others["environment"], "state.environment")
        training_state.check(self.training, (arrays, own))
        batches = len(self.training.train_loader)
        self.monitor.check_state(others["monitor"], (own["epoch"] - 1) * batches + own["batch"])
        seen = {look["step"] for look in others["monitor"]["looks"]}
        for i in range(1, own["epoch"]):
            if i * batches not in seen:
                raise Misfit(f"state.monitor.looks has none of the end of epoch {i}")
        items(EVENT)(others["events"], "state.events")
        training_state.restore(self.training, (arrays, own))
        self.monitor.load_state(others["monitor"])
        self.run.events[:] = others["events"]
