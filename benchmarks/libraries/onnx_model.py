"""The preset's network as an ONNX model, for the runtimes that only predict."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from ..network import (
    IMAGE_SIZE,
    Conv,
    Dropout,
    GlobalAverage,
    Layer,
    Pool,
    Relu,
    initial_parameters,
    layers,
)

OPSET, IR_VERSION = 18, 8  # the one that came with that set of operators


def onnx_model(preset: str, batch: int) -> bytes:
    """The network with its initial parameters, for (batch, 1, size, size) → (batch, classes).

    Without dropout, which a prediction has not.
    """
    parts = layers(preset)
    size, values = IMAGE_SIZE[preset], initial_parameters(preset)
    model = helper.make_model(
        graph(parts, values, (batch, 1, size, size)),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def graph(parts: list[Layer], values: list[Any], shape: tuple[int, ...]) -> Any:
    """The layers as a graph from "images" to "logits"."""
    nodes: list[Any] = []
    constants: list[Any] = []
    mine, now = iter(values), "images"

    def constant(value: Any) -> str:
        name = f"constant{len(constants)}"
        constants.append(numpy_helper.from_array(value, name))
        return name

    def append(operator: str, *others: str, **attributes: Any) -> None:
        nonlocal now
        result = f"{operator.lower()}{len(nodes)}"
        nodes.append(helper.make_node(operator, [now, *others], [result], **attributes))
        now = result

    for layer in parts:
        if isinstance(layer, Conv):
            weight, bias = constant(next(mine)), constant(next(mine))
            pads = [*layer.padding, *layer.padding]
            append("Conv", weight, bias, strides=layer.stride, pads=pads)
        elif isinstance(layer, Relu):
            append("Relu")
        elif isinstance(layer, Pool):
            window = {"kernel_shape": layer.kernel, "strides": layer.stride}
            (top, below), (left, right) = layer.around
            pads = [top, left, below, right]
            if layer.kind == "max":
                append("MaxPool", **window, pads=pads)
                continue
            if layer.counts_padding:
                if any(layer.padding):
                    # Counted zeros are put there: what is left to AveragePool is never counted.
                    zeros = [0, 0, *layer.padding, 0, 0, *layer.padding]
                    append("Pad", constant(np.array(zeros, np.int64)))
                pads = [0, 0, *layer.overhang]
            append("AveragePool", **window, pads=pads, count_include_pad=0)
        elif isinstance(layer, GlobalAverage):
            append("GlobalAveragePool")
            append("Flatten", axis=1)
        else:
            assert isinstance(layer, Dropout)
    nodes[-1].output[0] = "logits"
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], None])
    return helper.make_graph(nodes, "network", [images], [logits], constants)
