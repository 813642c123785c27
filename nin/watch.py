"""What is done beside a training: progress, health, checkpoints, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .checkpoint import State
from .fit import Training
from .health import Monitor
from .progress import Progress
from .run import Run


class Interrupted(Exception):
    """Ctrl-C was pressed; the step that was under way is done."""


class Stuck(Exception):
    """The monitor found that there is no use in going on, and is asked not to."""


class Watch:
    """A training and its run: what `after_step` does after each step, and what is written when.

    `patient` is whether to go on with a network that is stuck or diverged.
    """

    def __init__(
        self,
        run: Run,
        training: Training,
        progress: Progress,
        *,
        patient: bool,
        checkpoint_minutes: float,
    ) -> None:
        self.run, self.training, self.progress = run, training, progress
        self.patient, self.checkpoint_minutes = patient, checkpoint_minutes
        self.monitor = Monitor(training)
        self.interrupted = False
        self.saved = time.monotonic()

    def after_step(self) -> None:
        self.progress.after_step(self.training)
        if finding := self.monitor.after_step():
            self.say(finding.text)
            event = {"kind": finding.kind, "step": self.training.steps, "text": finding.text}
            self.run.events.append(event)
            if finding.final and not self.patient:
                raise Stuck
        if self.interrupted:
            raise Interrupted
        if time.monotonic() - self.saved > 60 * self.checkpoint_minutes:
            self.save()

    def say(self, text: str) -> None:
        """A message on stderr, in lines that a terminal holds, and not through the bar."""
        self.progress.close()
        lines = textwrap.fill(text, 79, subsequent_indent="  ", break_on_hyphens=False)
        print(lines, file=sys.stderr, flush=True)

    def save(self) -> bool:
        """Write a checkpoint; where that can't be done, warn, and let the training go on."""
        arrays, rest = self.training.state()
        rest = {**rest, "monitor": self.monitor.state(), "events": self.run.events}
        self.saved = time.monotonic()
        try:
            self.run.checkpoints.write((arrays, rest))
        except OSError as error:
            self.progress.close()
            warnings.warn(f"no checkpoint could be written: {error}", stacklevel=2)
            return False
        return True

    def load(self, state: State) -> None:
        self.training.load_state(state)
        self.monitor.load_state(state[1]["monitor"])
        self.run.events[:] = state[1]["events"]

    def write(self) -> bool:
        """Bring the run's other files up to the last finished epoch; warn where they can't be."""
        try:
            self.run.write_metrics(self.training.history, self.monitor.looks)
            if self.training.history:
                self.run.write_model(self.training.model)
        except OSError as error:
            warnings.warn(f"the results could not be written: {error}", stacklevel=2)
            return False
        return True

    @contextmanager
    def noticing_interrupts(self) -> Iterator[None]:
        """Let Ctrl-C end the training after the step under way, and a second one at once."""

        def notice(*_: Any) -> None:
            signal.signal(signal.SIGINT, before)
            self.interrupted = True

        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before == signal.SIG_IGN:
            yield
            return
        signal.signal(signal.SIGINT, notice)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
