"""`Module`: a function with parameters, and a tree of further modules."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..arguments import ArgumentError
from ..backends import Array, as_array, backend_of, host, is_array
from ..creation import zeros
from ..dtype import float32, float64, is_floating
from ..elementwise import tensor_argument
from ..tensor import Tensor
from ..versions import changed_in_place
from .functional import ShapeError

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that is learnt: `parameters()` returns it, and it requires grad."""

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        array = tensor_argument("Parameter", "data", data).array
        super().__init__(array, requires_grad=requires_grad)
        data._seen_in(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy without the gradient, as in PyTorch."""
        twin = super().__deepcopy__(memo)
        twin.grad_array = None
        return twin

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known yet. To look at its values raises ArgumentError.

    When it is given an array, it becomes a Parameter, for all that hold it.
    """

    def __init__(self, device: Any = None, dtype: Any = None) -> None:
        self.like = zeros(0, device=device, dtype=dtype)  # the device and type it will have
        self.needs_grad = True

    @property
    def array(self) -> Array:
        raise ArgumentError(
            "a lazy layer's parameter has no shape before the layer's first call: call the model on"
            " a batch before you look at its parameters"
        )

    @array.setter
    def array(self, value: Array) -> None:
        del self.like
        self.__class__ = Parameter  # type: ignore[assignment]
        self.array = value

    @property
    def data(self) -> Tensor:
        """An empty tensor, as in PyTorch. What is written into it is lost, there as here."""
        warnings.warn(
            "what is written into a lazy layer's parameter before the layer's first call comes to"
            " nothing, in PyTorch as here: its values are drawn then",
            stacklevel=2,
        )
        return self.like

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = tensor_argument("data", "value", value).array

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin = memo[id(self)] = type(self)(self.like.device, self.like.dtype)
        return twin

    def __repr__(self) -> str:
        return "<UninitializedParameter>"


class Registered(dict[str, Any]):
    """The submodules of a module by name, as a dict; to set or delete an entry changes the module.

    PyTorch keeps them in `_modules`, which some programs use.
    """

    def __init__(self, module: Module) -> None:
        super().__init__(module.registered(Module))
        self.module = module

    def __setitem__(self, name: str, value: Any) -> None:
        self.module.add_module(name, value)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        delattr(self.module, name)


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns: the names that were missing, and those it didn't expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        missing, unexpected = self
        return f"_IncompatibleKeys(missing_keys={missing!r}, unexpected_keys={unexpected!r})"


class Module:
    """Base class of layers and networks, as `torch.nn.Module`.

    A subclass calls `super().__init__()`, sets parameters and modules as attributes, and defines
    `forward`. Modules are called like functions.

    Anything can be set as an attribute. `_kinds` has the names of those attributes that belong to
    the tree or to the state, and what they are: Parameter, Module, or Tensor for a tensor that is
    saved but not learnt (a buffer). Each of them may also be None.

    A module whose arguments are its fields is a dataclass, with eq=False and repr=False. A field
    that is `arguments.checked` is checked whenever it is set, by the constructor or later. The repr
    shows the fields, except those with repr=False and what is registered.
    """

    training: bool

    def __init__(self) -> None:
        self._kinds: dict[str, type] = {}
        self.training = True

    def __post_init__(self) -> None:
        Module.__init__(self)

    # --- attributes ------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """What there is is found without this."""
        hint = "; call super().__init__() first" if name == "_kinds" else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Register a parameter or module; None in the place of one leaves the name without it.

        Raises TypeError for anything else in the place of what is registered.
        """
        field = _fields(self).get(name)
        if field and "check" in field.metadata and not value is field.default is None:
            value = field.metadata["check"](type(self).__name__, name, value)
        kind = self.__dict__.get("_kinds", {}).get(name)
        if isinstance(value, Parameter):
            kind = Parameter
        elif isinstance(value, Module) and kind is not Parameter:
            kind = Module
        if kind is None:
            object.__setattr__(self, name, value)
        else:
            self._register(kind, name, value, self._of_class(name))

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in self._kinds:
            self._kinds = {n: kind for n, kind in self._kinds.items() if n != name}

    def _of_class(self, name: str) -> bool:
        """Whether a name is the class's, and not just a field's with a default."""
        return hasattr(type(self), name) and name not in _fields(self)

    def registered(self, kind: type) -> dict[str, Any]:
        """This module's own parameters (Parameter), buffers (Tensor) or modules (Module), by name.

        Each may be None. The dict is a copy.
        """
        return {name: self.__dict__[name] for name, k in self._kinds.items() if k is kind}

    @property
    def _modules(self) -> Registered:
        return Registered(self)

    def _register(self, kind: type, name: str, value: Any, taken: bool | None = None) -> None:
        where = f"{type(self).__name__}: {name}"
        if "_kinds" not in self.__dict__:
            raise AttributeError(f"{where}: call super().__init__() before setting it")
        if not isinstance(name, str):
            raise TypeError(f"{where}: a name must be a str, got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"{where!r}: a name must not be empty or contain a dot")
        known = self._kinds.get(name) is kind
        if taken is None:
            taken = (name in self.__dict__ or self._of_class(name)) and not known
        if taken:
            raise KeyError(f"{where}: there is an attribute of this name")
        if value is not None and not isinstance(value, kind):
            got = type(value).__name__
            raise TypeError(f"{where} must be a {kind.__name__} or None, got {got}")
        if isinstance(value, Module) and any(module is self for module in value.modules()):
            raise ArgumentError(f"{where}: a module can't contain itself")
        if not known:  # it comes last; in a dict of its own, as a copy.copy has the one before
            self._kinds = {**{n: k for n, k in self._kinds.items() if n != name}, name: kind}
        self.__dict__[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set a parameter, or None if the layer has none, as with bias=False.

        Like `register_buffer` and `add_module`, raises KeyError for a name that is empty, has a dot
        or is in use for something else, and TypeError for a value of another kind.
        """
        self._register(Parameter, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set a tensor that is saved and moved with the module, but not learnt."""
        if not persistent:
            raise NotImplementedError(
                "register_buffer: persistent must be True; what is not to be saved can be a plain"
                " attribute"
            )
        self._register(Tensor, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Set a module, or None."""
        self._register(Module, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # --- calls -----------------------------------------------------------------------------------

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

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules, each once, with their names."""
        seen: set[Module] = set()
        for name, module in self.registered(Module).items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all its submodules, with their paths: "", "0", "0.1", …

        A module that is in several places comes once, with its first path, unless
        `remove_duplicate` is False. Modules in `memo` are skipped.
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self.registered(Module).items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def _named(
        self, kind: type, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        places = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        seen: set[int] = set()
        for path, module in places if recurse else [(prefix, self)]:
            for name, value in module.registered(kind).items():
                if value is not None and id(value) not in seen:
                    if remove_duplicate:
                        seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its (first) path; `recurse=False` for this module's own."""
        return self._named(Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, with its (first) path."""
        return self._named(Tensor, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call fn(module) for every submodule, and then for this module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # --- state -----------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "") -> OrderedDict[str, Tensor]:
        """Parameters and buffers by path, detached, in shared memory.

        A parameter that is in several places has an entry for each, as in PyTorch.
        """
        state = OrderedDict()
        for path, module in self.named_modules(remove_duplicate=False):
            for kind in (Parameter, Tensor):
                for name, value in module._named(kind, path, False, False):
                    state[prefix + name] = value.detach()
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values, Tensors or arrays by path, into the parameters and buffers.

        Raises RuntimeError, and changes nothing, if a shape differs, if a value can't be used
        (a list, complex numbers, or integers that the parameter's type can't hold) or, with
        `strict`, if a name is missing or unexpected.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict: expected values by name, got {type(state_dict).__name__}"
            )
        if assign:
            raise NotImplementedError(
                "load_state_dict: assign must be False: values are copied into the parameters"
            )
        for path, module in self.named_modules():
            module.prepare_to_load(state_dict, f"{path}." if path else "")
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict:
            problems += [f"missing {name!r}" for name in missing]
            problems += [f"unexpected {name!r}" for name in unexpected]
        values = {}  # all in memory of their own, as they may share that of the parameters
        for name in own:
            if name in state_dict:
                try:
                    values[name] = value_for(own[name], state_dict[name])
                except ArgumentError as error:
                    problems.append(f"{name!r} {error}")
        if problems:
            raise ArgumentError(f"load_state_dict: {type(self).__name__}: " + "; ".join(problems))
        for name, value in values.items():
            changed_in_place(own[name].array, "load_state_dict")
            own[name].array[...] = value
        return IncompatibleKeys(missing, unexpected)

    def prepare_to_load(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """A hook of this module, called before its values are loaded; their names have a prefix."""

    def train(self: Self, mode: bool = True) -> Self:
        """Let this module and its submodules behave as in training (dropout drops), or, with
        mode=False, as in evaluation."""
        if not isinstance(mode, bool):
            raise ArgumentError(f"train: mode must be True or False, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Let this module and its submodules behave as in evaluation (dropout does nothing)."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Let all parameters require grad, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def to(self: Self, *targets: Any, **named: Any) -> Self:
        """Move parameters and buffers, in place, to a device, or to float32 or float64.

        Tensors of integers keep their type. Raises TypeError for another type.
        """
        dtype = zeros(()).to(*targets, **named).dtype
        if dtype not in (float32, float64):
            raise TypeError(f"to(): a module can be float32 or float64, got {dtype}")
        for tensor in (*self.parameters(), *self.buffers()):
            if isinstance(tensor, UninitializedParameter):
                tensor.like = tensor.like.to(*targets, **named)
                continue
            moved = tensor.detach().to(*targets, **named)
            if not is_floating(tensor.dtype):
                moved = tensor.detach().to(moved.device)
            if moved.array is not tensor.array:
                tensor.data = moved
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.to(*targets, **named)
        return self

    def cuda(self: Self) -> Self:
        return self.to("cuda")

    def cpu(self: Self) -> Self:
        return self.to("cpu")

    def float(self: Self) -> Self:
        return self.to(float32)

    def double(self: Self) -> Self:
        return self.to(float64)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Delete the gradients of all parameters, or set them to 0."""
        zero_grad(self.parameters(), set_to_none)

    def extra_repr(self) -> str:
        """The arguments that the repr of a layer shows in its parentheses."""
        arguments: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        names = [field.name for field in arguments if field.repr and field.name not in self._kinds]
        return ", ".join(f"{n}={getattr(self, n)}" for n in names if hasattr(self, n))

    def __repr__(self) -> str:
        name, extra, modules = type(self).__name__, self.extra_repr(), self.registered(Module)
        if not modules:
            return f"{name}({extra})"
        lines = extra.splitlines() + [f"({name}): {m!r}" for name, m in modules.items()]
        lines = ["  " + line.replace("\n", "\n  ") for line in lines]
        return f"{name}(\n" + "\n".join(lines) + "\n)"


def _fields(module: Module) -> dict[str, Field[Any]]:
    """The arguments that a module is a record of, if it is one."""
    found: dict[str, Field[Any]] = getattr(type(module), "__dataclass_fields__", {})
    return found


def zero_grad(parameters: Iterable[Tensor], set_to_none: bool) -> None:
    """Delete the gradients of parameters, or set them to 0."""
    for p in parameters:
        if set_to_none:
            p.grad_array = None
        elif p.grad_array is not None:
            changed_in_place(p.grad_array, "zero_grad")
            p.grad_array[...] = 0


def value_for(target: Tensor, value: Any) -> Array:
    """A value for a parameter: in memory of its own, on its device, of its type.

    Raises ArgumentError, to be read after the parameter's name, for one that does not fit.
    """
    try:
        if not isinstance(value, Tensor):
            ours = is_array(value) or isinstance(value, np.ndarray)
            foreign = hasattr(value, "__array__") and not ours  # another library's
            value = Tensor(as_array(np.asarray(value) if foreign else value))
    except TypeError as error:
        raise ArgumentError(f"must be a Tensor or an array: {error}") from None
    if value.shape != target.shape:
        raise ArgumentError(f"has shape {value.array.shape}, the model's is {target.array.shape}")
    x, dtype = value.detach().to(target.device).array, target.dtype
    backend = backend_of(x)
    if x.dtype.kind == "c" != dtype.kind:
        raise ArgumentError(f"is {x.dtype}, the model's is {dtype}")
    with backend.quiet():
        y = x.astype(dtype)
        if is_floating(x.dtype) and is_floating(dtype):
            kept = backend.xp.isfinite(x) == backend.xp.isfinite(y)
        else:  # on the host: to a GPU, what is too large for an integer is the largest one
            given = backend.to_host(x)
            with host.quiet():
                kept = given.astype(dtype).astype(given.dtype) == given
    if not kept.all():
        raise ArgumentError(f"is {x.dtype} and has numbers that {dtype} can't hold")
    return y
