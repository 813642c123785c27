"""minicnn: `how` is the convolution algorithm, for micro-batches as `nin.train` takes them.

"threads-" before it keeps them in one process, "loop-" means a loop of one's own without any.
"""

from __future__ import annotations

from typing import Any

import threadpoolctl

import minicnn
from minicnn import context, nn, optim
from minicnn.parallel import MicroBatches
from minicnn.processes import AVAILABLE, Processes
from nin.presets import PRESETS

from ..network import draw, initial_parameters
from . import LR, MOMENTUM, WEIGHT_DECAY, Job, Step


def step(job: Job) -> Step:
    preset = PRESETS[job.preset]
    model = preset.build()
    with minicnn.no_grad():
        values = initial_parameters(job.preset)
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(minicnn.from_numpy(value))
    optimizer = optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
    criterion = nn.CrossEntropyLoss()
    x, y = (minicnn.tensor(a) for a in draw(job.preset, job.batch))
    threadpoolctl.threadpool_limits(job.threads, user_api="blas")
    how, _, algorithm = job.how.rpartition("-")
    context.set_default(conv_algorithm=algorithm)
    model.train(job.what == "train")
    kind = Processes if AVAILABLE and not how else MicroBatches
    batches = kind(model, threads=job.threads, micro_batch=preset.micro_batch)

    def train() -> float:
        optimizer.zero_grad()
        loss = batches.backward(criterion, x, y)
        optimizer.step()
        return loss

    def train_in_own_loop() -> float:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def predict_in_own_loop() -> Any:
        with minicnn.no_grad():
            return model(x).numpy()

    if how == "loop":
        return train_in_own_loop if job.what == "train" else predict_in_own_loop
    return train if job.what == "train" else lambda: batches.predict(x).numpy()
