"""What somebody may have meant who has typed a name that is none."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

LONGEST = 100  # characters of a name that are looked at, as a comparison takes time


def hint(typed: object, names: Iterable[object], otherwise: str = "") -> str:
    """ "did you mean …?" with the nearest of the names, or else what to say if none is near.

    Capitals and the signs between letters do not count.
    """
    known = {_letters(str(name)): str(name) for name in names}
    close = difflib.get_close_matches(_letters(str(typed)[:LONGEST]), known, 1)
    return f"did you mean {known[close[0]]}?" if close else otherwise


def got(value: Any, names: Iterable[object]) -> str:
    """The end of a refusal, "… must be one of …, got 'quik'; did you mean quick?"."""
    near = hint(value, names) if isinstance(value, str) else ""
    return "; ".join(filter(None, [f"got {reprlib.repr(value)}", near]))


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
