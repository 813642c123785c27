"""`Module`: a function with parameters, and a tree of further modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ..backends import backend_of
from ..dtype import float32, float64, is_floating
from ..functional import ShapeError
from ..tensor import Tensor

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that a module learns: found by `parameters()`, with `requires_grad` set."""

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        super().__init__(data.array, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Module:
    """Base class of layers and networks, as `torch.nn.Module`.

    A subclass calls `super().__init__()`, sets parameters and modules as attributes, and defines
    `forward`. Modules are called like functions.
    """

    training: bool

    def __init__(self) -> None:
        self.training = True
        self._parameters: dict[str, Parameter | None] = {}
        self._modules: dict[str, Module] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Module)):
            if "_modules" not in self.__dict__:
                raise AttributeError(
                    f"{type(self).__name__}: call super().__init__() before setting {name!r}"
                )
            (self._parameters if isinstance(value, Parameter) else self._modules)[name] = value  # type: ignore[assignment]
        elif name in self.__dict__.get("_parameters", ()):
            if value is not None:
                raise TypeError(f"{name} must be a Parameter or None, got {type(value).__name__}")
            self._parameters[name] = None
        object.__setattr__(self, name, value)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set a parameter, or None where a layer goes without it, as for bias=False."""
        self._parameters[name] = parameter
        object.__setattr__(self, name, parameter)

    def forward(self, *inputs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        try:
            return self.forward(*inputs, **named)
        except ShapeError as error:
            # Each module on the way out knows the layer by a longer path; the outermost wins.
            origin = error.__dict__.setdefault("module", self)
            path = next((name for name, m in self.named_modules() if m is origin), "")
            error.layer = f"{path} {origin!r}" if path else repr(origin)
            raise

    # --- the tree --------------------------------------------------------------------------------

    def children(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths: "", "0", "0.weight"'s "0", …"""
        yield prefix, self
        for name, child in self._modules.items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its path."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{path}.{name}" if path else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def apply(self: Self, function: Callable[[Module], Any]) -> Self:
        """Call function(module) on every module below and then on this one."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # --- state -----------------------------------------------------------------------------------

    def state_dict(self) -> OrderedDict[str, Tensor]:
        """The parameters by path, detached, in shared memory."""
        return OrderedDict((name, p.detach()) for name, p in self.named_parameters())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy values, Tensors or NumPy arrays by path, into the parameters.

        Raises RuntimeError, and changes nothing, if a shape differs or, when `strict`, if a name is
        missing or unexpected.
        """
        own = dict(self.named_parameters())
        problems = []
        if strict:
            problems += [f"missing {name!r}" for name in own if name not in state_dict]
            problems += [f"unexpected {name!r}" for name in state_dict if name not in own]
        for name, value in state_dict.items():
            if name in own and tuple(value.shape) != own[name].shape:
                problems.append(
                    f"{name!r} has shape {tuple(value.shape)}, the model's is {own[name].shape}"
                )
        if problems:
            raise RuntimeError(f"load_state_dict: {type(self).__name__}: " + "; ".join(problems))
        for name, value in state_dict.items():
            if name in own:
                backend = backend_of(own[name].array)
                if isinstance(value, Tensor):
                    value = value.to(own[name].device).array
                own[name].array[...] = backend.asarray(value, dtype=own[name].dtype)

    def train(self: Self, mode: bool = True) -> Self:
        """Training behaviour (dropout drops) here and below, or with mode=False that of `eval`."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Evaluation behaviour here and below."""
        return self.train(False)

    def to(self: Self, *targets: Any, **named: Any) -> Self:
        """Move the parameters, in place, to a device or a floating-point dtype."""
        for parameter in self.parameters():
            moved = parameter.detach().to(*targets, **named)
            if not is_floating(moved.dtype):
                raise TypeError(f"to(): a module can't be {moved.dtype}, only floating point")
            parameter.data = moved
            if parameter.grad is not None:
                parameter.grad = parameter.grad.to(*targets, **named)
        return self

    def cuda(self: Self) -> Self:
        return self.to("cuda")

    def cpu(self: Self) -> Self:
        return self.to("cpu")

    def float(self: Self) -> Self:
        return self.to(float32)

    def double(self: Self) -> Self:
        return self.to(float64)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def extra_repr(self) -> str:
        """What stands between the brackets of a layer's repr."""
        return ""

    def __repr__(self) -> str:
        if not self._modules:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [
            f"  ({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()
        ]
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"
