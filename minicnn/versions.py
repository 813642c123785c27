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
from typing import Any, NamedTuple
from weakref import ref

from .backends import Array, host, is_array

Version = tuple[int, int]  # which memory, and how often it was changed


class Changes:
    """How often some memory was changed in place, by whom last, and what copies there are of it.

    And whether it was given to the program as a NumPy array, in an order that is the engine's.
    """

    __slots__ = ("alive", "by", "copies", "count", "given")

    def __init__(self, memory: Array) -> None:
        key = id(memory)
        self.alive: ref[Any] = ref(memory, lambda _: _changes.pop(key, None))
        self.count, self.by, self.given = 0, "", False
        self.copies: set[int] = set()  # the keys of those in `known_copies`


_changes: dict[int, Changes] = {}  # by the id of the array that owns the memory


def owner(array: Array) -> Array:
    """The array whose memory this one is a view of, or itself."""
    while hasattr(array.base, "base"):
        array = array.base
    return array


def _changes_of(array: Array) -> Changes:
    memory = owner(array)
    return _changes.get(id(memory)) or _changes.setdefault(id(memory), Changes(memory))


def changed_in_place(array: Array, by: str) -> None:
    """Note that `by`, such as "SGD.step", writes into this array.

    Raises RuntimeError where it would be missed in other memory: see `Copied`.
    """
    if shown_elsewhere(array):
        raise RuntimeError(f"{by}: {IS_COPY}")
    changes = _changes_of(array)
    changes.count, changes.by = changes.count + 1, by


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
        found.append((key, _changes[key].count if key in _changes else 0))
    return tuple(found)


def counts() -> dict[Changes, int]:
    """How often each memory was changed so far, of that which was."""
    return {changes: changes.count for changes in list(_changes.values())}


def changed_since(before: dict[Changes, int]) -> list[Array]:
    """The memory that was changed since `counts` gave this, and that is still there."""
    changed = [c for c in list(_changes.values()) if c.count != before.get(c, 0)]
    return [memory for c in changed if (memory := c.alive()) is not None]


def changed_by(array: Array) -> str | None:
    """Who has changed an array's memory last; None if nobody has."""
    changes = _changes.get(id(owner(array)))
    return (changes and changes.by) or None


def give(array: Array) -> Array:
    """The array, once it is noted that its order is the engine's, and not the program's."""
    _changes_of(array).given = True
    return array


def was_given(array: Array) -> bool:
    """Whether an array's memory was given to the program."""
    return id(owner(array)) in _changes and _changes[id(owner(array))].given


class Copied(NamedTuple):
    """That memory is a copy of other memory, where PyTorch has one memory for both, or may have.

    What is written into either would be missed in the other. So a copy is only written into when
    nobody has the memory that it was made from, nor another copy of that; and where that was
    written into since, the copy isn't read any more.
    """

    alive: ref[Any]  # the copy
    source: Changes
    noted: int  # the source's count when the copy was made


known_copies: dict[int, Copied] = {}  # by the id of the array that owns the copy's memory


def note_copy(copy: Array, source: Array) -> None:
    """Note that an array is a copy of another, of `source` or of what that is a copy of."""
    known, memory = _known_copy(source), owner(copy)
    key, changes = id(memory), known.source if known else _changes_of(source)

    def forget(_: Any) -> None:
        known_copies.pop(key, None)
        changes.copies.discard(key)

    known_copies[key] = Copied(ref(memory, forget), changes, changes.count)
    changes.copies.add(key)


def _known_copy(array: Array) -> Copied | None:
    return known_copies.get(id(owner(array))) if known_copies else None


def shown_elsewhere(array: Array) -> bool:
    """Whether this is a copy, and anybody has other memory that was to be the same as its own."""
    known = _known_copy(array)
    return known is not None and (known.source.alive() is not None or len(known.source.copies) > 1)


def refuse_if_stale(array: Array, name: str) -> None:
    """Raise RuntimeError, before `name` reads a copy, if what it was made from has changed."""
    known = _known_copy(array)
    if known is not None and known.source.count != known.noted:
        raise RuntimeError(
            f"{name}: this tensor is a copy, {LAYOUT}, and what it was made from was changed"
            f" in place since, by {known.source.by}; make it again after that, or keep a"
            " .clone() of it from before"
        )


def was_copied(array: Array) -> bool:
    """Whether there is memory that is `Copied` from this."""
    changes = _changes.get(id(owner(array))) if known_copies else None
    return changes is not None and bool(changes.copies)


LAYOUT = "since images and filters are channels-last in memory"
IS_COPY = (
    f"this tensor is a copy, {LAYOUT}, so that the one it was made from would stay as it is; write"
    " into that, or into a .clone()"
)


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
    changed = {key for key, count in versions if key in _changes and _changes[key].count != count}
    if not changed:
        return None
    held = {id(owner(array)) for array in arrays_held(function)}
    return next((_changes[key].by for key in changed & held), None)


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
