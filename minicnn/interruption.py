"""Ctrl-C while a command is still being imported: the same line and status as later (console.py).

Python would raise KeyboardInterrupt somewhere in a library's import, where it becomes a traceback,
another error, or nothing at all. This acts when it is imported, which the package does first.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

STATUS = 130
PACKAGES = ("minicnn", "nin")


def line() -> str:
    """What is said on stderr; a terminal has just shown ^C."""
    return "\nInterrupted." if sys.stderr is not None and sys.stderr.isatty() else "Interrupted."


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{line()}\n".encode())
    os._exit(STATUS)  # nothing is begun that would have to be cleaned up


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if not COMMAND:
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def raised() -> AbstractContextManager[None]:
    """Within it, Ctrl-C is a KeyboardInterrupt, as there may be something to clean up."""
    return _handled(signal.default_int_handler)


def at_once() -> AbstractContextManager[None]:
    """Within it, Ctrl-C ends a command at once, as while the package itself is imported."""
    return _handled(_end)


def _is_command() -> bool:
    """Whether this process is a command of ours: `python -m nin.train`, or `nin`.

    With -m, argv[0] is that until the module itself is run, and its packages are imported before.
    """
    if not sys.argv:
        return False
    if sys.argv[0] != "-m":
        return os.path.basename(sys.argv[0]) in ("nin", "nin.exe")
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    return module.partition(".")[0] in PACKAGES


# Whoever started the program may have had the signal ignored.
COMMAND = signal.getsignal(signal.SIGINT) is signal.default_int_handler and _is_command()
if COMMAND:
    signal.signal(signal.SIGINT, _end)
