"""How often memory was changed in place: what PyTorch calls version counters.

A vector–Jacobian product holds arrays of the forward pass. Had somebody written into one of them
before it runs, its gradient would be wrong without a word. So whatever writes into an array that a
tape may hold says so here, and the tape compares before it goes back.

The counts belong to memory and not to tensors, since all views of an array share it; as in PyTorch,
a change to one view counts for all. Memory that nobody wrote into has no entry, and an entry goes
when its memory does. What is written through NumPy itself, as into `t.numpy()`, goes unnoticed.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any
from weakref import ref

from .backends import Array, host, is_array

Version = tuple[int, int]  # which memory, and how often it was changed

_changes: dict[int, tuple[ref[Any], int, str]] = {}  # by the id of the array that owns the memory


def owner(array: Array) -> Array:
    """The array whose memory this one is a view of, or itself."""
    while hasattr(array.base, "base"):
        array = array.base
    return array


def changed_in_place(array: Array, by: str) -> None:
    """Note that `by`, such as "SGD.step", has written into this array."""
    memory = owner(array)
    key = id(memory)
    if key in _changes:
        alive, count, _ = _changes[key]
        _changes[key] = alive, count + 1, by
    else:
        _changes[key] = ref(memory, lambda _: _changes.pop(key, None)), 1, by


def version(array: Array) -> Version:
    """The memory of an array, and how often it was changed."""
    return versions((array,))[0]


def versions(arrays: Iterable[Array]) -> tuple[Version, ...]:
    """The memory of each array, and how often it was changed."""
    found = []
    for array in arrays:
        while hasattr(array.base, "base"):  # what `owner` does, without a call for each
            array = array.base
        key = id(array)
        found.append((key, _changes[key][1] if key in _changes else 0))
    return tuple(found)


def changed_by(array: Array) -> str | None:
    """Who has changed an array's memory last; None if nobody has."""
    _, _, by = _changes.get(id(owner(array)), (None, 0, None))
    return by


def _references(array: Array) -> tuple[int, int]:
    """How often CPython counts an array, and the memory that it is a view of, as referred to."""
    memory = owner(array)
    itself = memory is array
    return sys.getrefcount(array) - itself, 0 if itself else sys.getrefcount(memory)


def alone(array: Array) -> bool:
    """Whether only the caller's variable refers to this array, and only this array to its memory.

    Then whoever has it may write over it. That can be seen where references are counted, in CPython
    alone: elsewhere the answer is no, and so it is for memory that is a file's or is not NumPy's
    own for another reason, and for what may not be written.
    """
    memory = owner(array)
    own = memory.base is None and getattr(array.flags, "writeable", True)
    direct = memory is array or array.base is memory  # and no view that somebody holds in between
    del memory
    return own and direct and _references(array) in _ALONE


def _alone() -> set[tuple[int, int]]:
    """What `_references` counts of an array, and of a view, that one variable of its caller holds.

    It is counted here as Python's versions differ in what a call adds.
    """
    if sys.implementation.name != "cpython":
        return set()

    def counted(array: Array) -> tuple[int, int]:
        return _references(array)

    whole = host.xp.empty(2)
    view = host.xp.empty(2)[:1]
    return {counted(whole), counted(view)}


_ALONE = _alone()


def change_since(versions: tuple[Version, ...], function: Callable[..., Any]) -> str | None:
    """Who has written, since these versions were noted, into memory that `function` holds.

    What it does not hold may change: adding needs neither of its inputs for the way back.
    """
    changed = {key for key, count in versions if key in _changes and _changes[key][1] != count}
    if not changed:
        return None
    held = {id(owner(array)) for array in arrays_held(function)}
    return next((_changes[key][2] for key in changed & held), None)


def arrays_held(function: Callable[..., Any]) -> Iterator[Array]:
    """The arrays that a function reaches: by its closure, its defaults, the globals that it names,
    and whatever these refer to."""
    seen: set[int] = set()
    stack: list[Any] = [function]
    while stack:
        thing = stack.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if is_array(thing):
            yield thing
        elif isinstance(thing, FunctionType):
            names = (name for name in thing.__code__.co_names if name in thing.__globals__)
            stack += [thing.__closure__, thing.__defaults__, thing.__kwdefaults__]
            stack += [thing.__globals__[name] for name in names]
        elif is_array(getattr(thing, "array", None)):
            stack.append(thing.array)  # of a tensor its values, not its history
        elif not isinstance(thing, (type, ModuleType)):
            stack += gc.get_referents(thing)
