"""The arguments of a call: which tensors among them are inputs, and other examples of these."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arguments import ArgumentError, ArgumentTypeError
from ..creation import cat, randint, randn
from ..dtype import is_floating, uint8
from ..random import Generator
from ..tensor import Tensor
from .trace import mapped


@dataclass
class Input:
    """A tensor among the arguments; `batch` is the name of its first axis, if that may vary."""

    name: str
    argument: str
    example: Tensor
    batch: str | None = None


class Call:
    """A call's arguments, from which others like it can be made; `inputs` are its tensors.

    Raises TypeError for arguments that `forward` does not take, and ArgumentError for an array.
    """

    def __init__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        try:
            self._bound = inspect.signature(forward).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"export: args do not go with the model's forward(): {error}") from None
        arguments = self._bound.arguments
        self.inputs = [
            Input(name, argument, tensor)
            for argument, value in arguments.items()
            for name, tensor in _named(argument, value)
        ]

    def run(self, model: Callable[..., Any], tensors: Sequence[Tensor]) -> Any:
        """What the model gives with these tensors in the place of the inputs."""
        left = iter(tensors)
        arguments = dict(self._bound.arguments)
        filled = mapped(arguments, lambda x: isinstance(x, Tensor), lambda _: next(left))
        bound = inspect.BoundArguments(self._bound.signature, filled)
        return model(*bound.args, **bound.kwargs)

    def vary(self, axes: Any, shapes: Any) -> None:
        """Say which inputs are batches, as `export` takes `dynamic_axes` and `dynamic_shapes`."""
        if axes is not None and shapes is not None:
            raise ArgumentError("export: dynamic_axes and dynamic_shapes say the same; give one")
        if axes is None and shapes is None:
            first = next((len(i.example) for i in self.inputs if i.example.ndim), None)
            for each in self.inputs:
                if each.example.ndim and len(each.example) == first:
                    each.batch = "batch"
        elif axes is not None:
            for each in self.inputs:
                each.batch = _batch(f"dynamic_axes of {each.name!r}", axes.get(each.name))
        else:
            names = list(self._bound.arguments)
            given = (
                shapes if isinstance(shapes, Mapping) else dict(zip(names, shapes, strict=False))
            )
            if unknown := [name for name in given if name not in names]:
                raise ArgumentError(f"export: dynamic_shapes: forward() takes no {unknown[0]!r}")
            for each in self.inputs:
                each.batch = _batch(
                    f"dynamic_shapes of {each.argument!r}", given.get(each.argument)
                )
        self._check_batches()

    def _check_batches(self) -> None:
        batches = [each for each in self.inputs if each.batch is not None]
        for each in batches:
            if not each.example.ndim:
                raise ArgumentError(f"export: {each.name!r} has no axis that could be a batch")
            same = each.batch == batches[0].batch
            if not same or len(each.example) != len(batches[0].example):
                raise ArgumentError(
                    f"export: all inputs are of one batch, and {each.name!r} has"
                    f" {len(each.example)} rows of {each.batch!r} where {batches[0].name!r} has"
                    f" {len(batches[0].example)} of {batches[0].batch!r}"
                )
            if not len(each.example):
                raise ArgumentError(f"export: the example of {each.name!r} has no rows")


def _named(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in an argument: of several, each has its number or key in the name, too."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _named(f"{name}_{key}", each)
    elif isinstance(value, (tuple, list)):
        for number, each in enumerate(value):
            yield from _named(f"{name}_{number}", each)
    elif hasattr(value, "__array__"):
        raise ArgumentTypeError(
            f"export: argument {name} must be a Tensor, got {type(value).__name__};"
            " minicnn.tensor(…) makes one"
        )


def _batch(where: str, axes: Any) -> str | None:
    """The name of axis 0 in {0: name}, [0] or (name, None, …); None if it does not vary.

    A name is a text, or whatever has a __name__ as PyTorch's Dim, or else "batch". Raises
    ArgumentError for another axis.
    """
    if axes is None:
        return None
    if isinstance(axes, Mapping):
        named = dict(axes)
    elif isinstance(axes, tuple):
        named = dict(enumerate(axes))
    else:
        named = dict.fromkeys(axes, "batch")
    named = {axis: name for axis, name in named.items() if not isinstance(name, (int, type(None)))}
    if others := [axis for axis in named if axis != 0]:
        raise ArgumentError(f"export: {where}: only axis 0, the batch, may vary, not {others[0]!r}")
    if not named:
        return None
    name = named[0]
    return name if isinstance(name, str) else str(getattr(name, "__name__", "batch"))


def another(example: Tensor, longer: bool) -> Tensor:
    """A tensor like an example, with other numbers, and perhaps with 2n+1 rows in place of n.

    So a model that goes in pairs has both even and odd batches to go through, or it has no pairs.
    """
    x = example.detach()
    if longer:
        x = cat([x, x, x[:1]])
    if not x.numel():
        return x
    source = Generator()
    if is_floating(x.dtype):
        noise = randn(*x.shape, generator=source, dtype=x.dtype, device=x.device)
        return x + (x.abs() + 1) * 0.1 * noise
    low, high = (0, 255) if x.dtype == uint8 else (int(x.array.min()), int(x.array.max()))
    return randint(low, high + 1, x.shape, generator=source).to(x.device).to(x.dtype)
