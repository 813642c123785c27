"""What is done beside a training: progress, health, checkpoints, and signals to stop."""

from __future__ import annotations

import signal
import sys
import textwrap
import threading
import time
import warnings
from types import FrameType
from typing import Any

from .checkpoint import State
from .command_line import printable
from .fit import Training
from .health import FINDINGS, Monitor
from .progress import Progress
from .run import SETUP, Run
from .schema import Misfit, choice, exactly, items, record, text, whole


class Interrupted(Exception):
    """A signal to stop came; the step that was under way is done."""


class Stuck(Exception):
    """The monitor found that there is no use in going on, and is asked not to."""


class Signals:
    """Signals that ask for an end, noticed while this is entered: the last one is `came`.

    They are Ctrl-C, what schedulers send before they kill, and what a terminal that is closed
    sends, unless whoever started the program had them ignored. A second one ends it at once.
    """

    NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # not every system has all

    def __init__(self) -> None:
        self.came: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in self.NAMES:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.came = number
        self.__exit__()


class Watch:
    """A training and its run: what `after_step` does after each step, and what is written when.

    `patient` is whether to go on with a network that is stuck or diverged.
    """

    def __init__(
        self,
        run: Run,
        training: Training,
        progress: Progress,
        signals: Signals,
        *,
        patient: bool,
        checkpoint_minutes: float,
    ) -> None:
        self.run, self.training, self.progress = run, training, progress
        self.signals = signals
        self.patient, self.checkpoint_minutes = patient, checkpoint_minutes
        self.monitor = Monitor(training)
        self.saved = time.monotonic()

    def after_step(self) -> None:
        finding = self.monitor.after_step()
        if finding:
            event = {"kind": finding.kind, "step": self.training.steps, "text": finding.text}
            self.run.events.append(event)
        # From here on the step is done, whatever becomes of the terminal.
        self.progress.after_step(self.training)
        if finding:
            self.say(finding.text)
            if finding.final and not self.patient:
                raise Stuck
        if self.signals.came is not None:
            raise Interrupted
        if time.monotonic() - self.saved > 60 * self.checkpoint_minutes:
            self.save()

    def say(self, text: str) -> None:
        """A message on stderr, in lines that a terminal holds, and not through the bar."""
        self.progress.close()
        lines = textwrap.wrap(text, 79, subsequent_indent="  ", break_on_hyphens=False)
        print(*map(printable, lines), sep="\n", file=sys.stderr, flush=True)

    def save(self) -> bool:
        """Write a checkpoint; where that can't be done, warn, and let the training go on."""
        self.saved = time.monotonic()
        try:
            if not self.training.whole:
                raise OSError("the step under way failed when it had changed some of the weights")
            self.run.checkpoints.write(self._state())
        except (OSError, MemoryError) as error:
            self.progress.close()
            what = str(error) or "out of memory"
            warnings.warn(f"no checkpoint could be written: {what}", stacklevel=2)
            return False
        return True

    def _state(self) -> State:
        arrays, rest = self.training.state()
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
        self.training.check_state(own)
        steps = (own["epoch"] - 1) * len(self.training.train_loader) + own["batch"]
        self.monitor.check_state(others["monitor"], steps)
        seen = {look["step"] for look in others["monitor"]["looks"]}
        for i in range(1, own["epoch"]):
            if i * len(self.training.train_loader) not in seen:
                raise Misfit(f"state.monitor.looks has none of the end of epoch {i}")
        event = {
            "kind": choice(*FINDINGS, "reinit"),
            "step": whole(0, 10**15),
            "text": text(10000),
        }
        items(record(event))(others["events"], "state.events")
        self.training.load_state((arrays, own))
        self.monitor.load_state(others["monitor"])
        self.run.events[:] = others["events"]

    def rows(self) -> list[dict[str, float]]:
        """The figures of all epochs, each with what was seen at its end."""
        looks = {each.step: each.row() for each in self.monitor.looks}
        batches = len(self.training.train_loader)
        return [{**row, **looks[i * batches]} for i, row in enumerate(self.training.history, 1)]

    def write(self) -> bool:
        """Bring the run's other files up to the last finished epoch; warn where they can't be."""
        try:
            if self.training.history:
                self.run.write_model(self.training.model)
            self.run.write_metrics(self.rows(), self.monitor.looks)
        except (OSError, MemoryError) as error:
            what = str(error) or "out of memory"
            warnings.warn(f"the results could not be written: {what}", stacklevel=2)
            return False
        return True
