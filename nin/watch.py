"""A monitor's findings during a training: said, kept, and acted upon."""

from __future__ import annotations

from .fit import Callback, Training
from .health import Monitor
from .progress import Progress
from .run import Run


class Stuck(Exception):
    """The monitor found that there is no use in going on, and is asked not to."""


class Watch(Callback):
    """Says what the monitor finds, and keeps it with the run's events.

    Raises Stuck for a network that is stuck, dead or diverged, unless it is `patient`.
    """

    def __init__(self, run: Run, monitor: Monitor, progress: Progress, *, patient: bool) -> None:
        self.run, self.monitor, self.progress, self.patient = run, monitor, progress, patient

    def on_batch(self, training: Training) -> None:
        finding = self.monitor.after_step()
        if finding is None:
            return
        # Kept before it is said, whatever becomes of the terminal.
        event = {"kind": finding.kind, "step": training.steps, "text": finding.text}
        self.run.events.append(event)
        self.progress.say(finding.text)
        if finding.final and not self.patient:
            raise Stuck
