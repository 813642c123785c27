"""Elements by themselves, and sums of those that go to one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy as xp

from ..layout import memory_order
from ..protocol import Array
from .packs import PackedKernel, kernel, pack_size

_relu = PackedKernel(
    "relu",
    "raw T x",
    "raw T y",
    """
    Pack p = ((const Pack *)&x[0])[i];
    for (int l = 0; l < PACK; l++) if (p.e[l] <= 0) p.e[l] = 0;
    ((Pack *)&y[0])[i] = p;
    """,
)
_relu_vjp = PackedKernel(
    "relu_vjp",
    "raw T g, raw T y",
    "raw T dx",
    """
    Pack p = ((const Pack *)&g[0])[i], q = ((const Pack *)&y[0])[i];
    for (int l = 0; l < PACK; l++) if (q.e[l] <= 0) p.e[l] = 0;
    ((Pack *)&dx[0])[i] = p;
    """,
)
_divided = kernel("divided", "T g, T total", "T y", "y = total == 0 ? T(0) : g / total;")
_add_runs = kernel(
    "add_runs",
    "raw T values, raw int64 order, raw int64 start",
    "T y",
    "for (long long j = start[i]; j < start[i + 1]; j++) y += values[order[j]];",
)


def _packed(function: PackedKernel, *arrays: Array, over: Array | None = None) -> Array:
    """What a kernel gives for arrays of one shape, laid out as the last; written `over` one."""
    order, back = memory_order(arrays[-1])
    given = [a.transpose(order).ravel() for a in arrays]
    written = [flat for flat, a in zip(given, arrays, strict=True) if a is over]
    y = written[0] if written else xp.empty_like(given[-1])
    pack = pack_size(y.size, *given, y)
    function(*given, y, pack=pack, size=y.size // pack)
    return y.reshape([arrays[-1].shape[axis] for axis in order]).transpose(back)


def relu(x: Array, recorded: bool, in_place: bool = False) -> tuple[Array, Callable[..., Array]]:
    y = _packed(_relu, x, over=x if in_place else None)

    def vjp(g: Array, *, spent: bool = False) -> Array:
        return _packed(_relu_vjp, g, y, over=g if spent else None)

    return y, vjp


def divided(g: Array, total: Any) -> Array:
    return _divided(g, total)


def add_at(target: Array, index: Any, values: Array) -> None:
    # The places are sorted first, and each element adds up its own run.
    places = xp.arange(target.size).reshape(target.shape)[index]
    values = xp.ascontiguousarray(xp.broadcast_to(values, places.shape)).ravel()
    places = places.ravel()
    order = xp.argsort(places, kind="stable")
    start = xp.searchsorted(places[order], xp.arange(target.size + 1))
    flat = target.reshape(-1)
    _add_runs(values, order, start, flat)
    if flat.data.ptr != target.data.ptr:  # reshape has copied it; xp.shares_memory asks the device
        target[...] = flat.reshape(target.shape)
