"""What to type where the user stands: this Python, and the commands that it runs.

After `make train` an environment holds the packages but is not activated, so that `python` is
another Python and `pip` another's. A message that tells what to run takes it from here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def quoted(text: object) -> str:
    """The text as one word of a command line, for this system's shell.

    Line ends and what else is not printed are escapes there, so that the word is one line.
    """
    word = str(text)
    if os.name == "nt":
        return subprocess.list2cmdline([word])
    return shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_escaped, word))}'"


def _escaped(c: str) -> str:
    """A character within $'…', as bash and zsh know it."""
    if c in "'\\":
        return f"\\{c}"
    return c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))


def on_path(name: str, program: Path) -> bool:
    """Whether this name, typed, runs this program, and not one of another environment.

    The programs of two environments may be links to one file, so their directories count, too.
    """
    found = shutil.which(name)
    with suppress(OSError):
        return (
            found is not None
            and os.path.samefile(found, program)
            and os.path.samefile(Path(found).parent, program.parent)
        )
    return False


def _path(program: Path) -> str:
    """The path to type for a program: from here if it lies below, such as `.venv/bin/python`."""
    with suppress(OSError, ValueError):  # there is no here any more; it lies elsewhere
        program = program.relative_to(Path.cwd())
    return quoted(program)


def python() -> str:
    """This Python, as it can be typed here: a name where PATH leads to it, or else its path."""
    if not sys.executable:  # embedded in another program
        return "python"
    program = Path(sys.executable)
    names = (name for name in ("python", "python3") if on_path(name, program))
    return next(names, None) or _path(program)


def command(module: str) -> str:
    """One of our modules as a command that works here: `python -m nin.train`.

    Where this process was started by the package's own command, it is that: `nin train`.
    """
    package, _, rest = module.partition(".")
    started = Path(sys.argv[0])
    if started.stem != package:
        return f"{python()} -m {module}"
    typed = package if on_path(package, started) else _path(started)
    return f"{typed} {rest}".rstrip()
