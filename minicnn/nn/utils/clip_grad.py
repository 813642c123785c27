"""Gradient clipping, so that one bad batch can't throw the weights far away."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from ...arguments import ArgumentError, real
from ...autograd import common_backend
from ...backends import Array
from ...backends.layout import room
from ...creation import zeros
from ...tensor import Tensor
from ...versions import changed_in_place, owner


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: Any = None,
) -> Tensor:
    """Scale all gradients together, in place, so that their norm is at most max_norm.

    The norm is that of all gradients as one vector; it is returned as it was before. If it is NaN,
    so is each gradient afterwards, except where it is 0: there, unlike PyTorch's, it stays 0.
    Pascanu, Mikolov and Bengio 2013, section 3.2.

    Raises ArgumentError for a max_norm that is negative or no number, for a parameter given twice
    and for gradients on different devices, RuntimeError for a norm that is NaN or infinite if
    `error_if_nonfinite`, and NotImplementedError for a norm_type other than 2. Warns (UserWarning)
    of an iterator that has nothing to give, as it may have been used up before.
    """
    limit = real("clip_grad_norm_", "max_norm", max_norm, least=0)
    if norm_type != 2:
        raise NotImplementedError(f"clip_grad_norm_: norm_type must be 2, got {norm_type!r}")
    if foreach:
        raise NotImplementedError("clip_grad_norm_: foreach is not supported")
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if isinstance(parameters, Iterator) and not given:
        warnings.warn("clip_grad_norm_: an iterator without parameters", stacklevel=2)
    for p in given:
        if not isinstance(p, Tensor):
            raise TypeError(f"clip_grad_norm_: expected Tensors, got {type(p).__name__}")
    if len({id(p) for p in given}) < len(given):
        raise ArgumentError("clip_grad_norm_: a parameter is given twice")
    with_gradient = [p for p in given if p.grad_array is not None]
    if not with_gradient:
        return zeros(())
    gradients = gradient_arrays(with_gradient)
    backend = common_backend("clip_grad_norm_", *with_gradient)
    xp = backend.xp
    with backend.quiet():  # and without asking the device for a number, so that a graph can hold it
        norm = backend.norm(gradients)
        if error_if_nonfinite and not xp.isfinite(norm):
            raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {float(norm)}")
        for g in gradients:
            changed_in_place(g, "clip_grad_norm_")
        backend.shrink(gradients, norm, limit)
    return Tensor(xp.asarray(norm))


def gradient_arrays(parameters: list[Tensor]) -> list[Array]:
    """The gradients, or in their place the one array into which an optimiser has put them.

    See `optim.flat.Flat`. It may hold others' too, and then it is of no use here.
    """
    gradients: list[Array] = [p.grad_array for p in parameters]
    if all(p.grad_array is p.grad_home for p in parameters):
        whole = owner(gradients[0])
        size = sum(map(room, gradients))
        if size == whole.size and all(owner(g) is whole for g in gradients):
            return [whole]
    return gradients
