"""The NumPy backend: arrays in the computer's own memory.

What each primitive computes is said in `protocol.py`. Image arrays are channels-last here, too: a
row of a window is then one contiguous run of kw·C numbers, and every loop below runs over channels
innermost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import memory, threads
from .layout import memory_order
from .protocol import Array, Inquiry, Key, SGDOptions
from .threads import blocks, chunks, for_chunks, sum_chunks
from .windows import NO_PADS, Pads, Pair, Window

memory.keep_freed()

xp = np
device_type = "cpu"
costly_launches = False


# --- arrays in and out ---------------------------------------------------------------------------


def from_host(array: Array) -> Array:
    return array


def to_host(array: Array) -> Array:
    return array


def fetch(array: Array) -> Callable[[], float | None]:
    number = float(array)
    return lambda: number


def quiet() -> Any:
    return np.errstate(all="ignore")


def capturing() -> bool:
    return False


def matmul(x: Array, y: Array, out: Array | None = None, bias: Array | None = None) -> Array:
    z = np.matmul(x, y, out=out)
    if bias is not None and z.ndim == 2 and z.flags.c_contiguous and z.size:
        # Several rows at a time, as NumPy begins a loop for each: 0.7 of the time for 32 channels.
        several = math.gcd(len(z), 32)
        rows = z.reshape(-1, several * len(bias))
        rows += np.concatenate([bias] * several)
    elif bias is not None:
        z += bias
    return z


def add_at(target: Array, index: Any, values: Array) -> None:
    np.add.at(target, index, values)


# --- the device ----------------------------------------------------------------------------------


def inquire() -> Inquiry:
    parts = {"NumPy": np.__version__, "BLAS": "; ".join(threads.libraries()) or "none found"}
    return Inquiry(None, 1, parts)


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError)


def free_unused() -> None:
    pass


def peak_bytes() -> None:
    return None


def graph_pool() -> None:
    return None


# --- elementwise ---------------------------------------------------------------------------------


def _above_zero(x: Array, out: Array) -> None:
    # NumPy's maximum() of an array and a number takes 3 times as long as its clip().
    if x.dtype.kind == "f":
        np.clip(x, 0, np.inf, out=out)
    else:
        np.maximum(x, 0, out=out)


def _where(mask: Array, g: Array, out: Array | None = None) -> Array:
    """g where the mask is true, 0 elsewhere."""
    # On the bits: as fast as g·mask, which makes NaN of infinity; NumPy's where() takes 7 times
    # as long. True, negated, has ones in all bits; NumPy widens it on the way, in the cache.
    bits = np.dtype(f"i{g.itemsize}")
    out = np.empty_like(g) if out is None else out
    np.bitwise_and(np.negative(mask.view(np.int8)), g.view(bits), out=out.view(bits))
    return out


def relu(x: Array, recorded: bool, in_place: bool = False) -> tuple[Array, Callable[..., Array]]:
    # For the way back a bit for each element is enough, and y need not be kept: nothing else needs
    # it where a pooling or dropout follows. Block by block, so that y is in the cache for the bits.
    order, back = memory_order(x)
    shape = [x.shape[axis] for axis in order]
    flat = x.transpose(order).reshape(-1)
    y = flat if in_place else np.empty_like(flat)
    eighths = -(-flat.size // 8)
    bits = np.empty(eighths, np.uint8)

    def forward(block: slice) -> None:
        elements = slice(8 * block.start, 8 * block.stop)
        _above_zero(flat[elements], y[elements])
        if recorded:
            bits[block] = np.packbits(y[elements] != 0)

    def vjp(g: Array, *, spent: bool = False) -> Array:
        g = g.transpose(order).reshape(-1)
        dx = g if spent else np.empty_like(g)

        def backward(block: slice) -> None:
            elements = slice(8 * block.start, 8 * block.stop)
            mask = np.unpackbits(bits[block])[: len(g[elements])]
            _where(mask, g[elements], out=dx[elements])

        for_chunks(backward, blocks(eighths, 8 * g.itemsize))
        return dx.reshape(shape).transpose(back)

    for_chunks(forward, blocks(eighths, 8 * flat.itemsize))
    return y.reshape(shape).transpose(back), vjp


def divided(g: Array, total: Any) -> Array:
    return np.where(total == 0, 0, g / total)


def one_hot(labels: Array, classes: int, ignored: int, dtype: Any) -> Array:
    numbers = np.arange(classes).reshape(1, -1, *[1] * (labels.ndim - 1))
    return ((numbers == labels[:, None]) & (labels != ignored)[:, None]).astype(dtype)


def cross_entropy(x: Array, q: Array) -> tuple[Array, Array]:
    logp = x - x.max(axis=1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(axis=1, keepdims=True))
    return -np.where(q == 0, 0, q * logp).sum(axis=1), logp


def cross_entropy_vjp(g: Array, q: Array, logp: Array) -> Array:
    return g[:, None] * (np.exp(logp) * q.sum(axis=1, keepdims=True) - q)


def sgd(p: Array, g: Array, v: Array | None, lr: Array, options: SGDOptions) -> None:
    momentum, dampening, weight_decay, nesterov = options
    if weight_decay:
        g = g + weight_decay * p
    if v is not None:
        v *= momentum
        v += (1 - dampening) * g
        g = g + momentum * v if nesterov else v
    p -= lr[0] * g


def norm(arrays: Sequence[Array]) -> Array:
    return np.sqrt(sum((a * a).sum() for a in arrays))


def shrink(arrays: Sequence[Array], norm: Array, most: float) -> None:
    factor = np.minimum(most / (norm + 1e-6), 1)
    for a in arrays:
        where: Any = a != 0 if np.isnan(factor) else True  # slow, and no other changes a 0
        np.multiply(a, factor.astype(a.dtype), out=a, where=where)


# --- random numbers ------------------------------------------------------------------------------


def philox(key: Key) -> np.random.Generator:
    """NumPy's generator of the stream that a key names."""
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def uniform(key: Key, shape: Sequence[int], dtype: Any, skip: int = 0) -> Array:
    generator = philox(key)
    block = 32 // np.dtype(dtype).itemsize  # Philox makes 256 bits at a time
    generator.bit_generator.advance(skip // block)  # type: ignore[attr-defined]
    surplus = skip % block
    return generator.random(surplus + math.prod(shape), dtype=dtype)[surplus:].reshape(shape)


def dropout(
    key: Key, shape: Sequence[int], dtype: Any, p: float, skip: int
) -> Callable[[Array], Array]:
    scale = np.dtype(dtype).type(1 / (1 - p) if p < 1 else 0)
    factor = (uniform(key, shape, dtype, skip) >= p) * scale
    return lambda x: x * factor


# --- windows -------------------------------------------------------------------------------------


def _pad(x: Array, pads: Pads, value: float = 0) -> Array:
    """x (N, H, W, C) with padding of `value` around H and W; x itself where they're all 0.

    Pads below 0 take as many pixels away.
    """
    (top, bottom), (left, right) = pads
    if not (top or bottom or left or right):
        return x
    if min(top, bottom, left, right) < 0:
        x = _unpad(x, tuple((max(0, -a), max(0, -b)) for a, b in pads))  # type: ignore[arg-type]
        (top, bottom), (left, right) = ((max(0, a), max(0, b)) for a, b in pads)
    n, h, w, c = x.shape
    shape = (n, h + top + bottom, w + left + right, c)
    y = np.full(shape, value, x.dtype) if value else np.zeros(shape, x.dtype)
    y[:, top : top + h, left : left + w] = x
    return y


def _unpad(y: Array, pads: Pads) -> Array:
    """The inside of y (N, H, W, C), without its padding: a view."""
    (top, bottom), (left, right) = pads
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]


def _padded_shape(shape: Sequence[int], pads: Pads) -> tuple[int, ...]:
    n, h, w, c = shape
    return (n, h + sum(pads[0]), w + sum(pads[1]), c)


def _seen(x: Array, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """The memory of a contiguous x with other strides: what as_strided gives, for less overhead."""
    return np.ndarray(shape, x.dtype, x, 0, strides)


def _windows(x: Array, window: Window, grid: Pair) -> Array:
    """The windows of a padded x (N, H, W, C), grid = (H', W') of them: (N, H', W', kh, kw, C).

    A view of a contiguous x, in which an element is in as many places as there are windows over it.
    """
    x = np.ascontiguousarray(x)
    (n, _, _, c), (sn, sh, sw, sc) = x.shape, x.strides
    kernel, (down, along), (dh, dw), _ = window
    return _seen(x, (n, *grid, *kernel, c), (sn, sh * down, sw * along, sh * dh, sw * dw, sc))


def im2col(x: Array, window: Window) -> Array:
    (n, h, w, c), k = x.shape, math.prod(window.kernel)
    if window.kernel == (h, w) and window.pads == NO_PADS:
        return x.reshape(n, k * c)
    oh, ow = window.output_size((h, w))
    windows = _windows(_pad(x, window.pads), window, (oh, ow))
    if c == 1:  # rows of W' numbers are longer runs than kw·C: 6 times as fast for 3×3 windows
        return windows.transpose(3, 4, 5, 0, 1, 2).reshape(k, n * oh * ow).T
    return windows.reshape(n * oh * ow, k * c)  # (N·H'·W', kh·kw·C)


def _taps(x: Array, window: Window) -> list[Array]:
    """For each place (i, j) of the window, what of a padded x stands there: (N, H', W', C)."""
    (kh, kw), (sh, sw), (dh, dw), _ = window
    oh, ow = window._replace(pads=NO_PADS).output_size(x.shape[1:3])
    down, along = (oh - 1) * sh + 1, (ow - 1) * sw + 1
    return [
        x[:, i * dh : i * dh + down : sh, j * dw : j * dw + along : sw]
        for i in range(kh)
        for j in range(kw)
    ]


def col2im(cols: Array, window: Window, out: Array) -> None:
    n, h, w, c = out.shape
    padded = _padded_shape(out.shape, window.pads)
    x = out if window.pads == NO_PADS else np.empty(padded, out.dtype)
    x.fill(0)
    cols = cols.reshape(n, *window.output_size((h, w)), math.prod(window.kernel), c)
    for k, tap in enumerate(_taps(x, window)):
        tap += cols[:, :, :, k]
    if x is not out:
        out[...] = _unpad(x, window.pads)


def _first_places(size: Pair, window: Window) -> Array:
    """The first place of each window that lies on an image of H×W, or 0: (H', W', 1)."""
    kernel, stride, dilation, pads = window
    firsts, inside = [], []
    counts = window.output_size(size)
    for n, k, s, d, (before, _), count in zip(
        size, kernel, stride, dilation, pads, counts, strict=True
    ):
        begin = np.arange(count) * s - before
        first = np.maximum(0, -(begin // d))
        firsts.append(first)
        inside.append((first < k) & (begin + first * d < n))
    places = firsts[0][:, None] * kernel[1] + firsts[1]
    return np.where(inside[0][:, None] & inside[1], places, 0)[:, :, None]


def max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    n, h, w, c = x.shape
    shape = (n, *window.output_size((h, w)), c)
    y = np.empty(shape, x.dtype)
    argmax = np.zeros(shape, np.min_scalar_type(math.prod(window.kernel) - 1))
    first = _first_places((h, w), window) if window.pads != NO_PADS else None
    x = _pad(x, window.pads, -np.inf)

    def work(chunk: slice) -> None:
        taps = _taps(x[chunk], window)
        best, where = y[chunk], argmax[chunk]
        best[...] = taps[0]
        for k, tap in enumerate(taps[1:], 1):
            tap = tap.copy()  # so that the two passes over it run through: 1.2 to 1.4× faster
            # k only grows, so the argmax is the largest k at which a new maximum was found: a
            # maximum over small integers, 3× faster than writing k through a mask.
            np.maximum(where, np.multiply(tap > best, k, dtype=where.dtype), out=where)
            np.maximum(best, tap, out=best)
        if np.isnan(best).any():  # NaN is above nothing; to look for it at each tap takes 1.5×
            for k, tap in enumerate(taps):
                where[np.isnan(tap)] = k
        if first is not None:
            np.copyto(where, first, where=best == -np.inf, casting="unsafe")

    for_chunks(work, blocks(n, x[:1].nbytes))
    return y, argmax


def max_unpool(g: Array, argmax: Array, shape: Sequence[int], window: Window) -> Array:
    kernel, stride, dilation, pads = window
    x = np.zeros(_padded_shape(shape, pads), g.dtype)
    apart = all(d * (k - 1) < s for k, s, d in zip(kernel, stride, dilation, strict=True))

    def work(chunk: slice) -> None:
        for k, tap in enumerate(_taps(x[chunk], window)):
            if apart:  # each element belongs to one window: 1.8 times as fast
                _where(argmax[chunk] == k, g[chunk], out=tap)
            else:
                tap += _where(argmax[chunk] == k, g[chunk])

    for_chunks(work, blocks(len(x), x[:1].nbytes))
    return _unpad(x, pads)


def sum_pool(x: Array, window: Window) -> Array:
    first, *others = _taps(_pad(x, window.pads), window)
    y = first.copy()
    for tap in others:
        y += tap
    return y


def sum_unpool(g: Array, shape: Sequence[int], window: Window) -> Array:
    x = np.zeros(_padded_shape(shape, window.pads), g.dtype)
    for tap in _taps(x, window):
        tap += g
    return _unpad(x, window.pads)


def sum_pixels(g: Array, out: Array | None = None) -> Array:
    # Row by row, as a product with ones: BLAS is up to 6 times as fast as .sum here, and short sums
    # lose fewer digits than a long one.
    h_ones, w_ones = (np.ones(size, g.dtype) for size in g.shape[1:3])

    def work(chunk: slice) -> Array:
        return np.matmul(h_ones, np.matmul(w_ones, g[chunk])).sum(axis=0)

    sums = sum_chunks(work, chunks(len(g), g[:1].nbytes))
    if out is None:
        return sums
    out[...] = sums
    return out


# --- tiles ---------------------------------------------------------------------------------------


# A transform along the rows of all squares, and then one along their columns: two stacks of small
# products, on views of the images and into views of the result, so that nothing is copied on the
# way. Either takes 0.6 to 0.85 of the time that it takes to copy the squares and multiply them
# side by side; one product with the Kronecker product of m and itself makes k times as many
# multiplications.


def gather_tiles(m: Array, x: Array, step: int, first: Pair, grid: Pair) -> Array:
    (j, k), (down, along) = m.shape, grid
    (top, bottom), (left, right) = (
        (before, (count - 1) * step + k - before - size)
        for before, count, size in zip(first, grid, x.shape[1:3], strict=True)
    )
    x = np.ascontiguousarray(_pad(x, ((top, bottom), (left, right))))
    n, _, width, c = x.shape
    image, row, pixel, _ = x.strides
    squares = _seen(x, (n, down, k, width * c), (image, step * row, row, x.itemsize))
    half = np.matmul(m, squares, out=np.empty((n, down, j, width * c), x.dtype))
    image, tile, row, _ = half.strides
    strides = image, tile, row, step * pixel, pixel, x.itemsize
    squares = _seen(half, (n, down, j, along, k, c), strides)
    y = np.empty((j, j, n, down, along, c), x.dtype)
    np.matmul(m, squares, out=y.transpose(2, 3, 0, 4, 1, 5))
    return y.reshape(j * j, -1)


def scatter_tiles(m: Array, tiles: Array, out: Array, bias: Array | None = None) -> None:
    (n, h, w, c), (j, k) = out.shape, m.shape
    down, along = -(-h // j), -(-w // j)
    squares = tiles.reshape(k, k, n, down, along, c).transpose(2, 3, 0, 4, 1, 5)
    half = np.matmul(m, squares).reshape(n, down, k, along * j * c)
    rows = np.matmul(m, half).reshape(n, down * j, along * j, c)[:, :h, :w]
    if bias is None:
        out[...] = rows
    else:
        np.add(rows, bias, out=out)


def filtering_gains(images: Sequence[int], filters: Sequence[int], pixels: Pair) -> bool:
    # The products that it saves grow with C·O, the transforms with C + O. From 16 channels on
    # either side it takes 0.5 to 0.95 of im2col's time, with one it takes longer.
    return min(filters[:2]) >= 16
