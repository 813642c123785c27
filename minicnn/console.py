"""What a command owes a console: text that any can show, and an end in one line.

A console may know ASCII alone, be closed, or leave in the middle; and what is said may hold file
names that are no text, or that would move its cursor.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import itertools
import os
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, NoReturn

from . import interruption, invocation, spelling
from .arguments import ArgumentError

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, interruption.STATUS

LONGEST = 500  # characters of what is wrong with a command line, which may quote all of it
REPORT = "this is a fault of the program's own; please report it, with the lines above and what"

# What tables are made of, for a console whose characters these are not. A letter of a name is no
# other letter: it is written as an escape.
ASCII = {
    "█": "#",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": "*",
    "→": "->",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "‖": "||",
    "ᵀ": "T",
    "…": "...",
    "¼": "1/4",
    "’": "'",
}


class UsageError(Exception):
    """Something in the command that can't be done: one line, and exit status 2."""


class Failure(Exception):
    """Something that went wrong although the command was right: one line, and exit status 1."""


def described(error: OSError) -> str:
    """What the system has refused, and which file it is about."""
    if error.filename is None and error.errno == errno.ENOENT and not _here():
        return "the current directory has been deleted; go to another one (cd)"
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


def _here() -> bool:
    """Whether the current directory is there."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def counted(n: int, thing: str) -> str:
    """So many things, in words."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def columns() -> int:
    """The width of the terminal; 80 where there is none, unless COLUMNS says otherwise."""
    return max(30, shutil.get_terminal_size().columns)


def filled(text: str, first: str = "", later: str = "") -> str:
    """The text in lines that fit the terminal, and 80 columns.

    They begin with `first` and `later`. No name or path is broken, as somebody may copy it.
    """
    return textwrap.fill(
        text,
        min(78, columns() - 2),
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def listed(entries: Mapping[str, str]) -> list[str]:
    """Names and what is to be said of each, in two columns."""
    wide = max(map(len, entries))
    return [filled(text, f"  {name:{wide}}  ", " " * (wide + 4)) for name, text in entries.items()]


def printable(text: object) -> str:
    """The text in one line, with escapes for what a terminal would obey, hide or not know.

    Those are control characters, line ends among them, marks that turn the direction of writing,
    and the bytes of file names that are not UTF-8.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def _escape(c: str) -> str:
    if "\udc80" <= c <= "\udcff":  # how Python holds a byte of a name that is not UTF-8
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """For codecs: ASCII that stands for the characters that an encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or _escape(c) for c in lacking), error.end


codecs.register_error("minicnn.console", _replace)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and what may have been meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        args = sys.argv[1:] if args is None else list(args)
        flags = [flag for action in self._actions for flag in action.option_strings]
        for each in itertools.takewhile(lambda each: each != "--", args):
            flag = each.partition("=")[0]
            if flag.startswith("--") and flag not in flags:
                near = spelling.hint(flag, flags)
                self.error(f"there is no flag {flag}{'; ' if near else ''}{near}")
        return super().parse_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            words = f"must be one of {', '.join(map(str, action.choices))}"
            raise argparse.ArgumentError(action, f"{words}, {spelling.got(value, action.choices)}")

    def error(self, message: str) -> NoReturn:
        text = printable(message)
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}…"
        self.exit(WRONG_USE, f"{self.prog}: {text} (--help shows what is possible)\n")


def run(prog: str, command: Callable[[], int]) -> int:
    """Call a command; return its exit status, with one line on stderr if it failed.

    A traceback is for a fault of the program's own, and is followed by a line that asks to report
    it. A reader that has seen enough, such as head, ends the command without a word. SystemExit,
    which the parsing of flags raises, goes through.
    """
    with _streams():
        try:
            with interruption.raised():
                status = command()
            _flush_output()
            return status
        except UsageError as error:
            return _end(WRONG_USE, f"{prog}: {printable(error)}")
        except (Failure, ArgumentError) as error:
            return _end(FAILED, f"{prog}: {printable(error)}")
        except KeyboardInterrupt:
            return _end(INTERRUPTED, interruption.line())
        except BrokenPipeError:
            return FAILED
        except OSError as error:
            return _end(FAILED, f"{prog}: {printable(described(error))}")
        except MemoryError as error:  # a GPU's, too
            return _end(FAILED, f"{prog}: {printable(f'out of memory: {error}'.rstrip(': '))}")
        except RecursionError:
            return _end(FAILED, f"{prog}: what was read is nested too deeply")
        except Exception:
            lines = map(printable, traceback.format_exc().splitlines())
            last = f"{prog}: {REPORT} {invocation.command('minicnn')} prints"
            return _end(FAILED, "\n".join([*lines, last]))


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def _end(status: int, text: str) -> int:
    with suppress(OSError, ValueError):  # a stderr that is full or gone
        sys.stderr.write(f"{text}\n")  # at once, as another process may write to it, too
        sys.stderr.flush()
    return status


@contextmanager
def _streams() -> Iterator[None]:
    """stdout and stderr as streams that take any text, and warnings as lines."""
    with ExitStack() as after:
        after.callback(setattr, warnings, "formatwarning", warnings.formatwarning)
        warnings.formatwarning = lambda message, *_, **__: f"Warning: {printable(message)}\n"
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None or getattr(stream, "closed", False):  # as under pythonw
                nowhere = after.enter_context(open(os.devnull, "w", encoding="utf-8"))
                after.callback(setattr, sys, name, stream)
                setattr(sys, name, nowhere)
                continue
            if hasattr(stream, "reconfigure"):
                after.callback(_reset, stream, stream.errors)
                # Where it can't be flushed, the command's own writing will say so.
                with suppress(OSError, ValueError):
                    stream.reconfigure(errors="minicnn.console")
            after.callback(_settle, stream)
        yield


def _settle(stream: IO[Any]) -> None:
    """Flush a stream; what can't be flushed is dropped, so that Python's end tries no more."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _reset(stream: Any, errors: str) -> None:
    with suppress(OSError, ValueError):
        stream.reconfigure(errors=errors)
