"""What nin's commands share: how they read flags, how they fail, and their exit statuses."""

from __future__ import annotations

import argparse
import json
import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import minicnn
from minicnn import backends, console, spelling
from minicnn.backends import DEVICES as DEVICES
from minicnn.console import DONE as DONE
from minicnn.console import FAILED as FAILED
from minicnn.console import WRONG_USE as WRONG_USE
from minicnn.console import Failure as Failure
from minicnn.console import UsageError as UsageError
from minicnn.console import counted as counted
from minicnn.console import described as described
from minicnn.console import printable as printable
from minicnn.console import run as run
from minicnn.invocation import command

from . import config, own_network
from .presets import PRESETS, Preset
from .schema import ValueCheck

STUCK = 3


class _Help(argparse.RawDescriptionHelpFormatter):
    """Breaks no line within a default, nor within a name at its hyphen."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        text = re.sub(r"\(default: [^)]*\)", lambda m: m[0].replace(" ", "\0"), text)
        lines = textwrap.wrap(text, width, break_on_hyphens=False)
        return [line.replace("\0", " ") for line in lines]


class Parser(console.Parser):
    """A parser that says what is wrong in one line; `examples` stand at the end of --help.

    They are written as `nin train`, and shown as they work where the user stands.
    """

    def __init__(
        self, module: str, arguments: str, description: str, examples: str, epilog: str = ""
    ) -> None:
        text = textwrap.indent(textwrap.dedent(examples).strip(), "  ")
        text = "examples:\n" + re.sub(r"\bnin (\w+)", lambda m: command(f"nin.{m[1]}"), text)
        super().__init__(
            prog=command(module),
            usage=f"{command(module)} {arguments}",
            description=console.filled(description),
            epilog=f"{console.filled(epilog)}\n\n{text}".strip(),
            formatter_class=_Help,
        )

    def add_backend(self) -> None:
        self.add_argument(
            "--backend",
            choices=tuple(DEVICES),
            help="compute with numpy on the CPU or with cupy on a GPU (default: numpy)",
        )


def add_own_network(parser: argparse.ArgumentParser) -> None:
    """The flag that names the code of a network anew, of commands that use a trained one."""
    parser.add_argument(
        "--network",
        type=own_network_argument,
        metavar=own_network.HOW,
        help="where the code of your own network is now (default: where it was)",
    )


def add_trained(parser: argparse.ArgumentParser) -> None:
    """The argument RUN of a study of a trained network, and the flag that names its code."""
    text = "the directory of a run (default: the newest in runs/)"
    parser.add_argument("run", type=path, nargs="?", metavar="RUN", help=text)
    add_own_network(parser)


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The argument PRESET of a command that trains nothing of it."""
    text = f"{', '.join(PRESETS)}, a TOML file with settings, or {own_network.HOW} (default: quick)"
    parser.add_argument(
        "preset", metavar="PRESET", nargs="?", default="quick", type=recipe, help=text
    )


def recipe(text: str) -> Preset:
    """An argument type: the settings that PRESET stands for."""
    try:
        if text in PRESETS:
            return PRESETS[text]
        if own_network.names_one(text):
            return PRESETS["quick"].with_settings({"network": text}, Path())
        if text.endswith(".toml"):
            return config.read(path(text), PRESETS["quick"])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    raise argparse.ArgumentTypeError(
        f"must be one of {', '.join(PRESETS)}, a TOML file or {own_network.HOW},"
        f" {spelling.got(text, PRESETS)}"
    )


def own_network_argument(text: str) -> str:
    """An argument type: FILE.py:function."""
    if not own_network.names_one(text):
        raise argparse.ArgumentTypeError(f"must be {own_network.HOW}, got {text!r}")
    return text


def argument(check: ValueCheck) -> Callable[[str], Any]:
    """An argument type: the value that a text stands for, if that is one of these."""

    def parse(text: str) -> Any:
        try:
            return check.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def path(text: str) -> Path:
    """An argument type: the path of a file or a directory."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"must be a path, got {text!r}")
    return Path(text)


def directory(text: str) -> Path:
    """An argument type: the path of a directory, which may not be there yet."""
    found = path(text)
    if found.exists() and not found.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a file, where a directory is expected")
    return found


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting of a preset; one that is not given is not in the namespace."""
    group = parser.add_argument_group(
        "settings",
        console.filled(
            "The defaults are those of the preset quick; --preset NAME --print-config prints those"
            " of another."
        ),
    )
    for setting in fields(Preset):
        if "check" not in setting.metadata:
            continue  # it is more than a flag can say
        flag, check = "--" + setting.name.replace("_", "-"), setting.metadata["check"]
        default = shown_setting(getattr(PRESETS["quick"], setting.name), check.word or "none")
        text = f"{setting.metadata['help']} (default: {default})".replace("%", "%%")
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
        if setting.type == "bool":
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif check.choices:
            group.add_argument(flag, choices=check.choices, **common)
        elif setting.type == "str":
            metavar = "NAME|PATH" if setting.name == "dataset" else "WHICH"
            group.add_argument(flag, type=argument(check), metavar=metavar, **common)
        else:
            group.add_argument(flag, type=argument(check), metavar="N", **common)


def shown_setting(value: Any, word: str = "none") -> str:
    """A setting's value as a flag takes it, or the word for one that is empty."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(f"{v:g}" for v in value) or word
    return f"{value:g}" if isinstance(value, float) else str(value) or word


def device_of(backend: str) -> minicnn.device:
    """The device that a --backend works on. Raises UsageError if it can't be used here."""
    try:
        backends.load(DEVICES[backend])
    except backends.BackendError as error:
        raise UsageError(f"--backend {backend}: {error}") from None
    return minicnn.device(DEVICES[backend])


def as_json(value: Any, **options: Any) -> str:
    """JSON, which knows no NaN and no infinity: those are null in it."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
