"""Whether a model treats the images of a batch independently, so that a batch can be cut.

It is found out by trying, on a copy of the model: a few images together must give what each gives
alone.
"""

from __future__ import annotations

import pickle
import random as pythons
import time
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from . import context, creation, random
from .arguments import ArgumentError
from .backends import backend_of, is_array
from .dtype import float64, is_floating, uint8
from .grad_mode import no_grad
from .nn.container import Sequential
from .nn.module import Module
from .tensor import Tensor

IMAGES = 3
Found = tuple[str, Module, str]  # a module's path, the module, and what it does

KEEPS = "keeps something of the images that it saw"
COUPLES = "gives an image another output beside other images than alone"
DRAWS = "draws random numbers that belong to no image"
RETURNS = "does not return a Tensor with a row for each image"


def refuse_coupled(model: Module, x: Tensor) -> None:
    """Raise ValueError, naming the layer, for a model that x (N, …) can't be cut for.

    That is one whose output for an image depends on the others, such as batch normalisation; one
    that draws numbers which don't belong to an image, as with `randn` in its forward; and one that
    keeps something of what it saw, since it would keep a piece's. Takes `IMAGES` of the images
    through a copy of the model as they are, and again with noise on them and on the weights, as
    equal images and weights of 0 would hide a dependence.
    """
    images = x.detach()[:IMAGES]
    found = _tried(model, images)
    if found is None:
        try:
            found = _tried(model, _noisy(images), with_noise=True)
        except Exception:  # the noise is none of the model's business
            found = None
    if found is not None:
        path, module, what = found
        name = f"layer {path} {module!r}" if path else f"the model, {type(module).__name__},"
        raise ArgumentError(
            f"MicroBatches: {name} {what}, so a batch can't be cut for it; run whole batches"
        )


def settings(module: Module) -> tuple[Any, ...]:
    """What a module is set to: when it changes, so may what the module does."""
    plain = (bool, int, float, str, tuple, type(None))
    return tuple(v for v in vars(module).values() if isinstance(v, plain))


def _tried(model: Module, images: Tensor, with_noise: bool = False) -> Found | None:
    try:
        model = deepcopy(model)
    except Exception:  # it holds what can't be copied, such as a lock: it is tried itself
        if with_noise:
            return None
    if with_noise:
        for p in model.parameters():
            scale = (len(p) / max(1, p.numel())) ** 0.5 if p.ndim > 1 else 0.1  # 1/√fan_in
            p.data = p.detach() + scale * _noise(p)
    layers = list(model.named_modules())
    before = [_remembered(module) for _, module in layers]
    still = random.current().clone()  # while other threads may draw
    with no_grad(), context.using(generator=still):
        _run(model, images, 0)  # what doesn't fit at all is said with the layer's whole path
        found = _first_coupled(model, "", images)
    for (path, module), then in zip(layers, before, strict=True):
        if found is None and _remembered(module) != then:
            found = path, module, KEEPS
    return found


def _noise(t: Tensor) -> Tensor:
    source = random.Generator()
    return creation.randn(*t.shape, generator=source, dtype=t.dtype, device=t.device)


def _noisy(images: Tensor) -> Tensor:
    """Other images of this kind, no two alike."""
    if is_floating(images.dtype):
        return images + 0.1 * _noise(images)
    low, high = (0, 255) if images.dtype == uint8 else (images.array.min(), images.array.max())
    source = random.Generator()
    drawn = creation.randint(int(low), int(high) + 1, images.shape, generator=source)
    return drawn.to(images.device).to(images.dtype)


def _first_coupled(module: Module, path: str, images: Tensor) -> Found | None:
    """The smallest module that couples images; None without one."""
    if type(module).forward is Sequential.forward and "forward" not in vars(module):
        x: Any = images
        for name, child in module.registered(Module).items():
            if child is not None:
                if found := _first_coupled(child, f"{path}.{name}" if path else name, x):
                    return found
                x = _run(child, x, 0)
        return None
    outputs = _run(module, images, 0)
    if _draws(module, images):
        return path, module, DRAWS
    if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(images):
        return path, module, RETURNS
    alone = (_run(module, images[i : i + 1], i) for i in range(len(images)))
    if not all(_equal(outputs[i : i + 1], one, outputs) for i, one in enumerate(alone)):
        return path, module, COUPLES
    return None


def _run(module: Module, images: Tensor, first: int) -> Any:
    generator = random.current().clone()
    with context.using(generator=generator, first_image=first, images=len(images), in_pieces=True):
        return module(images)


def _draws(module: Module, images: Tensor) -> bool:
    """Whether a module takes numbers from Python's or NumPy's own generator, which all threads use.

    They move while it runs, twice, and not while nothing runs, as they would for another thread.
    """

    def moved(work: Callable[[], Any]) -> bool:
        before = states()
        work()
        return before != states()

    def states() -> bytes:
        return pickle.dumps((pythons.getstate(), np.random.get_state()))

    return (
        moved(lambda: _run(module, images, 0))
        and not moved(lambda: time.sleep(0.01))
        and moved(lambda: _run(module, images, 0))
    )


def _equal(a: Tensor, b: Any, beside: Tensor) -> bool:
    """Whether an image's output is the same, to rounding, which may grow through a network.

    What is not finite says nothing: a network that diverges is none that couples images. Rounding
    is relative to what the outputs were made from, of which all outputs `beside` give an idea; and
    a place that is small for all images may still not differ by more than its own size.
    """
    if not isinstance(b, Tensor) or (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    xp, x, y = backend_of(a.array).xp, a.array, b.array
    if not is_floating(a.dtype) or not x.size:
        return bool((x == y).all())
    u = 1e-6 if a.dtype == float64 else 1.0
    with backend_of(x).quiet():
        finite = xp.isfinite(x) & xp.isfinite(y)
        sizes = xp.where(xp.isfinite(beside.array), abs(beside.array), 0)
        overall, own = sizes.max(), sizes.max(axis=0, keepdims=True)
        most = xp.minimum(1e-3 * overall, 1e-2 * own + 1e-5 * overall) * u
        return bool((~finite | (abs(x - y) <= most)).all())


def _remembered(module: Module) -> dict[str, Any]:
    """What a module holds, in such a form that a change shows."""
    values = vars(module).items()
    return {k: _state(v, 4) for k, v in values if not k.startswith("_") or k[1:2] == "_"}


def _state(value: Any, depth: int) -> Any:
    if isinstance(value, Tensor):
        value = value.array
    if is_array(value):
        return tuple(value.shape), hash(backend_of(value).to_host(value).tobytes())
    if isinstance(value, (bool, int, float, str, type(None))):
        return value if value == value else "NaN"
    if not depth or isinstance(value, Module):
        return id(value)
    if isinstance(value, dict):
        return [(repr(k), _state(v, depth - 1)) for k, v in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [_state(v, depth - 1) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    return id(value), _state(getattr(value, "__dict__", None), depth - 1)
