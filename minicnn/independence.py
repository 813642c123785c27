"""Whether a model treats the images of a batch independently, so that a batch can be cut.

It is found out by trying: a few images together must give what each gives alone.
"""

from __future__ import annotations

from typing import Any

from . import creation, random
from .autograd import no_grad
from .backends import backend_of, is_array
from .dtype import float64, is_floating
from .nn.container import Sequential
from .nn.module import Module
from .tensor import Tensor
from .versions import version

IMAGES = 3


def refuse_coupled(model: Module, x: Tensor) -> None:
    """Raise ValueError, naming the layer, for a model that x (N, …) can't be cut for.

    That is one whose output for an image depends on the others, such as batch normalisation; one
    that draws numbers which don't belong to an image, as with `randn` in its forward; and one that
    keeps something of what it saw, since it would keep a piece's. Takes `IMAGES` of the images
    through the model, with some noise on them, as equal images would hide a dependence.
    """
    images = x.detach()[:IMAGES]
    if is_floating(x.dtype):
        noise = creation.randn(
            *images.shape,
            generator=random.Generator(),
            dtype=x.dtype,
            device=x.device,
        )
        images = images + 0.1 * noise
    layers = list(model.named_modules())
    before = [_remembered(module) for _, module in layers]
    with no_grad():
        found = _first_coupled(model, "", images)
    for (path, module), then in zip(layers, before, strict=True):
        if found is None and _remembered(module) != then:
            found = path, module, "keeps something of the images that it saw"
    if found is not None:
        path, module, what = found
        name = f"layer {path} {module!r}" if path else f"the model, {type(module).__name__},"
        raise ValueError(
            f"MicroBatches: {name} {what}, so a batch can't be cut for it; run whole batches"
        )


def _first_coupled(module: Module, path: str, images: Tensor) -> tuple[str, Module, str] | None:
    """The smallest module that couples images, with its path and what it does; None without one."""
    outputs = _run(module, images, 0)
    if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(images):
        what = "does not return a Tensor with a row for each image"
    elif not all(
        _equal(outputs[i : i + 1], _run(module, images[i : i + 1], i)) for i in range(len(images))
    ):
        what = "gives an image another output beside other images than alone"
    else:
        return None
    if isinstance(module, Sequential):
        x = images
        for name, child in module._modules.items():
            if child is None:
                continue
            if found := _first_coupled(child, f"{path}.{name}" if path else name, x):
                return found
            x = _run(child, x, 0)
    return path, module, what


def _run(module: Module, images: Tensor, first: int) -> Any:
    with random.drawing(random.current().generator.clone(), first):
        return module(images)


def _equal(a: Tensor, b: Any) -> bool:
    """Whether they are equal to rounding, which may grow on its way through a network.

    What is not finite says nothing: a network that diverges is none that couples images.
    """
    if not isinstance(b, Tensor) or (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    xp = backend_of(a.array).xp
    tolerance = 1e-9 if a.dtype == float64 else 1e-3
    x, y = a.array, b.array
    if not x.size:
        return True
    with backend_of(x).quiet():
        finite = xp.isfinite(x) & xp.isfinite(y)
        scale = xp.where(finite, abs(x), 0).max()
        same = ~finite | (abs(x - y) <= tolerance * scale)
    return bool(same.all())


def _remembered(module: Module) -> dict[str, Any]:
    """What a module holds, in such a form that a change shows."""
    return {
        name: _state(value)
        for name, value in [*vars(module).items(), *module._parameters.items()]
        if name not in ("_parameters", "_modules")
    }


def _state(value: Any) -> Any:
    if isinstance(value, Tensor):
        return id(value), id(value.array), version(value.array)
    if is_array(value):
        return id(value), hash(backend_of(value).to_host(value).tobytes())
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return id(value), list(value), [_state(v) for v in value.values()]
    if isinstance(value, (list, set)):
        return id(value), [_state(v) for v in value]
    return id(value)
