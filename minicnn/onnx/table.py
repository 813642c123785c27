"""The table from minicnn's operations to nodes of ONNX (its operators: onnx.ai/onnx/operators).

A row is `@row(operation)` over a function that takes a graph and the operation's arguments, with an
`Operand` in the place of each tensor, adds nodes, and returns the operand that they compute. An
operation that has no row is in REFUSED, with the reason why it has none, or is one of `COPIES`, of
which no trace says anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..arguments import ArgumentError
from ..backends.windows import Pair, Window
from ..dtype import float32, float64, int32, int64
from ..operations import (
    arithmetic,
    convolution,
    dropout,
    losses,
    matrix,
    pooling,
    shape,
    softmax,
    winograd,
)
from .graph import LAST, Graph, Operand

Row = Callable[..., Operand]
ROWS: dict[Callable[..., Any], Row] = {}
REFUSED = {
    shape.put: "an assignment into a result, x[…] = y, is no node; make the result of parts, with"
    " cat() or stack()",
    dropout.dropout: "the model is in training mode, where dropout draws other numbers for each"
    " call; call model.eval() first",
}


def row(*operations: Callable[..., Any]) -> Callable[[Row], Row]:
    """Enter a function into the table, for these operations."""

    def enter(function: Row) -> Row:
        ROWS.update(dict.fromkeys(operations, function))
        return function

    return enter


# --- elementwise ---------------------------------------------------------------------------------

COMPUTED = (float32, float64, int32, int64)  # the types that ONNX Runtime has arithmetic for


def widened(g: Graph, x: Operand) -> Operand:
    """x in a type that there is arithmetic for: small whole numbers and bools as int32 or int64."""
    small = x.dtype.kind in "biu" and x.dtype not in COMPUTED
    return g.cast(x, int32 if x.dtype.itemsize < 4 else int64) if small else x


def pair(g: Graph, x: Any, y: Any) -> tuple[Operand, Operand]:
    """Two operands, one of which may be a number, which then is of the other's type."""
    if not isinstance(x, Operand):
        return g.constant(x, y.dtype), y
    return x, y if isinstance(y, Operand) else g.constant(y, x.dtype)


def binary(kind: str, g: Graph, x: Any, y: Any) -> Operand:
    x, y = pair(g, x, y)
    own = x.dtype
    if own.kind == "b":
        return g.node({"Add": "Or", "Max": "Or", "Mul": "And", "Min": "And"}[kind], x, y)
    return g.cast(g.node(kind, widened(g, x), widened(g, y)), own)


def unary(kind: str, g: Graph, x: Operand) -> Operand:
    return g.cast(g.node(kind, widened(g, x)), x.dtype)


for _operation, _kind in {
    arithmetic.add: "Add",
    arithmetic.subtract: "Sub",
    arithmetic.multiply: "Mul",
    arithmetic.divide: "Div",
    arithmetic.power: "Pow",
    arithmetic.integer_power: "Pow",
    arithmetic.maximum: "Max",
    arithmetic.minimum: "Min",
}.items():
    row(_operation)(partial(binary, _kind))

for _operation, _kind in {
    arithmetic.negative: "Neg",
    arithmetic.absolute: "Abs",
    arithmetic.exp: "Exp",
    arithmetic.log: "Log",
    arithmetic.sqrt: "Sqrt",
    arithmetic.sin: "Sin",
    arithmetic.cos: "Cos",
    arithmetic.sinh: "Sinh",
    arithmetic.cosh: "Cosh",
    arithmetic.tanh: "Tanh",
    arithmetic.sigmoid: "Sigmoid",
}.items():
    row(_operation)(partial(unary, _kind))


@row(arithmetic.log1p)
def log1p(g: Graph, x: Operand) -> Operand:
    return g.node("Log", binary("Add", g, x, 1))


@row(arithmetic.expm1)
def expm1(g: Graph, x: Operand) -> Operand:
    return binary("Sub", g, g.node("Exp", x), 1)


@row(arithmetic.relu)
def relu(g: Graph, x: Operand, in_place: bool = False) -> Operand:
    if x.dtype.kind == "f":
        return g.node("Relu", x)
    return binary("Max", g, x, 0)


@row(arithmetic.leaky_relu)
def leaky_relu(g: Graph, x: Operand, slope: float) -> Operand:
    return g.node("Where", above_zero(g, x), x, binary("Mul", g, x, slope))


def above_zero(g: Graph, x: Operand) -> Operand:
    return g.node("Greater", x, g.constant(0, x.dtype), dtype=np.dtype("bool"))


@row(arithmetic.stepwise)
def stepwise(g: Graph, x: Operand, name: str) -> Operand:
    if name == "round" and x.dtype.kind != "f":
        return x
    return unary({"round": "Round", "sign": "Sign"}[name], g, x)


@row(arithmetic.clamp)
def clamp(g: Graph, x: Operand, least: Any, most: Any) -> Operand:
    x = x if least is None else binary("Max", g, x, least)
    return x if most is None else binary("Min", g, x, most)


@row(arithmetic.where)
def where(g: Graph, x: Operand, y: Operand, condition: Operand) -> Operand:
    return g.node("Where", condition, x, y, dtype=x.dtype)


COMPARISONS = {
    operator.eq: "Equal",
    operator.lt: "Less",
    operator.le: "LessOrEqual",
    operator.gt: "Greater",
    operator.ge: "GreaterOrEqual",
}
LOGIC = {operator.and_: "And", operator.or_: "Or", operator.xor: "Xor"}


@row(arithmetic.without_derivative)
def without_derivative(g: Graph, function: Any, x: Operand, y: Any) -> Operand:
    if function is operator.ne:
        return g.node("Not", without_derivative(g, operator.eq, x, y))
    if function in COMPARISONS:
        x = widened(g, x)
        x, y = pair(g, x, y)
        return g.node(COMPARISONS[function], x, widened(g, y), dtype=np.dtype("bool"))
    x, y = pair(g, x, y)
    return g.node(LOGIC[function] if x.dtype.kind == "b" else f"Bitwise{LOGIC[function]}", x, y)


@row(arithmetic.invert)
def invert(g: Graph, x: Operand) -> Operand:
    return g.node("Not" if x.dtype.kind == "b" else "BitwiseNot", x)


@row(arithmetic.cast)
def cast(g: Graph, x: Operand, dtype: Any) -> Operand:
    return g.cast(x, dtype)


@row(arithmetic.assign)
def assign(g: Graph, x: Operand, y: Operand) -> Operand:
    """What is in x afterwards: y, in x's type and shape."""
    y = g.cast(y, x.dtype)
    return y if y.shape == x.shape else g.node("Expand", y, g.node("Shape", x, dtype=int64))


# --- convolution and pooling ---------------------------------------------------------------------


def windowed(window: Window) -> dict[str, Any]:
    """A window as attributes; ONNX has the pads of all axes in front, and then those behind."""
    kernel, stride, dilation, ((top, bottom), (left, right)) = window
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride}
    if dilation != (1, 1):
        attributes["dilations"] = dilation
    if any((top, bottom, left, right)):
        attributes["pads"] = (top, left, bottom, right)
    return attributes


@row(convolution.conv2d, winograd.conv2d)
def conv2d(g: Graph, x: Operand, w: Operand, b: Operand | None, window: Window) -> Operand:
    return g.node("Conv", x, w, b, **windowed(window))


@row(pooling.max_pool2d)
def max_pool2d(g: Graph, x: Operand, window: Window) -> Operand:
    x, window = padded(g, x, window, -np.inf)
    return g.node("MaxPool", x, **windowed(window))


@row(pooling.avg_pool2d)
def avg_pool2d(g: Graph, x: Operand, window: Window, scale: Operand) -> Operand:
    """The mean over each whole window, padding included, and how much more or less it is divided by
    if that is not what is meant. `scale` is a constant (H', W', 1)."""
    x, window = padded(g, x, window, 0)
    means = g.node("AveragePool", x, **windowed(window), count_include_pad=1)
    factor = g.initializers[scale.name] * prod(window.kernel)
    if np.allclose(factor, 1, rtol=1e-6, atol=0):
        return means
    return g.node("Mul", means, g.constant(factor[:, :, 0], x.dtype))


def padded(g: Graph, x: Operand, window: Window, value: float) -> tuple[Operand, Window]:
    """x and a window without padding, where it has more than a pooling of ONNX Runtime takes."""
    (top, bottom), (left, right) = window.pads
    if max(top, bottom) < window.kernel[0] and max(left, right) < window.kernel[1]:
        return x, window
    pads = g.whole(0, 0, top, left, 0, 0, bottom, right)
    return g.node("Pad", x, pads, g.constant(value, x.dtype)), window._replace(
        pads=((0, 0), (0, 0))
    )


@row(pooling.global_avg_pool2d)
def global_avg_pool2d(g: Graph, x: Operand) -> Operand:
    return g.node("GlobalAveragePool", x)


@row(pooling.adaptive_avg_pool2d)
def adaptive_avg_pool2d(g: Graph, x: Operand, rows: list[Pair], columns: list[Pair]) -> Operand:
    """A pooling, if all regions are windows of one size at equal distances; otherwise the means of
    each region, rows first."""
    (kh, sh), (kw, sw) = evenly(rows), evenly(columns)
    if kh and kw:
        return g.node("AveragePool", x, kernel_shape=(kh, kw), strides=(sh, sw))
    for axis, regions in (2, rows), (3, columns):
        parts = [
            g.node("ReduceMean", sliced(g, x, axis, *region), g.whole(axis)) for region in regions
        ]
        x = g.node("Concat", *parts, axis=axis) if parts else sliced(g, x, axis, 0, 0)
    return x


def evenly(regions: list[Pair]) -> Pair:
    """The length of all regions and the distance from one to the next; (0, 0) if they differ."""
    lengths = {end - start for start, end in regions}
    distances = {b[0] - a[0] for a, b in pairwise(regions)} or {1}
    if len(lengths) != 1 or len(distances) != 1 or not min(distances):
        return 0, 0
    return lengths.pop(), distances.pop()


def sliced(g: Graph, x: Operand, axis: int, start: int, end: int) -> Operand:
    return g.node("Slice", x, g.whole(start), g.whole(end), g.whole(axis))


# --- products ------------------------------------------------------------------------------------


@row(matrix.matmul)
def matmul(g: Graph, x: Operand, y: Operand) -> Operand:
    return g.node("MatMul", x, y)


@row(matrix.linear)
def linear(g: Graph, x: Operand, w: Operand, b: Operand | None = None) -> Operand:
    if x.ndim == 2:
        return g.node("Gemm", x, w, b, transB=1)
    y = g.node("MatMul", x, g.node("Transpose", w, perm=(1, 0)))
    return y if b is None else g.node("Add", y, b)


# --- shapes --------------------------------------------------------------------------------------


@row(shape.reshape)
def reshape(g: Graph, x: Operand, lengths: tuple[int | None, ...]) -> Operand:
    """`lengths` has -1 for what follows from the others, and None for a length that stays."""
    if 0 not in lengths:
        return g.node("Reshape", x, g.whole(*(0 if n is None else n for n in lengths)))
    if lengths.count(None) + lengths.count(-1) > 1:
        raise ArgumentError(f"a shape such as {x.shape}, without elements, beside a batch")
    target = g.whole(*(-1 if n is None else n for n in lengths))
    return g.node("Reshape", x, target, allowzero=1)


@row(shape.permute)
def permute(g: Graph, x: Operand, axes: tuple[int, ...]) -> Operand:
    return g.node("Transpose", x, perm=axes)


@row(shape.concatenate)
def concatenate(g: Graph, *xs: Operand, axis: int) -> Operand:
    return g.node("Concat", *xs, axis=axis)


def reduced(kind: str, g: Graph, x: Operand, axes: shape.Axes, keepdims: bool) -> Operand:
    if axes is None:
        return g.node(kind, x, keepdims=int(keepdims))
    over = axes if isinstance(axes, tuple) else (axes,)
    return g.node(kind, x, g.whole(*over), keepdims=int(keepdims))


row(shape.sum)(partial(reduced, "ReduceSum"))
row(shape.mean)(partial(reduced, "ReduceMean"))


row(shape.norm)(partial(reduced, "ReduceL2"))


def extreme(kind: str, g: Graph, x: Operand) -> Operand:
    return g.cast(reduced(kind, g, widened(g, x), None, False), x.dtype)


row(shape.maximum_of_all)(partial(extreme, "ReduceMax"))
row(shape.minimum_of_all)(partial(extreme, "ReduceMin"))


def truth(
    kind: str, g: Graph, x: Operand, axes: shape.Axes = None, keepdims: bool = False
) -> Operand:
    numbers = g.cast(g.cast(x, "bool"), int32)
    return g.cast(reduced(kind, g, numbers, axes, keepdims), "bool")


row(shape.all_of)(partial(truth, "ReduceMin"))
row(shape.any_of)(partial(truth, "ReduceMax"))


def place(kind: str, g: Graph, x: Operand, axis: int | None, keepdims: bool) -> Operand:
    ndim, x = x.ndim, widened(g, x)
    if axis is not None:
        return g.node(kind, x, axis=axis, keepdims=int(keepdims), dtype=int64)
    flat = g.node("Reshape", x, g.whole(-1))
    found = g.node(kind, flat, axis=0, keepdims=0, dtype=int64)
    return g.node("Reshape", found, g.whole(*[1] * ndim)) if keepdims else found


row(shape.argmax)(partial(place, "ArgMax"))
row(shape.argmin)(partial(place, "ArgMin"))


@row(shape.argsort)
def argsort(g: Graph, x: Operand, axis: int, descending: bool) -> Operand:
    length, largest = g.node("Shape", x, start=axis, end=axis + 1, dtype=int64), int(descending)
    x = widened(g, x)
    return g.node("TopK", x, length, axis=axis, largest=largest, dtype=int64, second=True)


@row(shape.cumsum)
def cumsum(g: Graph, x: Operand, axis: int) -> Operand:
    return g.node("CumSum", x, g.constant(axis, int64))


@row(shape.broadcast_to)
def broadcast_to(g: Graph, x: Operand, lengths: tuple[int | None, ...]) -> Operand:
    """`lengths` has 1 for an axis that stays, and None for the batch's length."""
    return g.node("Expand", x, g.shape(lengths))


@row(shape.take_along)
def take_along(g: Graph, x: Operand, index: Operand, axis: int) -> Operand:
    return g.node("GatherElements", x, index, axis=axis)


# --- indices -------------------------------------------------------------------------------------


@row(shape.getitem)
def getitem(g: Graph, x: Operand, index: tuple[Any, ...]) -> Operand:
    """Slices first, then arrays of places, then the axes that go, and those that are new.

    `index` has a part for each axis from the first on, but for None; no `...` (see trace.py).
    """
    parts = [part for given in index for part in places(g, given)]
    if any(isinstance(part, bool) for part in parts):
        raise ArgumentError("True or False as an index; give the new axis as None")
    along = [part for part in parts if part is not None]  # one for each axis
    arrays = [i for i, part in enumerate(along) if isinstance(part, Operand)]
    if arrays and len(along) < len(parts):
        raise ArgumentError("None beside a tensor in one index; use unsqueeze()")
    x = cut(g, x, along)
    if arrays:
        return gathered(g, x, along, arrays)
    gone = [i for i, part in enumerate(along) if isinstance(part, int)]
    if gone:
        x = g.node("Squeeze", x, g.whole(*gone))
    kept = [part for part in parts if not isinstance(part, int)]
    new = [i for i, part in enumerate(kept) if part is None]
    return g.node("Unsqueeze", x, g.whole(*new)) if new else x


def places(g: Graph, part: Any) -> list[Any]:
    """A part of an index; for a mask, arrays of the places at which it is True."""
    if not isinstance(part, Operand):
        return [part]
    if part.dtype.kind != "b":
        return [g.cast(part, int64)]
    if part.name not in g.initializers:
        raise ArgumentError("a mask that comes from the input, as the result's shape depends on it")
    return [g.constant(each, int64) for each in g.initializers[part.name].nonzero()]


def cut(g: Graph, x: Operand, along: list[Any]) -> Operand:
    """The slices of an index; a number is a slice of length 1."""
    starts, ends, axes, steps = [], [], [], []
    for axis, part in enumerate(along):
        if isinstance(part, int):
            part = slice(part, None if part == -1 else part + 1)
        if not isinstance(part, slice) or part == slice(None):
            continue
        step = part.step or 1
        first, last = (0, LAST) if step > 0 else (LAST, -LAST)
        starts.append(first if part.start is None else part.start)
        ends.append(last if part.stop is None else part.stop)
        axes.append(axis)
        steps.append(step)
    if not axes:
        return x
    return g.node("Slice", x, *(g.whole(*numbers) for numbers in (starts, ends, axes, steps)))


def gathered(g: Graph, x: Operand, along: list[Any], arrays: list[int]) -> Operand:
    """The elements at arrays of places, one for each of several axes, which are broadcast."""
    if len(arrays) == 1:
        return g.node("Gather", x, along[arrays[0]], axis=arrays[0])
    found = [along[axis] for axis in arrays]
    zeros = [g.node("Sub", each, each) for each in found]
    for zero in zeros:  # so that each has the shape of all
        found = [g.node("Add", each, zero) for each in found]
    pairs = g.node("Concat", *(g.node("Unsqueeze", each, g.whole(-1)) for each in found), axis=-1)
    others = [axis for axis in range(x.ndim) if axis not in arrays]
    if arrays != list(range(len(arrays))):
        x = g.node("Transpose", x, perm=(*arrays, *others))
    y = g.node("GatherND", x, pairs)
    if arrays != list(range(arrays[0], arrays[-1] + 1)):
        return y  # NumPy leaves them in front, if other axes are in between
    count, before = max(along[axis].ndim for axis in arrays), arrays[0]
    ndim = count + len(others)
    order = (*range(count, count + before), *range(count), *range(count + before, ndim))
    return y if order == tuple(range(ndim)) else g.node("Transpose", y, perm=order)


# --- probabilities and losses --------------------------------------------------------------------


@row(softmax.softmax)
def softmax_(g: Graph, x: Operand, axis: int) -> Operand:
    return g.node("Softmax", x, axis=axis)


@row(softmax.log_softmax)
def log_softmax(g: Graph, x: Operand, axis: int) -> Operand:
    return g.node("LogSoftmax", x, axis=axis)


@row(softmax.nll)
def nll(g: Graph, logp: Operand, q: Operand) -> Operand:
    zero = g.constant(0, q.dtype)
    counted = g.node("Where", g.node("Equal", q, zero), zero, g.node("Mul", q, logp))
    return g.node("Neg", g.node("ReduceSum", counted, g.whole(1), keepdims=0))


@row(softmax.cross_entropy)
def cross_entropy(g: Graph, x: Operand, q: Operand) -> Operand:
    return nll(g, g.node("LogSoftmax", x, axis=1), q)


@row(softmax.mean_loss)
def mean_loss(g: Graph, losses: Operand, total: Any) -> Operand:
    return binary("Div", g, g.node("ReduceSum", losses, keepdims=0), total)


@row(losses.huber)
def huber(g: Graph, d: Operand, beta: float) -> Operand:
    size = g.node("Abs", d)
    near = g.node("Less", size, g.constant(beta, d.dtype), dtype=np.dtype("bool"))
    square = binary("Div", g, g.node("Mul", d, d), 2 * beta or 1)
    return g.node("Where", near, square, binary("Sub", g, size, beta / 2), dtype=d.dtype)


@row(losses.binary_cross_entropy)
def binary_cross_entropy(g: Graph, p: Operand, q: Operand) -> Operand:
    yes, no = (binary("Max", g, g.node("Log", each), -100) for each in (p, binary("Sub", g, 1, p)))
    return _of_two(g, q, yes, no)


@row(losses.logistic_loss)
def logistic_loss(g: Graph, x: Operand, q: Operand, positive: Any = 1) -> Operand:
    yes, no = (g.node("Neg", g.node("Softplus", each)) for each in (g.node("Neg", x), x))
    return _of_two(g, q, binary("Mul", g, yes, positive), no)


def _of_two(g: Graph, q: Operand, yes: Operand, no: Operand) -> Operand:
    """-q·yes - (1-q)·no."""
    other = g.node("Mul", binary("Sub", g, 1, q), no)
    return g.node("Neg", g.node("Add", g.node("Mul", q, yes), other))
