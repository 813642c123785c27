"""What to say when memory has run out, and what would fit."""

from __future__ import annotations

import minicnn
from minicnn import distributed
from minicnn.utils.data import DataLoader

from .command_line import Failure
from .data import Data
from .executors import Whole
from .fit import Training


def before_the_first_step(device: minicnn.device, data: Data, error: Exception) -> Failure:
    """The network and the data do not fit."""
    memory = "memory" if device.type == "cpu" else "GPU memory"
    return Failure(
        f"out of {memory} before the first step, with the network, {data.sizes}: {error}"
    )


def in_a_step(training: Training) -> Failure:
    """A step did not fit. The training can't go on after it was tried what does."""
    size = training.preset.batch_size
    if training.device.type == "cpu":
        return Failure(f"out of memory with batches of {size}: try a smaller --micro-batch")
    if distributed.get_world_size() > 1:  # no rank can try a step alone
        return Failure(f"out of GPU memory with batches of {size}: try smaller ones, or more ranks")
    try:
        fits = _largest_batch(training)
    except Exception as error:
        if not training.device.backend.out_of_memory(error):
            raise
        fits = 0
    advice = f"batches of {fits} fit: --batch-size {fits}" if fits else "not even one image fits"
    return Failure(f"out of GPU memory with batches of {size}; {advice}")


def _largest_batch(training: Training) -> int:
    """The batch size, halved from the preset's, with which a step fits, or 0."""
    backend, size = training.device.backend, training.preset.batch_size
    training.use(Whole(training.model))  # the graphs' memory goes with them
    while size := size // 2:
        training.optimizer.zero_grad()
        backend.free_unused()
        try:
            images, labels = next(iter(DataLoader(training.train_loader.dataset, size)))
            training.step(images.to(training.device), labels.to(training.device))
        except Exception as error:
            if not backend.out_of_memory(error):
                raise
            continue
        return size
    return 0
