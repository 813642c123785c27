"""ONNX Runtime's CPU provider, which only predicts."""

from __future__ import annotations

from typing import Any

import onnxruntime

from ..network import draw
from . import Job, Step
from .onnx_model import onnx_model


def step(job: Job) -> Step:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        onnx_model(job.preset, job.batch), options, providers=["CPUExecutionProvider"]
    )
    images, _ = draw(job.preset, job.batch)

    def predict() -> Any:
        return session.run(["logits"], {"images": images})[0]

    return predict
