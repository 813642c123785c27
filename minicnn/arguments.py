"""Numbers and sizes as arguments: what is accepted, and how the rest is refused.

A size is whatever `operator.index` takes, a number whatever `numbers.Real` is: Python's own,
NumPy's, a fraction. They become Python's at the door, because a NumPy float64 beside a float32
array makes a float64 array. An answer that is no number is refused here, by the argument's name.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

Pair = tuple[int, int]  # vertical, horizontal
Size2 = int | Sequence[int]  # what is taken for one: a number stands for two


class ArgumentError(RuntimeError, ValueError):
    """An argument that can't be used.

    PyTorch raises RuntimeError for some of these and ValueError for others; this is both, so that
    a program that catches either catches it.
    """


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument that is not even of the right kind; a program that catches TypeError has it."""


def type_name(value: Any) -> str:
    """A value's type as messages name it: with its module, as others have Tensors, too."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def number(value: Any) -> bool | int | float:
    """A number as Python's own: whole numbers stay whole, other real ones become floats.

    A tensor or an array without axes is the number in it.

    Raises TypeError for what is not a real number.
    """
    if isinstance(value, (bool, int, float)) and type(value) in (bool, int, float):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    # NumPy's bool is no numbers.Real; and a tensor or an array without axes is one number.
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind and kind in "biuf" and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise TypeError(f"expected a number, got {type_name(value)}")


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"


def real(
    name: str,
    argument: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> float:
    """A real number, in the bounds given, as a float. NaN is in no bounds.

    Raises ArgumentError, naming the argument, for one out of bounds, ArgumentTypeError for what is
    no number.
    """
    refused: type[ArgumentError] = ArgumentError
    try:
        x = float(number(value))
    except OverflowError:
        x = math.nan
    except TypeError:
        x, refused = math.nan, ArgumentTypeError
    fits = (
        x == x
        and (least is None or x >= least)
        and (above is None or x > above)
        and (most is None or x <= most)
    )
    if not fits:
        bounds = [
            f"{words} {bound:g}"
            for words, bound in (("at least", least), ("above", above), ("at most", most))
            if bound is not None
        ]
        what = " ".join(["a number", " and ".join(bounds)]).strip()
        raise refused(f"{name}: {argument} must be {what}, got {value!r}")
    return x


def whole(name: str, argument: str, value: Any, least: int | None = None) -> int:
    """A whole number of at least `least`, as an int: whatever `operator.index` takes but bools.

    A bool in the place of a size is an argument in the wrong place.

    Raises ArgumentError, naming the argument, for one below, ArgumentTypeError for what is no whole
    number.
    """
    if type(value) is int and (least is None or value >= least):
        return value
    try:
        n = None if _is_bool(value) else operator.index(value)
    except TypeError:
        n = None
    if n is None or (least is not None and n < least):
        bound = "" if least is None else f" ≥ {least}"
        refused = ArgumentTypeError if n is None else ArgumentError
        raise refused(f"{name}: {argument} must be an int{bound}, got {value!r}")
    return n


def pair(name: str, argument: str, value: Any, least: int) -> Pair:
    """A whole number, or two of them, as (vertical, horizontal), each at least `least`.

    Raises ArgumentError, naming the argument, for anything else.
    """
    whole_pair = type(value) is tuple and [*map(type, value)] == [int, int]
    if whole_pair and min(value) >= least:  # mostly a layer's, which has been here before
        return value
    both = value if isinstance(value, (tuple, list, Sequence)) else (value, value)
    try:
        first, second = [whole(name, argument, v, least) for v in both]
    except ValueError as error:
        refused = ArgumentTypeError if isinstance(error, TypeError) else ArgumentError
        message = f"{name}: {argument} must be an int ≥ {least} or two, got {value!r}"
        raise refused(message) from None
    return first, second


def size(name: str, argument: str, value: Any, least: int) -> Size2:
    """What `pair` takes, but one number stays one."""
    both = pair(name, argument, value, least)
    return both if isinstance(value, Sequence) else both[0]


def one_of(name: str, argument: str, value: Any, *choices: str) -> str:
    """One of these texts. Raises ArgumentError, naming the argument and them, for anything else."""
    if not isinstance(value, str) or value not in choices:
        shown = ", ".join(map(repr, choices))
        raise ArgumentError(f"{name}: {argument} must be one of {shown}, got {value!r}")
    return value


def nonzero(name: str, argument: str, value: Any) -> int:
    """A whole number other than 0. Raises what `whole` raises, and ArgumentError for 0."""
    n = whole(name, argument, value)
    if n == 0:
        raise ArgumentError(f"{name}: {argument} must not be 0")
    return n


def conv_padding(name: str, argument: str, value: Any, stride: Pair = (1, 1)) -> str | Pair:
    """A convolution's padding: "same" or "valid" as it is, and numbers as a pair.

    Raises ArgumentError for anything else, and for "same" beside a stride.
    """
    if not isinstance(value, str):
        return pair(name, argument, value, 0)
    if value not in ("same", "valid"):
        raise ArgumentError(f"{name}: {argument} must be 'same', 'valid' or numbers, got {value!r}")
    if value == "same" and stride != (1, 1):
        raise ArgumentError(f"{name}: {argument}='same' needs stride 1, got stride {stride}")
    return value


def checked(check: Callable[..., Any], **bounds: Any) -> dict[str, Any]:
    """The metadata of a module's field that holds what `check(layer, name, value, **bounds)` gives.

    None needs no check where it is the field's default.
    """
    return {"check": partial(check, **bounds)}
