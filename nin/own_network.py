"""A network of the user's own: a function in a Python file, `FILE.py:function`.

The file's code is run when such a network is made, and only then: to read a run's settings, its
metrics or its weights is to run nothing. What goes wrong in it is said in one line, with its line.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minicnn import files, nn, spelling
from minicnn.arguments import ArgumentError

MOST = 2**20  # bytes of a file
NAME = re.compile(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)")
HOW = "FILE.py:function"


def names_one(text: str) -> bool:
    """Whether a text is FILE.py:function, with a path that can be written into a TOML file."""
    return NAME.fullmatch(text) is not None and text.isprintable() and len(text) <= 900


def absolute(text: str, directory: Path | None = None) -> str:
    """FILE.py:function with the whole path, from a directory; the present one unless given."""
    file, function = _split(text)
    return f"{(directory or Path()).absolute() / file}:{function}"


def _split(text: str) -> tuple[Path, str]:
    found = NAME.fullmatch(text)
    assert found is not None
    return Path(found["file"]), found["function"]


def file_of(text: str) -> Path:
    """The file of a FILE.py:function."""
    return _split(text)[0]


def function_of(text: str) -> str:
    """The function's name of a FILE.py:function."""
    return _split(text)[1]


def digest(text: str) -> str:
    """The SHA-256 of the file of a FILE.py:function, without running it. Raises ArgumentError."""
    return hashlib.sha256(_content(file_of(text))).hexdigest()


def found_again(text: str, run: Path, recorded: str, named: str | None) -> str:
    """The FILE.py:function of a run's network, as its settings say, or as the user names it now.

    Code is run for whoever has named it. A run that somebody else has made could name any, so of
    one that is not where a training has left it, or that came with the run, a name is asked for.
    Warns (UserWarning) of a file that is not what it was. Raises ArgumentError.
    """
    if named is None and run.resolve() in [*file_of(text).resolve().parents]:
        raise ArgumentError(f"its network is code, {text}; --network {HOW} names it to be run")
    network = absolute(named or text)
    try:
        now = digest(network)
    except ArgumentError as error:
        raise ArgumentError(f"{error}; --network {HOW} says where the network is now") from None
    if now != recorded:
        warnings.warn(f"{file_of(network)} is not what it was when {run} was begun", stacklevel=3)
    return network


def _content(file: Path) -> bytes:
    try:
        return files.read_bytes(file, MOST)
    except OSError as error:
        raise ArgumentError(f"{file} can't be read: {error.strerror}") from None


def build(text: str, **known: int) -> nn.Module:
    """Run the file, and call the function with those of the `known` that it has parameters for.

    Raises ArgumentError, with the file and the line, for whatever goes wrong there, and for a
    function that wants what is not known, or returns no network.
    """
    file, name = _split(text)
    content = _content(file)
    with blaming(text):
        module = _module(file, content)
    function = _function(module, file, name)
    arguments = _arguments(function, file, name, known)
    with blaming(text):
        model = function(**arguments)
    where = f"{_place(function, file)}: {name}()"
    if not isinstance(model, nn.Module):
        kind = type(model)
        got = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise ArgumentError(f"{where} must return a minicnn.nn.Module, got {got}")
    if not [*model.parameters()]:
        raise ArgumentError(f"{where} returns a network without parameters")
    return model


def _module(file: Path, content: bytes) -> Any:
    """The file as a module, which finds what stands beside it as a program of that name would."""
    # Dataclasses and pickle look a class's module up by its name, which no other must have.
    name = f"nin_network_{hashlib.sha256(bytes(file) + content).hexdigest()[:16]}"
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.__file__ = str(file)
        code = compile(content, str(file), "exec", dont_inherit=True)
        sys.modules[name] = module
        beside = str(file.parent)
        sys.path.append(beside)
        try:
            exec(code, vars(module))
        except BaseException:
            del sys.modules[name]
            raise
        finally:
            sys.path.remove(beside)
    return sys.modules[name]


def _function(module: Any, file: Path, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        there = [
            n
            for n, v in vars(module).items()
            if callable(v) and getattr(v, "__module__", "") == module.__name__
        ]
        near = spelling.hint(name, there, f"there are: {', '.join(there) or 'none'}")
        raise ArgumentError(f"{file} has no function {name!r}; {near}")
    return function


def _arguments(
    function: Callable[..., Any], file: Path, name: str, known: dict[str, int]
) -> dict[str, int]:
    """Those of the `known` that a function takes by name. Raises ArgumentError if it wants more."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # one that is not written in Python
        parameters = []
    kinds = inspect.Parameter
    for each in parameters:
        named = (
            each.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY) and each.name in known
        )
        optional = each.default is not kinds.empty
        if (
            not named
            and not optional
            and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        ):
            raise ArgumentError(
                f"{_place(function, file)}: {name}() wants {each.name!r}; by name it can be given"
                f" {', '.join(known)}, and all else needs a default"
            )
    if any(each.kind is kinds.VAR_KEYWORD for each in parameters):
        return known
    return {
        each.name: known[each.name]
        for each in parameters
        if each.name in known and each.kind is not kinds.POSITIONAL_ONLY
    }


def _place(function: Callable[..., Any], file: Path) -> str:
    """The file, and the line on which the function stands there."""
    for target in (function, getattr(function, "__init__", None)):
        code = getattr(target, "__code__", None)
        if code is not None and code.co_filename == str(file):
            return f"{file}:{code.co_firstlineno}"
    return str(file)


@contextmanager
def blaming(text: str) -> Iterator[None]:
    """Whatever goes wrong meanwhile is an ArgumentError, which names the line of the file."""
    file = file_of(text)
    try:
        yield
    except (Exception, SystemExit) as error:
        ours = isinstance(error, ArgumentError)
        if ours and line_of(error, text) is None:
            raise
        kind = "" if ours else f"{type(error).__name__}: "
        message = str(error).partition(" (")[0] if isinstance(error, SyntaxError) else str(error)
        said = f"{line_of(error, text) or file}: {kind}{message}"
        raise ArgumentError(said.removesuffix(": ")) from None


def said(error: Exception, text: str) -> str | None:
    """What went wrong in the file of a FILE.py:function, with its line; None if it was not there.

    The text may name another network, which has no file.
    """
    line = line_of(error, text) if names_one(text) else None
    return None if line is None else f"{line}: {type(error).__name__}: {error}"


def line_of(error: BaseException, text: str) -> str | None:
    """FILE:LINE of the innermost frame of an exception that is in the file; None without one."""
    file = str(file_of(text))
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    return f"{file}:{lines[-1]}" if lines else None
