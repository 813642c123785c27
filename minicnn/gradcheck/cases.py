"""One or more examples of every public operation, for `python -m minicnn.gradcheck`.

A row is a name, a function and the shapes of its inputs. The function gets `F`, minicnn's
nn.functional or PyTorch's, and the inputs as tensors of the same library: names and arguments are
the same in both, so one line says what to compute in either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..operations.dropout import dropout

Shape = tuple[int, ...]


class Case(NamedTuple):
    """An operation on inputs of given shapes; `positive` ones are drawn from [0.5, 2.5)."""

    name: str
    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    positive: bool = False
    analytic: bool = True  # made of analytic operations, so that a complex step can be taken
    in_torch: bool = True  # PyTorch computes the same


IMAGES, SMALL = (2, 3, 7, 8), (1, 2, 5, 5)


def _labels(F: Any, x: Any) -> Any:
    """Class 0 or 1 for every sample, in the library of x."""
    return (x.detach()[:, 0] > 0).long()


def _dropout(x: Any) -> Any:
    """Dropout with one mask for all calls, which PyTorch would draw otherwise."""
    return dropout(x, 0.4, (1, 2), 0)


CASES = (
    Case("add", lambda F, x, y: x + y, ((2, 3), (3,))),
    Case("subtract", lambda F, x, y: x - y, ((2, 1), (1, 3))),
    Case("multiply", lambda F, x, y: x * y, ((2, 3), (2, 1))),
    Case("multiply", lambda F, x: x * x, ((4,),)),
    Case("divide", lambda F, x, y: x / y, ((2, 3), (3,)), positive=True),
    Case("power", lambda F, x, y: x**y, ((2, 3), (2, 3)), positive=True),
    Case("power", lambda F, x: x**3, ((5,),)),
    Case("negative", lambda F, x: -x, ((3,),)),
    Case("absolute", lambda F, x: x.abs(), ((6,),), analytic=False),
    Case("exp", lambda F, x: x.exp(), ((5,),)),
    Case("log", lambda F, x: x.log(), ((5,),), positive=True),
    Case("log1p", lambda F, x: x.log1p(), ((5,),), positive=True),
    Case("expm1", lambda F, x: x.expm1(), ((5,),)),
    Case("sqrt", lambda F, x: x.sqrt(), ((5,),), positive=True),
    Case("sin", lambda F, x: x.sin(), ((5,),)),
    Case("cos", lambda F, x: x.cos(), ((5,),)),
    Case("sinh", lambda F, x: x.sinh(), ((5,),)),
    Case("cosh", lambda F, x: x.cosh(), ((5,),)),
    Case("tanh", lambda F, x: x.tanh(), ((5,),)),
    Case("clamp", lambda F, x: x.clamp(-0.5, 0.5), ((6,),), analytic=False),
    Case("maximum", lambda F, x, y: x.maximum(y), ((2, 3), (3,)), analytic=False),
    Case("minimum", lambda F, x, y: x.minimum(y), ((2, 3), (3,)), analytic=False),
    Case("leaky_relu", lambda F, x: F.leaky_relu(x, 0.2), ((6,),), analytic=False),
    Case("clone", lambda F, x: x.clone() * x, ((3,),)),
    Case("matmul", lambda F, x, y: x @ y, ((3, 4), (4, 2))),
    Case("matmul", lambda F, x, y: x @ y, ((2, 3, 4), (4,))),
    Case("sum", lambda F, x: x.sum(1, keepdim=True) * x, ((3, 4),)),
    Case("mean", lambda F, x: x.mean((0, 2)), ((2, 3, 4),)),
    Case("max", lambda F, x: x.max(), ((3, 4),), analytic=False),
    Case("max", lambda F, x: x.max(1)[0], ((3, 4),), analytic=False),
    Case("min", lambda F, x: x.min(), ((3, 4),), analytic=False),
    Case("sort", lambda F, x: x.sort(0)[0], ((4, 3),), analytic=False),
    Case("topk", lambda F, x: x.topk(2, 1)[0], ((3, 4),), analytic=False),
    Case("var", lambda F, x: x.var(1), ((3, 4),)),
    Case("norm", lambda F, x: x.norm(dim=1), ((3, 4),), analytic=False),
    Case("cumsum", lambda F, x: x.cumsum(1), ((3, 4),)),
    Case("expand", lambda F, x: x.expand(2, 3, 4) * 2, ((3, 1),)),
    Case("reshape", lambda F, x: x.reshape(4, 3), ((3, 4),)),
    Case("permute", lambda F, x: x.permute(2, 0, 1), ((2, 3, 4),)),
    Case("flatten", lambda F, x: x.flatten(1), ((2, 3, 4),)),
    Case("split", lambda F, x: x.split([1, 3], 1)[1], ((3, 4),)),
    Case("getitem", lambda F, x: x[[0, 2, 0], 1:], ((3, 4),)),
    Case("relu", lambda F, x: F.relu(x), ((4, 5),), analytic=False),
    Case("sigmoid", lambda F, x: F.sigmoid(x), ((4, 5),)),
    Case("linear", lambda F, x, w, b: F.linear(x, w, b), ((3, 4), (2, 4), (2,))),
    Case("conv2d", lambda F, x, w, b: F.conv2d(x, w, b), (IMAGES, (4, 3, 3, 2), (4,))),
    Case(
        "conv2d",
        lambda F, x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        (IMAGES, (4, 3, 3, 2), (4,)),
    ),
    Case("conv2d", lambda F, x, w: F.conv2d(x, w, padding="same"), (SMALL, (3, 2, 5, 3))),
    Case("conv2d 1×1", lambda F, x, w, b: F.conv2d(x, w, b), (IMAGES, (4, 3, 1, 1), (4,))),
    Case("max_pool2d", lambda F, x: F.max_pool2d(x, 3, 2, 1), (IMAGES,), analytic=False),
    Case(
        "max_pool2d", lambda F, x: F.max_pool2d(x, 2, 3, ceil_mode=True), (SMALL,), analytic=False
    ),
    Case("max_pool2d", lambda F, x: F.max_pool2d(x, 2, 1, dilation=2), (SMALL,), analytic=False),
    Case("avg_pool2d", lambda F, x: F.avg_pool2d(x, 3, 2, 1), (IMAGES,)),
    Case(
        "avg_pool2d",
        lambda F, x: F.avg_pool2d(x, 2, 2, 1, ceil_mode=True, count_include_pad=False),
        (SMALL,),
    ),
    Case("avg_pool2d", lambda F, x: F.avg_pool2d(x, 2, divisor_override=3), (SMALL,)),
    Case("adaptive_avg_pool2d", lambda F, x: F.adaptive_avg_pool2d(x, 1), (IMAGES,)),
    Case("adaptive_avg_pool2d", lambda F, x: F.adaptive_avg_pool2d(x, (3, 5)), (IMAGES,)),
    Case("softmax", lambda F, x: F.softmax(x, 1), ((3, 4),)),
    Case("log_softmax", lambda F, x: F.log_softmax(x, 1), ((3, 4),)),
    Case("nll_loss", lambda F, x: F.nll_loss(x, _labels(F, x)), ((3, 4),)),
    Case("cross_entropy", lambda F, x: F.cross_entropy(x, _labels(F, x)), ((3, 4),)),
    Case(
        "cross_entropy",
        lambda F, x: F.cross_entropy(x, _labels(F, x), label_smoothing=0.1, reduction="sum"),
        ((3, 4, 2),),
    ),
    Case("cross_entropy", lambda F, x, q: F.cross_entropy(x, q), ((3, 4), (3, 4))),
    Case("mse_loss", lambda F, x, y: F.mse_loss(x, y), ((3, 4), (3, 4))),
    Case("smooth_l1_loss", lambda F, x, y: F.smooth_l1_loss(x, y), ((9,), (9,)), analytic=False),
    Case(
        "bce",
        lambda F, x, y: F.binary_cross_entropy(F.sigmoid(x), F.sigmoid(y)),
        ((3, 4), (3, 4)),
        analytic=False,
    ),
    Case(
        "bce_with_logits",
        lambda F, x, y: F.binary_cross_entropy_with_logits(x, F.sigmoid(y)),
        ((3, 4), (3, 4)),
        analytic=False,
    ),
    Case("dropout", lambda F, x: _dropout(x), ((3, 4),), analytic=False, in_torch=False),
)
