"""Operations under the names, arguments and semantics of `torch.nn.functional`.

What these functions do is check and translate arguments, in words that name what was wrong; the
computing, forward and derivative, is in `minicnn/operations/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import backends, context, random
from .arguments import ArgumentError, Pair, pair, real, whole
from .autograd import common_backend
from .backends import Array, backend_of, constant
from .backends.windows import Window
from .dtype import float32, is_floating
from .operations import arithmetic, convolution, matrix, pooling, winograd
from .operations import dropout as _dropout
from .operations import softmax as _softmax
from .tensor import Tensor

Size2 = int | Sequence[int]


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
        raise TypeError(
            f"{name}: {argument} must be a Tensor, got {type(x).__module__}.{type(x).__qualname__}"
        )
    if ndims and x.ndim not in ndims:
        axes = " or ".join(map(str, ndims))
        raise ShapeError(f"{name}: {argument} must have {axes} axes, got shape {x.shape}")


def _same_type(name: str, *tensors: Tensor | None) -> None:
    dtypes = {t.dtype for t in tensors if t is not None}
    if len(dtypes) > 1 or not all(is_floating(d) for d in dtypes):
        got = " and ".join(sorted(map(str, dtypes)))
        raise RuntimeError(
            f"{name}: tensors must share one floating-point type, got {got}; .float() converts"
        )


def _bias(name: str, bias: Any, weight: Tensor) -> None:
    if bias is not None:
        _tensor(name, "bias", bias, 1)
        if bias.shape != weight.shape[:1]:
            raise ShapeError(f"{name}: bias {bias.shape} does not fit weight {weight.shape}")


def conv_pads(padding: str | Size2, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """((top, bottom), (left, right)) of a convolution's padding argument."""
    if isinstance(padding, str) and padding == "valid":
        return (0, 0), (0, 0)
    if isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise ArgumentError(f"conv2d: padding='same' needs stride 1, got stride {stride}")
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((r // 2, r - r // 2) for r in reach)
    if isinstance(padding, str):
        raise ArgumentError(f"conv2d: padding must be 'same', 'valid' or numbers, got {padding!r}")
    return tuple((p, p) for p in pair("conv2d", "padding", padding, 0))


def _pool_window(
    name: str, x: Tensor, window: Window, padding: Pair, ceil: bool
) -> tuple[Window, Pair]:
    """The window with the padding that a pooling needs, an overhang included; its output size."""
    kernel, stride, dilation, _ = window
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError(f"{name}: padding {padding} is more than half of kernel_size {kernel}")
    pads, sizes = [], []
    for length, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        room = length + 2 * p - reach
        size = (-(-room // s) if ceil else room // s) + 1
        if ceil and (size - 1) * s >= length + p:
            size -= 1  # a window must start inside the image or its first padding
        if size < 1 or length < 1:
            raise ShapeError(
                f"{name}: kernel_size {kernel} (dilation {dilation}) is larger than the padded"
                f" input {x.shape}"
            )
        pads.append((p, max(0, (size - 1) * s + reach - length - p)))
        sizes.append(size)
    return window._replace(pads=(pads[0], pads[1])), (sizes[0], sizes[1])


def _batched(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x.unsqueeze(0)


def _like(y: Tensor, x: Tensor) -> Tensor:
    """y without the batch axis if x came without one."""
    return y if x.ndim == 4 else y.squeeze(0)


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
    Raises ShapeError where shapes don't fit, ArgumentError for arguments out of range and
    NotImplementedError for groups other than 1.
    """
    _tensor("conv2d", "input", input, 3, 4)
    _tensor("conv2d", "weight", weight, 4)
    if groups != 1:
        raise NotImplementedError(f"conv2d: groups must be 1, got {groups}")
    x = _batched(input)
    kernel = (weight.shape[2], weight.shape[3])
    stride = pair("conv2d", "stride", stride, 1)
    dilation = pair("conv2d", "dilation", dilation, 1)
    pads = conv_pads(padding, kernel, stride, dilation)
    if x.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"conv2d: input {input.shape} has {x.shape[1]} channels, weight {weight.shape} takes"
            f" {weight.shape[1]}"
        )
    _bias("conv2d", bias, weight)
    _same_type("conv2d", input, weight, bias)
    padded = tuple(n + sum(m) for n, m in zip(x.shape[2:], pads, strict=True))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if any(n < r for n, r in zip(padded, reach, strict=True)):
        raise ShapeError(
            f"conv2d: kernel {reach[0]}×{reach[1]} of weight {weight.shape} is larger than the"
            f" padded input {padded[0]}×{padded[1]} of {input.shape}"
        )
    window = Window(kernel, stride, dilation, pads)
    algorithm = winograd if _minimal_filtering(x, weight, window) else convolution
    return _like(algorithm.conv2d(x, weight, bias, window), input)


def _minimal_filtering(x: Tensor, weight: Tensor, window: Window) -> bool:
    """Whether `Context.conv_algorithm` and the shapes are for Winograd's convolution.

    It can do square 3×3 and 5×5 filters at stride 1 in float32. "auto" takes it where the backend
    says that it takes less time.
    """
    algorithm = context.current().conv_algorithm
    kernel, stride, dilation, _ = window
    possible = kernel in ((3, 3), (5, 5)) and stride == dilation == (1, 1) and x.dtype == float32
    if algorithm == "im2col" or not possible:
        return False
    if algorithm == "winograd":
        return True
    pixels = window.output_size((x.shape[2], x.shape[3]))
    return backend_of(x.array).filtering_gains(x.shape, weight.shape, pixels)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input · weightᵀ + bias, for input (…, K), weight (M, K), bias (M,): (…, M)."""
    _tensor("linear", "input", input)
    _tensor("linear", "weight", weight, 2)
    if not input.ndim or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input {input.shape} and weight {weight.shape} do not fit: expected"
            f" {weight.shape[1]} features"
        )
    _bias("linear", bias, weight)
    _same_type("linear", input, weight, bias)
    return matrix.linear(input, weight, bias)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0), always in a new tensor: `inplace` only saves memory in PyTorch."""
    _tensor("relu", "input", input)
    return input.relu()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    _tensor("sigmoid", "input", input)
    return input.sigmoid()


def max_pool2d(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    dilation: Size2 = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window of input (N, C, H, W) or (C, H, W).

    `stride` is kernel_size unless given. Padding counts as -inf. With `ceil_mode`, a last window
    that hangs over the edge counts too. Ties send their gradient to the first maximum.
    """
    name = "max_pool2d"
    _tensor(name, "input", input, 3, 4)
    if return_indices:
        raise NotImplementedError("max_pool2d: return_indices is not supported")
    _same_type(name, input)
    x = _batched(input)
    kernel = pair(name, "kernel_size", kernel_size, 1)
    step = kernel if stride is None else pair(name, "stride", stride, 1)
    spread = pair(name, "dilation", dilation, 1)
    window = Window(kernel, step, spread)
    window, _ = _pool_window(name, x, window, pair(name, "padding", padding, 0), ceil_mode)
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
    """The mean of each window of input (N, C, H, W) or (C, H, W).

    A window's sum is divided by its number of elements: with padding or, unless
    `count_include_pad`, without; or by `divisor_override`. An overhang is never counted.
    """
    name = "avg_pool2d"
    _tensor(name, "input", input, 3, 4)
    _same_type(name, input)
    if divisor_override is not None:
        divisor_override = whole(name, "divisor_override", divisor_override)
        if divisor_override == 0:
            raise ArgumentError("avg_pool2d: divisor_override must not be 0")
    x = _batched(input)
    kernel = pair(name, "kernel_size", kernel_size, 1)
    step = kernel if stride is None else pair(name, "stride", stride, 1)
    around = pair(name, "padding", padding, 0)
    window, sizes = _pool_window(name, x, Window(kernel, step), around, ceil_mode)
    counted = (count_include_pad, divisor_override)
    geometry = (x.shape[2:], kernel, step, around, sizes)
    scale = constant(backend_of(x.array), _pool_scale, *geometry, *counted, x.dtype)
    return _like(pooling.avg_pool2d(x, window, scale), input)


def _pool_scale(
    lengths: Pair,
    kernel: Pair,
    step: Pair,
    around: Pair,
    sizes: Pair,
    count_include_pad: bool,
    divisor: int | None,
    dtype: Any,
) -> Array:
    """What a window's sum is multiplied by, for each window: (H', W', 1)."""
    xp = backends.host.xp
    if divisor is not None:
        return xp.full((*sizes, 1), 1 / divisor, dtype)
    counts = []
    for length, k, s, p, size in zip(lengths, kernel, step, around, sizes, strict=True):
        first, last = (-p, length + p) if count_include_pad else (0, length)
        starts = [i * s - p for i in range(size)]
        counts.append([min(start + k, last) - max(start, first) for start in starts])
    rows, columns = (xp.array(c, dtype) for c in counts)
    return 1 / (rows[:, None, None] * columns[:, None])


def _regions(length: int, count: int) -> list[Pair]:
    """Where `count` regions of an axis begin and end: ⌊i·length/count⌋, ⌈(i+1)·length/count⌉."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over an H'×W' grid of regions of input (N, C, H, W) or (C, H, W).

    `output_size` is H' = W', or two sizes, either of which may be None to keep that axis. With 1 it
    is global average pooling (Lin, Chen and Yan 2013, section 3.2).
    """
    name = "adaptive_avg_pool2d"
    _tensor(name, "input", input, 3, 4)
    _same_type(name, input)
    x = _batched(input)
    both = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(both) == 2:
        both = tuple(n if s is None else s for s, n in zip(both, x.shape[2:], strict=True))
    rows, columns = pair(name, "output_size", both, 0)
    if 0 in x.shape[1:]:
        raise ShapeError(f"{name}: input {input.shape} has no elements to average")
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


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim, both included, as one."""
    _tensor("flatten", "input", input)
    return input.flatten(start_dim, end_dim)


# --- probabilities and losses --------------------------------------------------------------------


def _class_axis(name: str, input: Tensor, dim: int | None) -> int:
    _tensor(name, "input", input)
    _same_type(name, input)
    if dim is None:
        raise ArgumentError(f"{name}: dim must be given; it is 1 for logits (N, C)")
    dim = whole(name, "dim", dim)
    if not -max(input.ndim, 1) <= dim < max(input.ndim, 1):
        raise IndexError(f"{name}: dim {dim} is out of range for shape {input.shape}")
    return dim


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along `dim`."""
    axis = _class_axis("softmax", input, dim)
    if not input.numel() or not input.ndim:
        return input.exp() if input.ndim else arithmetic.exp(input - input)
    return _softmax.softmax(input, axis)


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """log(softmax(x)), computed so that large logits do no harm."""
    axis = _class_axis("log_softmax", input, dim)
    if not input.numel() or not input.ndim:
        return input.exp() if input.ndim else input - input
    return _softmax.log_softmax(input, axis)


def _reduce(name: str, losses: Tensor, reduction: str, total: Any) -> Tensor:
    """A batch's losses, or their sum, or that over `total`, the weight they stand for."""
    if reduction == "none":
        return losses
    if reduction not in ("sum", "mean"):
        raise ArgumentError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return losses.sum() if reduction == "sum" else _softmax.mean_loss(losses, total)


def _refuse_deprecated(name: str, **arguments: Any) -> None:
    """PyTorch's places for arguments that it has replaced: here so that the others keep theirs."""
    for argument, value in arguments.items():
        if value is not None:
            raise TypeError(f"{name}: {argument} is not supported; reduction='mean' or 'sum' is")


def _class_weights(name: str, weight: Tensor | None, classes: int, x: Tensor) -> Array | None:
    if weight is None:
        return None
    _tensor(name, "weight", weight)
    common_backend(name, x, weight)
    if weight.shape != (classes,):
        raise ShapeError(
            f"{name}: weight {weight.shape} must have one element for {classes} classes"
        )
    _same_type(name, x, weight)
    return weight.array


def _weighted(q: Array, weights: Array | None) -> Array:
    """q (N, C, …) times the weights (C,) of the classes; where q is 0, 0, whatever the weight."""
    if weights is None:
        return q
    backend = backend_of(q)
    with backend.quiet():
        product = q * weights.reshape(1, -1, *[1] * (q.ndim - 2))
    return backend.xp.where(q == 0, 0, product).astype(q.dtype)


def _one_hot(name: str, x: Tensor, target: Tensor, ignore_index: int) -> Array:
    """Indices (N, …) as rows of 0 and 1, (N, C, …), all 0 where ignored."""
    if target.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: target must hold class indices (int64), got {target.dtype}")
    expected = x.shape[:1] + x.shape[2:]
    if target.shape != expected:
        raise ShapeError(
            f"{name}: target of shape {target.shape} for input {x.shape}; expected {expected}"
        )
    backend = backend_of(x.array)
    labels, classes = target.array, x.shape[1]
    ignore_index = whole(name, "ignore_index", ignore_index)
    if x.device.type == "cpu" or not classes:  # on a GPU it would be waited for in every step
        wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
        if wrong.any():
            raise IndexError(
                f"{name}: target {int(labels[wrong][0])} is out of range for {classes} classes"
            )
    hot: Array = backend.one_hot(labels, classes, ignore_index, x.dtype)
    return hot


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
    _refuse_deprecated(name, size_average=size_average, reduce=reduce)
    _tensor(name, "input", input)
    _tensor(name, "target", target)
    common_backend(name, input, target)
    _same_type(name, input)
    if not input.ndim:
        raise ShapeError(f"{name}: input must have a class axis, got shape {input.shape}")
    if input.ndim == 1:
        loss = nll_loss(
            input.unsqueeze(0),
            target.unsqueeze(0),
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        return loss.squeeze(0) if reduction == "none" else loss
    x = input
    hot = _one_hot(name, x, target, ignore_index)
    q = _weighted(hot, _class_weights(name, weight, x.shape[1], x))  # (N, C, …)
    return _reduce(name, _softmax.nll(x, Tensor(q)), reduction, q.sum())


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
    _refuse_deprecated(name, size_average=size_average, reduce=reduce)
    _tensor(name, "input", input)
    _tensor(name, "target", target)
    common_backend(name, input, target)
    _same_type(name, input)
    if not input.ndim:
        raise ShapeError(f"{name}: input must have a class axis, got shape {input.shape}")
    label_smoothing = real(name, "label_smoothing", label_smoothing, least=0, most=1)
    if input.ndim == 1:
        loss = cross_entropy(
            input.unsqueeze(0),
            target.unsqueeze(0),
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        return loss.squeeze(0) if reduction == "none" else loss
    x, classes = input, input.shape[1]
    weights = _class_weights(name, weight, classes, x)
    q: Tensor
    if is_floating(target.dtype):
        if target.shape != x.shape:
            raise ShapeError(f"{name}: probabilities {target.shape} for input {x.shape}")
        _same_type(name, input, target)
        if whole(name, "ignore_index", ignore_index) >= 0:
            raise ArgumentError(f"{name}: ignore_index {ignore_index} goes with class indices only")
        q = target
        total: Any = x.numel() // max(classes, 1)
    else:
        hot = _one_hot(name, x, target, ignore_index)
        total = _weighted(hot, weights).sum()
        q = Tensor(hot)
    if label_smoothing and classes:
        q = q * (1 - label_smoothing) + label_smoothing / classes
        if not is_floating(target.dtype):
            q = q * Tensor((target.array != ignore_index)[:, None].astype(x.dtype))
    if weight is not None and is_floating(target.dtype):
        q = q * weight.reshape(1, -1, *[1] * (x.ndim - 2))
    elif weight is not None:
        if weight.requires_grad:
            raise ArgumentError(f"{name}: weight requires grad, and has none beside class indices")
        q = Tensor(_weighted(q.array, weights))
    if not classes:
        return _reduce(name, (x * x).sum(1), reduction, total)
    # (N, C, …) as rows of C numbers
    order, rest = (0, *range(2, x.ndim), 1), x.shape[:1] + x.shape[2:]
    rows = [t.permute(order).reshape(-1, classes) if x.ndim > 2 else t for t in (x, q)]
    losses = _softmax.cross_entropy(*rows)
    return _reduce(name, losses.reshape(rest) if x.ndim > 2 else losses, reduction, total)
