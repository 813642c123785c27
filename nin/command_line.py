"""What nin's commands share: how they read flags, how they fail, and their exit statuses."""

from __future__ import annotations

import argparse
import sys
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, NoReturn

import minicnn
from minicnn import backends

from . import settings
from .presets import PRESETS, Preset

DONE, FAILED, WRONG_USE, STUCK, INTERRUPTED = 0, 1, 2, 3, 130

DEVICES = {"numpy": "cpu", "cupy": "cuda"}


class UsageError(Exception):
    """Something in the command that can't be done: one line, and exit status 2."""


class Failure(Exception):
    """Something that went wrong although the command was right: one line, and exit status 1."""


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line; `examples` stand at the end of --help."""

    def __init__(
        self, module: str, arguments: str, description: str, examples: str, epilog: str = ""
    ) -> None:
        text = "examples:\n" + textwrap.indent(textwrap.dedent(examples).strip(), "  ")
        super().__init__(
            prog=f"python -m {module}",
            usage=f"python -m {module} {arguments}",
            description=description,
            epilog=f"{epilog}\n\n{text}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message} (--help shows what is possible)\n")

    def add_backend(self) -> None:
        self.add_argument(
            "--backend",
            choices=tuple(DEVICES),
            help="array library (default: numpy)",
        )


def at_least(least: float, kind: Callable[[str], Any], above: bool = False) -> Callable[[str], Any]:
    """An argument type: a number of this kind that is at least (or above) `least`."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if (
            value is None
            or not (least < value if above else least <= value)
            or value == float("inf")
        ):
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"must be {what} {'above' if above else 'of at least'} {least}, got {text!r}"
            )
        return value

    return parse


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting of a preset; one that is not given is not in the namespace."""
    group = parser.add_argument_group("settings, each by default the preset's")
    for setting in fields(Preset):
        flag = "--" + setting.name.replace("_", "-")
        text = f"{setting.metadata['help']} ({_defaults(setting)})".replace("%", "%%")
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
        if setting.type == "bool":
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif setting.type == "str":
            group.add_argument(flag, choices=setting.metadata["choices"], **common)
        else:
            group.add_argument(flag, type=_parser_of(setting), metavar="N", **common)


def _parser_of(setting: Field[Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return settings.parse(setting, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def _defaults(setting: Field[Any]) -> str:
    """Each preset's value, or the one that all of them have."""
    values = {name: getattr(preset, setting.name) for name, preset in PRESETS.items()}
    shown = {name: _shown(value) for name, value in values.items()}
    if len(set(shown.values())) == 1:
        return f"default: {shown['quick']}"
    if all(name == value for name, value in shown.items()):
        return "default: the one of that name"
    return "default: " + ", ".join(f"{name} {value}" for name, value in shown.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(f"{v:g}" for v in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def device_of(backend: str) -> minicnn.device:
    """The device that a --backend works on. Raises UsageError if it can't be used here."""
    try:
        backends.load(DEVICES[backend])
    except backends.BackendError as error:
        raise UsageError(f"--backend {backend}: {error}") from None
    return minicnn.device(DEVICES[backend])


def run(prog: str, command: Callable[[], int]) -> int:
    """Call a command; return its exit status, with one line on stderr if it failed."""
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
    try:
        return command()
    except UsageError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return WRONG_USE
    except Failure as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
