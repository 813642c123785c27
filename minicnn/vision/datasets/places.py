"""Where the files of a data set are looked for, and where downloads go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def cache(name: str) -> Path | None:
    """The directory for downloads; None for a user who has no home directory."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.path.expanduser(base)  # unlike Path.expanduser, leaves what it does not know
    return None if home.startswith("~") else Path(home) / "minicnn" / name


def places(
    root: str | os.PathLike[str],
    name: str,
    inside: Sequence[str] = (),
    elsewhere: Sequence[Path] = (),
) -> list[Path]:
    """The directories to look in for a data set of this name, in this order.

    They are `root` and those `inside` it, the directory that the environment names, those of
    distributions, and the cache.
    """
    given, kept = Path(os.path.expanduser(root)), cache(name)
    named = os.environ.get(variable(name))
    return [
        given,
        *(given / each for each in inside),
        *([Path(os.path.expanduser(named))] if named else []),
        *elsewhere,
        *([kept] if kept else []),
    ]


def variable(name: str) -> str:
    """The environment variable that says where a data set is: FASHION_MNIST_DIR."""
    return f"{name.replace('-', '_').upper()}_DIR"


def found(places: Iterable[Path], *names: str) -> Path | None:
    """The first file, or whatever else, that stands under one of the names in one of the places."""
    paths = (place / name for place in places for name in names)
    return next((path for path in paths if os.path.lexists(path)), None)
