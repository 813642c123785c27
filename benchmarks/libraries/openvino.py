"""OpenVINO on the CPU, which only predicts."""

from __future__ import annotations

from typing import Any

import openvino

from ..network import draw
from . import Job, Step
from .onnx_model import onnx_model

SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",  # one batch after another, each on all threads
    "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bfloat16 where the processor has it
}


def step(job: Job) -> Step:
    core = openvino.Core()
    model = core.read_model(onnx_model(job.preset, job.batch))
    settings = {**SETTINGS, "INFERENCE_NUM_THREADS": job.threads}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    images, _ = draw(job.preset, job.batch)
    given = openvino.Tensor(images, shared_memory=True)

    def predict() -> Any:
        request.infer([given])
        return request.get_output_tensor().data

    return predict
