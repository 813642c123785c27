"""`minicnn.onnx.export`: a model as a file that other programs run, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import atomic, context, random
from ..arguments import ArgumentError, whole
from ..installing import how
from ..nn import Module
from .graph import Graph
from .inputs import Call, another
from .merging import Merger
from .table import REFUSED, ROWS
from .trace import State, Trace, state_of, traced

__all__ = ["export"]

Table = Mapping[Callable[..., Any], Callable[..., Any]]

OPSET = 18
WITHOUT_ROW = (
    "there is no row for this operation; custom_translation_table={operation: row} gives one, as in"
    " minicnn/onnx/table.py"
)
# Arguments of PyTorch's that have no meaning here, and the values with which they ask for nothing.
WITHOUT_MEANING: dict[str, tuple[Any, ...]] = {
    "artifacts_dir": (".",),
    "autograd_inlining": (True, False),
    "custom_opsets": (None,),
    "do_constant_folding": (True, False),
    "dump_exported_program": (False,),
    "dynamo": (True, False),
    "export_modules_as_functions": (False,),
    "external_data": (True, False),
    "operator_export_type": (None,),
    "optimize": (True, False),
    "profile": (False,),
    "report": (False,),
    "training": (None,),
    "verbose": (None, True, False),  # nothing is printed, and nothing of what is exported changes
    "verify": (False,),
}


def export(
    model: Module,
    args: Any = (),
    f: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int | None = None,
    dynamic_shapes: Any = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    export_params: bool = True,
    keep_initializers_as_inputs: bool = False,
    custom_translation_table: Table | None = None,
    **others: Any,
) -> Any:
    """Write what a model computes to an ONNX file `f`, and return it as an `onnx.ModelProto`.

    The model is called as model(*args, **kwargs): with these examples, with other values and a
    longer batch, and with a single row (see merging.py). Each Tensor among the arguments is an
    input of the file, named as the argument of `forward` unless `input_names` say otherwise;
    numbers and None stay what they are. The Tensors that it returns, alone or in tuples, lists or
    dicts, are the outputs. Parameters and buffers have their names of the state dict.

    - `f`: a path, a binary file, or None for no file. A file that is there is replaced whole.
    - `dynamic_axes`, {input: {0: "batch"}} or {input: [0]}, or `dynamic_shapes`, {argument: {0:
      "batch"}} or a tuple of these: the inputs whose first axis may have any length, one for all.
      Without either, they are the first input and all that are as long. (In PyTorch, none.) {} is
      for none. Other axes have the example's lengths.
    - `opset_version`: 18 or later, as far as the installed onnx goes; 18 unless given.
    - `export_params`: False leaves the parameters' values out, which are inputs then.
    - `keep_initializers_as_inputs`: whether they are inputs that have a value if none is given.
    - `custom_translation_table`: {operation: row} for your own operations (see table.py).

    The other arguments of `torch.onnx.export` are accepted where they ask for nothing.

    Raises ArgumentError, naming the operation, for what a graph can't do: an operation without a
    row in the table, dropout in training mode, a value that is read by the program, numbers that
    depend on the input without an operation, and what depends on the batch's length in another way
    than a shape does; and for weights of 2 GiB or more. TypeError for arguments of the wrong kind,
    NotImplementedError for what PyTorch alone has, ModuleNotFoundError without the package onnx,
    and OSError.
    """
    _refuse_others(others)
    if not isinstance(model, Module):
        raise TypeError(f"export: model must be a Module, got {type(model).__name__}")
    library = _library()
    opset, newest = OPSET, library.defs.onnx_opset_version()
    if opset_version is not None:
        opset = whole("export", "opset_version", opset_version)
    if not OPSET <= opset <= newest:
        raise ArgumentError(
            f"export: opset_version must be from {OPSET} to {newest}, the newest that the"
            f" installed onnx knows, got {opset}"
        )
    args = args if isinstance(args, tuple) else (args,)
    call = Call(model.forward, args, dict(kwargs or {}))
    state = state_of(model.state_dict())
    weights = [constant.name for _, constant in state if constant.name is not None]
    names = _names("input_names", input_names, [i.name for i in call.inputs], weights)
    for each, name in zip(call.inputs, names, strict=True):
        each.name = name
    call.vary(dynamic_axes, dynamic_shapes)
    table = {**ROWS, **(custom_translation_table or {})}
    trace = _trace(model, call, state, table)
    several = len(trace.outputs) > 1
    default = [f"output_{i}" if several else "output" for i in range(len(trace.outputs))]
    outputs = _names("output_names", output_names, default, [*weights, *names])
    if axes := [name for name in dynamic_axes or {} if name not in (*names, *outputs)]:
        raise ArgumentError(f"export: dynamic_axes: there is no input or output {axes[0]!r}")
    graph = Graph(library, call.inputs, [*weights, *outputs])
    for step in trace.steps:
        args, kwargs = graph.operands((step.args, step.kwargs))
        try:
            graph.name(step.output, table[step.operation](graph, *args, **kwargs))
        except (ArgumentError, OverflowError) as error:
            raise ArgumentError(f"export: {step.operation.__name__}: {error}") from None
    graph.finish(trace, outputs)
    proto = graph.model(type(model).__name__, opset, export_params, keep_initializers_as_inputs)
    if hasattr(f, "write"):
        f.write(proto.SerializeToString())
    elif f is not None:
        atomic.write(f, proto.SerializeToString())
    return proto


def _refuse_others(others: dict[str, Any]) -> None:
    for name, value in others.items():
        if name not in WITHOUT_MEANING:
            raise TypeError(f"export() got an unexpected keyword argument {name!r}")
        if not any(value is accepted or value == accepted for accepted in WITHOUT_MEANING[name]):
            raise NotImplementedError(f"export: {name}={value!r} is not supported")


def _library() -> Any:
    try:
        import onnx
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"export: the package onnx is not installed: {how('onnx')}"
        ) from None
    return onnx


def _names(
    argument: str, given: Sequence[str] | None, default: list[str], taken: list[str]
) -> list[str]:
    """Names that are given, or else the default's: as many, all different, and not taken."""
    names = default if given is None else list(given)
    if len(names) != len(default) or isinstance(given, str):
        raise ArgumentError(f"export: {argument} must be {len(default)} names, got {given!r}")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name or name in names[:i]:
            raise ArgumentError(f"export: {argument} must be different names, got {names}")
        if name in taken:
            raise ArgumentError(
                f"export: {name!r} is the name of another tensor of the model; give {argument}"
            )
    return names


def _trace(model: Module, call: Call, state: State, table: Table) -> Trace:
    """The trace of any batch, from calls of the example, of a longer batch, and of a single row.

    ArgumentError for an operation without a row.
    """
    examples = [each.example for each in call.inputs]
    batch = next((each for each in call.inputs if each.batch is not None), None)
    few = 0 if batch is None else len(batch.example)
    others = [another(each.example, longer=each.batch is not None) for each in call.inputs]
    calls = [((few, 2 * few + 1 if few else 0), others)]
    if few > 1:  # a batch of 1 is special where axes of length 1 are taken away
        single = [
            each.example[:1] if each.batch is not None else each.example for each in call.inputs
        ]
        calls.append(((few, 1), single))
    # What the model draws is no concern of the program's own generator.
    with context.using(generator=random.current().clone()):
        one = traced(lambda tensors: call.run(model, tensors), examples, state)
        for step in one.steps:
            if step.operation not in table:
                reason = REFUSED.get(step.operation, WITHOUT_ROW)
                raise ArgumentError(f"export: {step.operation.__name__}: {reason}")
        merged = []
        for rows, inputs in calls:
            try:
                other = traced(lambda tensors: call.run(model, tensors), inputs, state)
            except ArgumentError as error:
                if batch is None or str(error).startswith("export:"):
                    raise
                raise ArgumentError(
                    f"export: the model takes a batch of {rows[0]}, and not of {rows[1]}: {error};"
                    " dynamic_axes={} exports for the example's batch alone"
                ) from error
            merged.append(Merger(rows, (batch and batch.batch) or "").merged(one, other))
    return merged[0]
