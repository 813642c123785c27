"""Operations with the names, arguments and results of `torch.nn.functional`.

These functions check and translate arguments, and their errors name what was wrong. The formulas
and derivatives are in `minicnn/operations/`. All raise TypeError for what is no Tensor, ShapeError
for shapes that don't fit, ArgumentError for an argument out of range, RuntimeError for tensors of
different types or devices, and NotImplementedError for what only PyTorch has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import context, random
from ..arguments import ArgumentError, Size2, conv_padding, nonzero, one_of, pair, real, whole
from ..autograd import broadcasts, common_backend
from ..axes import axis_of
from ..backends import Array, backend_of, constant
from ..backends.windows import NO_PADS, Pads, Pair, Window
from ..dtype import float32, int64, is_floating
from ..elementwise import converted, floating, tensor_argument
from ..operations import arithmetic, convolution, matrix, pooling, winograd
from ..operations import dropout as _dropout
from ..operations import losses as _losses
from ..operations import softmax as _softmax
from ..tensor import Tensor


class ShapeError(ArgumentError):
    """Shapes that do not fit together.

    On its way out through modules the error learns which layer it happened in.
    """

    layer: str | None = None

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.layer is None else f"in layer {self.layer}: {message}"


# --- arguments -----------------------------------------------------------------------------------


def _tensor(name: str, argument: str, x: Any, *ndims: int) -> None:
    if not isinstance(x, Tensor):
        tensor_argument(name, argument, x)  # which refuses it
    if ndims and x.array.ndim not in ndims:
        axes = " or ".join(map(str, ndims))
        raise ShapeError(f"{name}: {argument} must have {axes} axes, got shape {x.array.shape}")


def _same_type(name: str, first: Tensor, *others: Tensor | None) -> None:
    dtypes = {first.array.dtype}
    for other in others:
        if other is not None:
            dtypes.add(other.array.dtype)
    if len(dtypes) > 1 or not is_floating(first.array.dtype):
        got = " and ".join(sorted(map(str, dtypes)))
        raise RuntimeError(
            f"{name}: tensors must share one floating-point type, got {got}; .float() converts"
        )


def _parameters(name: str, x: Tensor, weight: Tensor, bias: Any) -> None:
    if bias is not None:
        _tensor(name, "bias", bias, 1)
        if bias.array.shape != weight.array.shape[:1]:
            raise ShapeError(
                f"{name}: bias {bias.array.shape} does not fit weight {weight.array.shape}"
            )
    _same_type(name, x, weight, bias)


def _images(name: str, input: Tensor) -> Tensor:
    """input (N, C, H, W) as it is, and (C, H, W) as a batch of one."""
    _tensor(name, "input", input, 3, 4)
    return input if input.array.ndim == 4 else input.unsqueeze(0)


def _like(y: Tensor, x: Tensor) -> Tensor:
    """y without the batch axis if x came without one."""
    return y if x.array.ndim == 4 else y.squeeze(0)


# --- layers --------------------------------------------------------------------------------------


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size2 = 1,
    padding: str | Size2 = 0,
    dilation: Size2 = 1,
    groups: int = 1,
) -> Tensor:
    """Slide `weight` (O, C, kh, kw) over `input` (N, C, H, W) or (C, H, W): (N, O, H', W').

    y[n, o, i, j] = bias[o] + Σ_cuv weight[o, c, u, v] · x[n, c, i·stride + u·dilation, j·…], with
    x padded by `padding` zeros on each side (an int, two, "valid" for none, "same" to keep H×W).
    `groups` other than 1 raise NotImplementedError.
    """
    name = "conv2d"
    x = _images(name, input)
    _tensor(name, "weight", weight, 4)
    if groups != 1:
        raise NotImplementedError(f"conv2d: groups must be 1, got {groups}")
    stride, dilation = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
    padding = conv_padding(name, "padding", padding, stride)
    (_, channels, *size), (_, takes, kh, kw) = x.array.shape, weight.array.shape
    if channels != takes:
        raise ShapeError(
            f"conv2d: input {input.array.shape} has {channels} channels, weight"
            f" {weight.array.shape} takes {takes}"
        )
    _parameters(name, x, weight, bias)
    window = Window((kh, kw), stride, dilation, _pads(padding, (kh, kw), dilation))
    pixels = window.output_size((size[0], size[1]))
    if min(pixels) < 1:
        reach = [d * (k - 1) + 1 for k, d in zip((kh, kw), dilation, strict=True)]
        padded = [n + sum(pads) for n, pads in zip(size, window.pads, strict=True)]
        raise ShapeError(
            f"conv2d: kernel {reach[0]}×{reach[1]} of weight {weight.array.shape} is larger than"
            f" the padded input {padded[0]}×{padded[1]} of {input.array.shape}"
        )
    algorithm = winograd if _minimal_filtering(x, weight, window, pixels) else convolution
    return _like(algorithm.conv2d(x, weight, bias, window), input)


def _pads(padding: str | Pair, kernel: Pair, dilation: Pair) -> Pads:
    if padding == "valid":
        return NO_PADS
    if isinstance(padding, str):  # "same": H×W stays
        (kh, kw), (dh, dw) = kernel, dilation
        rows, columns = dh * (kh - 1), dw * (kw - 1)
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    p, q = padding
    return (p, p), (q, q)


def _minimal_filtering(x: Tensor, weight: Tensor, window: Window, pixels: Pair) -> bool:
    """Whether `Context.conv_algorithm` and the shapes are for Winograd's convolution.

    It can do square 3×3 and 5×5 filters at stride 1 in float32. "auto" takes it where the backend
    says that it takes less time.
    """
    algorithm = context.current().conv_algorithm
    if algorithm == "im2col" or x.array.dtype != float32:
        return False
    kernel, stride, dilation, _ = window
    if kernel not in ((3, 3), (5, 5)) or not stride == dilation == (1, 1):
        return False
    if algorithm == "winograd":
        return True
    return backend_of(x.array).filtering_gains(x.array.shape, weight.array.shape, pixels)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input · weightᵀ + bias, for input (…, K), weight (M, K), bias (M,): (…, M)."""
    _tensor("linear", "input", input)
    _tensor("linear", "weight", weight, 2)
    if not input.ndim or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input {input.array.shape} and weight {weight.array.shape} do not fit:"
            f" expected {weight.shape[1]} features"
        )
    _parameters("linear", input, weight, bias)
    return matrix.linear(input, weight, bias)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0). With `inplace`, input itself becomes the result, which saves its memory.

    Which memory is written over, and what is refused, is said at `Tensor.relu_`.
    """
    _tensor("relu", "input", input)
    return input.relu_() if inplace else input.relu()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    _tensor("sigmoid", "input", input)
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    _tensor("tanh", "input", input)
    return input.tanh()


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is above 0, negative_slope·x elsewhere. `inplace` is not supported."""
    _tensor("leaky_relu", "input", input)
    if inplace:
        raise NotImplementedError("leaky_relu: inplace is not supported")
    slope = real("leaky_relu", "negative_slope", negative_slope)
    return arithmetic.leaky_relu(floating(input), slope)


def max_pool2d(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    dilation: Size2 = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window of input (N, C, H, W) or (C, H, W): (N, C, H', W').

    `stride` is kernel_size unless given. Padding counts as -inf. With `ceil_mode`, a last window
    that hangs over the edge counts too. Ties send their gradient to the first maximum.
    """
    x = _images("max_pool2d", input)
    _same_type("max_pool2d", x)
    if return_indices:
        raise NotImplementedError("max_pool2d: return_indices is not supported")
    window = _pool_window("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return _like(pooling.max_pool2d(x, window), input)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of input (N, C, H, W) or (C, H, W): (N, C, H', W').

    A window's sum is divided by its number of elements: with padding or, unless
    `count_include_pad`, without; or by `divisor_override`. An overhang is never counted.
    """
    x = _images("avg_pool2d", input)
    _same_type("avg_pool2d", x)
    if divisor_override is not None:
        divisor_override = nonzero("avg_pool2d", "divisor_override", divisor_override)
    window = _pool_window("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    counted = (count_include_pad, divisor_override)
    scale = constant(backend_of(x.array), _pool_scale, x.shape[2:], window, *counted, x.dtype)
    return _like(pooling.avg_pool2d(x, window, scale), input)


def _pool_window(
    name: str,
    x: Tensor,
    kernel_size: Size2,
    stride: Size2 | None,
    padding: Size2,
    dilation: Size2,
    ceil_mode: bool,
) -> Window:
    """The window of a pooling; where the last one hangs over, the padding there is larger."""
    kernel = pair(name, "kernel_size", kernel_size, 1)
    stride = kernel if stride is None else pair(name, "stride", stride, 1)
    padding, dilation = pair(name, "padding", padding, 0), pair(name, "dilation", dilation, 1)
    pads = []
    for length, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        if 2 * p > k:
            raise ArgumentError(
                f"{name}: padding {padding} is more than half of kernel_size {kernel}"
            )
        reach = d * (k - 1) + 1
        room = length + 2 * p - reach
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= length + p:
            count -= 1  # a window must start inside the image or its first padding
        if count < 1 or length < 1:
            raise ShapeError(
                f"{name}: kernel_size {kernel} (dilation {dilation}) is larger than the padded"
                f" input {x.array.shape}"
            )
        pads.append((p, max(0, (count - 1) * s + reach - length - p)))
    return Window(kernel, stride, dilation, (pads[0], pads[1]))


def _pool_scale(
    size: Pair, window: Window, count_include_pad: bool, divisor: int | None, dtype: Any
) -> Array:
    """What a window's sum is multiplied by, for each window: (H', W', 1)."""
    sizes = window.output_size(size)
    if divisor is not None:
        return np.full((*sizes, 1), 1 / divisor, dtype)
    counts = []
    kernel, stride, _, pads = window
    for length, k, s, (p, _), n in zip(size, kernel, stride, pads, sizes, strict=True):
        first, last = (-p, length + p) if count_include_pad else (0, length)
        starts = [i * s - p for i in range(n)]
        counts.append([min(start + k, last) - max(start, first) for start in starts])
    rows, columns = (np.array(c, dtype) for c in counts)
    return 1 / (rows[:, None, None] * columns[:, None])


def _regions(length: int, count: int) -> list[Pair]:
    """Where `count` regions of an axis begin and end: ⌊i·length/count⌋, ⌈(i+1)·length/count⌉."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over an H'×W' grid of regions of input (N, C, H, W) or (C, H, W): (N, C, H', W').

    `output_size` is H' = W', or two sizes, either of which may be None to keep that axis. With 1 it
    is global average pooling (Lin, Chen and Yan 2013, section 3.2).
    """
    name = "adaptive_avg_pool2d"
    x = _images(name, input)
    _same_type(name, x)
    both = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(both) == 2:
        both = tuple(n if s is None else s for s, n in zip(both, x.shape[2:], strict=True))
    rows, columns = pair(name, "output_size", both, 0)
    if 0 in x.shape[1:]:
        raise ShapeError(f"{name}: input {input.array.shape} has no elements to average")
    if (rows, columns) == (1, 1):
        return _like(pooling.global_avg_pool2d(x), input)
    regions = _regions(x.shape[2], rows), _regions(x.shape[3], columns)
    return _like(pooling.adaptive_avg_pool2d(x, *regions), input)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zero each element with probability p and scale the others by 1/(1-p).

    The mask comes from the default generator (`manual_seed`). Srivastava et al. 2014.
    """
    _tensor("dropout", "input", input)
    p = real("dropout", "p", p, least=0, most=1)
    _same_type("dropout", input)
    if not training or p == 0:
        return input
    first = random.first_row(len(input)) if input.ndim else 0
    return _dropout.dropout(input, p, random.current().next_key(), first)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`dropout` of whole channels of images (N, C, H, W).

    Tompson et al. 2014, "Efficient object localization using convolutional networks", section 3.2.
    """
    _tensor("dropout2d", "input", input, 4)
    ones = Tensor(backend_of(input.array).xp.ones_like(input.array[:, :, :1, :1]))
    channels = dropout(ones, p, training)
    return input if channels is ones else input * channels


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim, both included, as one."""
    _tensor("flatten", "input", input)
    return input.flatten(start_dim, end_dim)


# --- probabilities and losses --------------------------------------------------------------------


def _class_axis(name: str, input: Tensor, dim: int | None) -> int:
    _tensor(name, "input", input)
    _same_type(name, input)
    if dim is None:
        raise TypeError(f"{name}: dim must be given; it is 1 for logits (N, C)")
    return axis_of(name, input, dim)


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along `dim`."""
    axis = _class_axis("softmax", input, dim)
    if not input.ndim or not input.numel():
        return (input - input).exp()
    return _softmax.softmax(input, axis)


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """log(softmax(x)), computed so that large logits do no harm."""
    axis = _class_axis("log_softmax", input, dim)
    if not input.ndim or not input.numel():
        return input - input
    return _softmax.log_softmax(input, axis)


def _refuse_deprecated(name: str, deprecated: dict[str, Any]) -> None:
    for argument, value in deprecated.items():
        if value is not None:
            raise NotImplementedError(
                f"{name}: {argument} is not supported, got {value!r}; reduction='mean', 'sum' or"
                " 'none' says the same"
            )


def _loss_arguments(name: str, input: Any, target: Any, **deprecated: Any) -> tuple[Tensor, Tensor]:
    """Logits (N, C, …) and their targets, also of one sample (C,).

    Deprecated arguments have their places so that those after them have PyTorch's.
    """
    _refuse_deprecated(name, deprecated)
    _tensor(name, "input", input)
    _tensor(name, "target", target)
    common_backend(name, input, target)
    _same_type(name, input)
    if not input.ndim:
        raise ShapeError(f"{name}: input must have a class axis, got shape {input.array.shape}")
    return (input.unsqueeze(0), target.unsqueeze(0)) if input.ndim == 1 else (input, target)


def _reduce(name: str, input: Tensor, losses: Tensor, reduction: str, total: Any) -> Tensor:
    """A batch's losses, or their sum, or that over `total`, the weight they stand for."""
    if one_of(name, "reduction", reduction, "mean", "sum", "none") == "none":
        return losses if input.ndim > 1 else losses.squeeze(0)
    return losses.sum() if reduction == "sum" else _softmax.mean_loss(losses, total)


def _class_weights(name: str, weight: Tensor | None, x: Tensor) -> Tensor | None:
    """The weights of the classes in such a shape that they go with x (N, C, …)."""
    if weight is None:
        return None
    _tensor(name, "weight", weight)
    common_backend(name, x, weight)
    if weight.shape != x.shape[1:2]:
        raise ShapeError(
            f"{name}: weight {weight.array.shape} must have one element for {x.shape[1]} classes"
        )
    _same_type(name, x, weight)
    return weight.reshape(1, -1, *[1] * (x.ndim - 2))


def _weighted(q: Array, weights: Tensor | None) -> Array:
    """q (N, C, …) times the weights of the classes; where q is 0, 0, whatever the weight."""
    if weights is None:
        return q
    backend = backend_of(q)
    with backend.quiet():
        product = q * weights.array
    return backend.xp.where(q == 0, 0, product).astype(q.dtype)


def _one_hot(name: str, x: Tensor, target: Tensor, ignore_index: int) -> Array:
    """Indices (N, …) as rows of 0 and 1, (N, C, …), all 0 where ignored."""
    if target.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: target must hold class indices (int64), got {target.dtype}")
    expected = x.shape[:1] + x.shape[2:]
    if target.shape != expected:
        raise ShapeError(
            f"{name}: target of shape {target.array.shape} for input {x.array.shape}; expected"
            f" {tuple(expected)}"
        )
    backend = backend_of(x.array)
    labels, classes = target._read("nll_loss"), x.shape[1]
    ignore_index = whole(name, "ignore_index", ignore_index)
    if x.device.type == "cpu" or not classes:  # on a GPU it would be waited for in every step
        wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
        if wrong.any():
            raise IndexError(
                f"{name}: target {int(labels[wrong][0])} is out of range for {classes} classes"
            )
    hot: Array = backend.one_hot(labels, classes, ignore_index, x.dtype)
    return hot


def _number_losses(name: str, input: Any, target: Any, **deprecated: Any) -> tuple[Tensor, Tensor]:
    """Numbers and their targets, which must have one shape."""
    _refuse_deprecated(name, deprecated)
    _tensor(name, "input", input)
    _tensor(name, "target", target)
    if input.array.shape != target.array.shape:
        shapes = f"target {target.array.shape} for input {input.array.shape}"
        raise ShapeError(f"{name}: {shapes}: they must have one shape; see reshape")
    _same_type(name, input, target)
    return input, target


def _weights(name: str, argument: str, weight: Any, x: Tensor) -> Tensor | None:
    """Weights in the type of x, over whose shape they are repeated."""
    if weight is None:
        return None
    _tensor(name, argument, weight)
    common_backend(name, x, weight)
    if not broadcasts(weight.shape, x.shape):
        raise ShapeError(f"{name}: {argument} {weight.array.shape} for input {x.array.shape}")
    return converted(weight, x.dtype)


def _reduced(name: str, losses: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """Losses of single numbers, times weights if given, or their sum, or their mean."""
    losses = losses if weight is None else losses * weight
    if one_of(name, "reduction", reduction, "mean", "sum", "none") == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """(input - target)² for each number, summed up by `reduction`.

    Tensors of different shapes, which PyTorch spreads over one another with a warning, are refused:
    mostly the result would not be what is meant.
    """
    x, y = _number_losses("mse_loss", input, target, size_average=size_average, reduce=reduce)
    return _reduced("mse_loss", (x - y) ** 2, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """|input - target| for each number, summed up by `reduction`."""
    x, y = _number_losses("l1_loss", input, target, size_average=size_average, reduce=reduce)
    return _reduced("l1_loss", (x - y).abs(), reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d²/2β where d = |input - target| is below β, d - β/2 elsewhere, summed up by `reduction`.

    Girshick 2015, "Fast R-CNN", equation 3.
    """
    name = "smooth_l1_loss"
    x, y = _number_losses(name, input, target, size_average=size_average, reduce=reduce)
    return _reduced(name, _losses.huber(x - y, real(name, "beta", beta, least=0)), reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-target·log input - (1-target)·log(1-input) for probabilities, summed up by `reduction`.

    Logarithms are at least -100. Raises ArgumentError, on a CPU, for an input outside [0, 1].
    """
    name = "binary_cross_entropy"
    old: Any = {"size_average": size_average, "reduce": reduce}
    x, y = _number_losses(name, input, target, **old)
    weight = _weights(name, "weight", weight, x)
    if x.device.type == "cpu" and not ((x.array >= 0) & (x.array <= 1)).all():
        raise ArgumentError(f"{name}: input must be probabilities, from 0 to 1; see sigmoid")
    return _reduced(name, _losses.binary_cross_entropy(x, y), reduction, weight)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), which may be of any size.

    `pos_weight` multiplies the part of target 1.
    """
    name = "binary_cross_entropy_with_logits"
    old: Any = {"size_average": size_average, "reduce": reduce}
    x, y = _number_losses(name, input, target, **old)
    weight = _weights(name, "weight", weight, x)
    positive = _weights(name, "pos_weight", pos_weight, x)
    if positive is not None and positive.requires_grad:
        raise ArgumentError(f"{name}: pos_weight requires grad, and has none")
    losses = _losses.logistic_loss(x, y, 1 if positive is None else positive.array)
    return _reduced(name, losses, reduction, weight)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Class indices (…) as int64 rows of 0 and 1, (…, C); C is the largest and 1 unless given."""
    y = tensor_argument("one_hot", "tensor", tensor)
    if y.dtype != int64:
        raise RuntimeError(f"one_hot: class indices must be int64, got {y.dtype}")
    classes = whole("one_hot", "num_classes", num_classes, -1)
    if y.numel() and y.min().item() < 0:
        raise RuntimeError("one_hot: class indices must be at least 0")
    most = int(y.max().item()) if y.numel() else -1
    classes = most + 1 if classes == -1 else classes
    if most >= classes:
        raise RuntimeError(f"one_hot: class {most} is out of range for {classes} classes")
    places = backend_of(y.array).xp.arange(classes)
    return Tensor((y._read("one_hot")[..., None] == places).astype(int64))


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[y] · input[y] for log-probabilities (N, C, …) and class indices y (N, …).

    'mean' divides the sum by the weights of the targets that count. (C,) with one index works too.
    An index out of range is what it is in `cross_entropy`.
    """
    name = "nll_loss"
    x, y = _loss_arguments(name, input, target, size_average=size_average, reduce=reduce)
    hot = _one_hot(name, x, y, ignore_index)
    q = _weighted(hot, _class_weights(name, weight, x))  # (N, C, …)
    return _reduce(name, input, _softmax.nll(x, Tensor(q)), reduction, q.sum())


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-Σ_c q_c · log softmax(input)_c for logits (N, C, …), or (C,) for one sample.

    `target` holds class indices (N, …), or probabilities (N, C, …). Label smoothing ε mixes the
    target with the uniform distribution, q = (1-ε)·target + ε/C (Szegedy et al. 2016, section 7),
    and `weight` (C,) multiplies q. 'mean' divides the sum by the weights of the targets that count,
    or for probabilities by their number. Raises IndexError for an index out of range; on a GPU, as
    to look at the indices would be to wait for it, loss and gradients are NaN instead.
    """
    name = "cross_entropy"
    x, y = _loss_arguments(name, input, target, size_average=size_average, reduce=reduce)
    weights, classes = _class_weights(name, weight, x), x.shape[1]
    smoothing = real(name, "label_smoothing", label_smoothing, least=0, most=1)
    of_target = _given_distribution if is_floating(y.dtype) else _indexed_distribution
    q, total = of_target(name, x, y, weights, ignore_index, smoothing)  # (N, C, …)
    if not classes:
        return _reduce(name, input, (x * x).sum(1), reduction, total)
    if x.ndim == 2:
        return _reduce(name, input, _softmax.cross_entropy(x, q), reduction, total)
    order = (0, *range(2, x.ndim), 1)  # as rows of C numbers
    rows = [t.permute(order).reshape(-1, classes) for t in (x, q)]
    losses = _softmax.cross_entropy(*rows).reshape(x.shape[:1] + x.shape[2:])
    return _reduce(name, input, losses, reduction, total)


def _given_distribution(
    name: str, x: Tensor, y: Tensor, weights: Tensor | None, ignore_index: int, smoothing: float
) -> tuple[Tensor, Any]:
    """q of `cross_entropy` for probabilities y, and what its mean divides by."""
    if y.shape != x.shape:
        raise ShapeError(f"{name}: probabilities {y.array.shape} for input {x.array.shape}")
    _same_type(name, x, y)
    if whole(name, "ignore_index", ignore_index) >= 0:
        raise ArgumentError(f"{name}: ignore_index {ignore_index} goes with class indices only")
    classes = max(x.shape[1], 1)
    q = y * (1 - smoothing) + smoothing / classes if smoothing else y
    return q if weights is None else q * weights, x.numel() // classes


def _indexed_distribution(
    name: str, x: Tensor, y: Tensor, weights: Tensor | None, ignore_index: int, smoothing: float
) -> tuple[Tensor, Any]:
    """q of `cross_entropy` for class indices y, and what its mean divides by."""
    hot = q = _one_hot(name, x, y, ignore_index)
    if weights is not None and weights.requires_grad:
        raise ArgumentError(f"{name}: weight requires grad, and has none beside class indices")
    if smoothing and x.shape[1]:
        counts = (y.array != ignore_index)[:, None].astype(x.dtype)
        q = (hot * (1 - smoothing) + smoothing / x.shape[1]) * counts
    return Tensor(_weighted(q, weights)), _weighted(hot, weights).sum()
