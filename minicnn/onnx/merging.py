"""Of the traces of two calls one, of any batch.

In the trace of one call, whatever is a number may be so always, or for that input alone. So a
second call is made, with other values and, if the batch may vary, with another number of rows, and
a third with a single row. What is the same in all is taken for the model's own. What differs comes
from the batch's length where a shape says that length, or a constant is repeated so often; anything
else is refused, as a graph can't follow it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import ArgumentError
from ..operations import shape
from .trace import Constant, Lengths, Step, Trace, Value


class Merger:
    """What two traces have in common, of batches of `rows[0]` and of `rows[1]` rows.

    `batch` is what the batch's length is called.
    """

    def __init__(self, rows: tuple[int, int], batch: str) -> None:
        self.rows, self.batch = rows, batch

    def merged(self, one: Trace, other: Trace) -> Trace:
        """The trace of any batch. Raises ArgumentError, naming the operation, if there is none."""
        names = [[step.operation.__name__ for step in trace.steps] for trace in (one, other)]
        if names[0] != names[1]:
            at = next((i for i, (a, b) in enumerate(zip(*names, strict=False)) if a != b), None)
            where = "" if at is None else f", {names[0][at]} and {names[1][at]}"
            raise self._refused(f"the operations are not the same{where}")
        if len(one.outputs) != len(other.outputs):
            raise self._refused("the numbers of outputs are not the same")
        steps = [self._step(a, b) for a, b in zip(one.steps, other.steps, strict=True)]
        outputs = [
            self._leaf("the output", a, b) for a, b in zip(one.outputs, other.outputs, strict=True)
        ]
        shapes = zip(one.lengths, other.lengths, strict=True)
        return Trace(steps, outputs, [self.lengths("the output", *both) for both in shapes])

    def _step(self, one: Step, other: Step) -> Step:
        name = one.operation.__name__
        lengths = self.lengths(name, one.output.shape, other.output.shape)
        args = [one.args, other.args]
        if one.operation is shape.reshape:
            target = self._reshaped(one, other, lengths)
            args = [(step.args[0], target) for step in (one, other)]
        elif one.operation is shape.broadcast_to:
            target = self._repeated(one, other, lengths)
            args = [(step.args[0], target) for step in (one, other)]
        elif one.operation is shape.getitem:
            indices = _indices(one, other)
            args = [(s.args[0], i) for s, i in zip((one, other), indices, strict=True)]
        merged = self._same(name, *args)
        kwargs = self._same(name, one.kwargs, other.kwargs)
        return Step(one.operation, merged, kwargs, one.output)

    def _reshaped(self, one: Step, other: Step, lengths: Lengths) -> Lengths:
        """The lengths to reshape to: -1 for the one that differs, None if it is the input's own."""
        target = list(lengths)
        for axis in [i for i, n in enumerate(lengths) if not isinstance(n, int)]:
            own = all(
                s.args[0].shape[axis : axis + 1] == s.output.shape[axis : axis + 1]
                for s in (one, other)
            )
            target[axis] = None if own else -1
        if target.count(-1) > 1:
            both = f"{one.output.shape} and {other.output.shape}"
            raise self._refused(f"reshape makes shapes {both}")
        return tuple(target)

    def _repeated(self, one: Step, other: Step, lengths: Lengths) -> Lengths:
        """The lengths to repeat to: 1 for an axis that stays, None for the batch's."""
        target = list(lengths)
        for axis in [i for i, n in enumerate(lengths) if not isinstance(n, int)]:
            places = [axis - len(lengths) + len(s.args[0].shape) for s in (one, other)]
            if all(
                place >= 0 and s.args[0].shape[place] == s.output.shape[axis]
                for s, place in zip((one, other), places, strict=True)
            ):
                target[axis] = 1
            elif lengths[axis] == self.batch:
                target[axis] = None
            else:
                both = f"{one.output.shape} and {other.output.shape}"
                raise self._refused(f"broadcast_to makes shapes {both}")
        return tuple(target)

    def lengths(self, name: str, one: Lengths, other: Lengths) -> Lengths:
        """A shape that is right for both: the batch's name for its length, None for others that
        differ."""
        if len(one) != len(other):
            taken = 1 in self.rows and name in ("reshape", "the output")
            hint = "; squeeze() takes the axis of a batch of 1 away, squeeze(dim) one of others"
            raise self._refused(f"{name} has shapes {one} and {other}", hint if taken else "")
        pairs = zip(one, other, strict=True)
        return tuple(a if a == b else self.batch if (a, b) == self.rows else None for a, b in pairs)

    def _same(self, name: str, one: Any, other: Any) -> Any:
        if isinstance(one, slice) and isinstance(other, slice):
            parts = [(s.start, s.stop, s.step) for s in (one, other)]
            return slice(*self._same(name, *parts))
        if isinstance(one, dict):
            return {key: self._same(name, one[key], other.get(key)) for key in one}
        if isinstance(one, (tuple, list)) and type(one) is type(other) and len(one) == len(other):
            merged = [self._same(name, a, b) for a, b in zip(one, other, strict=True)]
            return type(one)(*merged) if hasattr(one, "_fields") else type(one)(merged)
        return self._leaf(name, one, other)

    def _leaf(self, name: str, one: Any, other: Any) -> Any:
        if isinstance(one, Constant) and isinstance(other, Constant):
            return self._constant(name, one, other)
        if type(one) is type(other) and (one == other or (one != one and other != other)):
            return one
        raise self._refused(f"{name} has {_shown(one)} and {_shown(other)} as an argument")

    def _constant(self, name: str, one: Constant, other: Constant) -> Constant:
        if one is other:
            return one
        a, b = one.array, other.array
        if one.name == other.name and a.dtype == b.dtype and a.ndim == b.ndim:
            if a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                return one
            pairs = zip(a.shape, b.shape, strict=True)
            varying = [i for i, lengths in enumerate(pairs) if lengths == self.rows]
            if self.rows[0] != self.rows[1] and len(varying) == 1:
                axis = varying[0]
                row = a.take([0], axis)
                if all(np.array_equal(np.broadcast_to(row, c.shape), c) for c in (a, b)):
                    return Constant(row, None, axis)
        raise self._refused(
            f"{name} has an argument of shape {a.shape} that no operation has made and that is not"
            " the same"
        )

    def _refused(self, what: str, hint: str = "") -> ArgumentError:
        few, many = self.rows
        if few == many:
            return ArgumentError(
                f"export: with two inputs of one shape {what}, so it depends on their values in a"
                " way that a graph can't follow"
            )
        return ArgumentError(
            f"export: with batches of {few} and {many} {what}, so it depends on the batch in a way"
            f" that a graph can't follow{hint}; dynamic_axes={{}} exports for the example's batch"
            " alone"
        )


def _indices(one: Step, other: Step) -> list[tuple[Any, ...]]:
    """The indices of both, without `...`; a slice that goes to the end of a batch has no end."""
    spelt = [_spelt_out(*step.args) for step in (one, other)]
    shapes = [step.args[0].shape for step in (one, other)]
    done: list[tuple[Any, ...]] = [(), ()]
    axis = 0
    for parts in zip(*spelt, strict=False):
        if all(isinstance(part, slice) for part in parts) and parts[0] != parts[1]:
            stops = [(part.stop, shape[axis]) for part, shape in zip(parts, shapes, strict=True)]
            if all(stop is not None and stop >= length for stop, length in stops):
                parts = tuple(slice(part.start, None, part.step) for part in parts)
        done = [(*index, part) for index, part in zip(done, parts, strict=True)]
        axis += _axes(parts[0])
    return done


def _spelt_out(x: Value | Constant, index: Any) -> tuple[Any, ...]:
    parts = index if isinstance(index, tuple) else (index,)
    for at, part in enumerate(parts):
        if part is ...:
            left = len(x.shape) - sum(map(_axes, parts))
            return (*parts[:at], *[slice(None)] * left, *parts[at + 1 :])
    return parts


def _axes(part: Any) -> int:
    """How many axes a part of an index is about."""
    if part is None or part is ... or isinstance(part, bool):
        return 0
    is_mask = isinstance(part, (Value, Constant)) and part.dtype.kind == "b"
    return len(part.shape) if is_mask else 1


def _shown(argument: Any) -> str:
    if isinstance(argument, (Value, Constant)):
        return f"a tensor of shape {argument.shape}"
    return repr(argument)
