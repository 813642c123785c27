"""PyTorch on the CPU.

`how` is "contiguous", PyTorch's default memory layout, "channels_last", or "compiled":
channels-last, and the model through `torch.compile`, which makes C++ of it as it is first called.
(Compiled by PyTorch 2.13, the gradient of an average pooling is another than its own eager one if
windows hang over, as in `paper`; it is as much work.)
"""

from __future__ import annotations

from typing import Any

import torch

from ..network import draw, initial_parameters, network
from . import LR, MOMENTUM, WEIGHT_DECAY, Job, Step


def step(job: Job) -> Step:
    torch.set_num_threads(job.threads)
    layout = torch.contiguous_format if job.how == "contiguous" else torch.channels_last
    model: Any = network(job.preset, torch.nn)
    with torch.no_grad():
        values = initial_parameters(job.preset)
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    model.to(memory_format=layout)
    model.train(job.what == "train")
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
    criterion = torch.nn.CrossEntropyLoss()
    x, y = (torch.from_numpy(a) for a in draw(job.preset, job.batch))
    x = x.contiguous(memory_format=layout)
    if job.how == "compiled":
        model = torch.compile(model, dynamic=False)

    def train() -> float:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    def predict() -> Any:
        with torch.no_grad():
            return model(x).numpy()

    return train if job.what == "train" else predict
