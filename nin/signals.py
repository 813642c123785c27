"""Signals that ask a training to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from .fit import Callback, Training


class Interrupted(Exception):
    """A signal to stop came; the step that was under way is done."""


class Signals(Callback):
    """Signals that ask for an end, noticed while this is entered: the last one is `came`.

    They are Ctrl-C, what schedulers send before they kill, and what a terminal that is closed
    sends, unless whoever started the program had them ignored. A second one ends it at once.
    A training that is told of them raises Interrupted once its step is done.
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

    def on_batch(self, training: Training) -> None:
        if self.came is not None:
            raise Interrupted

    def on_epoch(self, training: Training) -> None:
        if self.came is not None and not training.done:
            raise Interrupted
