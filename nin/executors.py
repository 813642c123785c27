"""What takes batches through a model: in micro-batches on threads, whole, or as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import minicnn
from minicnn import Tensor, nn, no_grad, optim
from minicnn.capture import Captured
from minicnn.dtype import DType
from minicnn.parallel import Criterion, MicroBatches

from .presets import Preset

Step = Callable[[Tensor, Tensor], None]


class Executor(Protocol):
    """What a training and a test need; they know nothing of threads and graphs."""

    model: nn.Module
    knows_losses: bool  # whether a loss can be looked at without waiting for a device
    loss_dtype: DType

    def prepare(self, step: Step, optimizer: optim.SGD) -> Step:
        """A step of training as it is to be called."""

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> Tensor:
        """Add the gradients of criterion(model(x), y) to the parameters; return its value."""

    def predict(self, x: Tensor) -> Tensor:
        """model(x), without recording it for gradients."""

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """score(model(x), y)."""


def score(outputs: Tensor, labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of a batch, and the number of right answers: (2,)."""
    loss = nn.functional.cross_entropy(outputs, labels) * len(labels)
    return minicnn.stack([loss, (outputs.argmax(1) == labels).sum().to(loss.dtype)])


class OnThreads:
    """Micro-batches, which keep every core of a CPU busy and stay in its cache."""

    knows_losses = True
    loss_dtype = minicnn.float64

    def __init__(
        self, model: nn.Module, micro_batch: int, threads: int | None = None, blas_threads: int = 1
    ) -> None:
        self.model = model
        self._micro_batches = MicroBatches(
            model, threads=threads, micro_batch=micro_batch, blas_threads=blas_threads
        )

    def prepare(self, step: Step, optimizer: optim.SGD) -> Step:
        return step

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> Tensor:
        loss = self._micro_batches.backward(criterion, x, y)
        return minicnn.tensor(loss, dtype=self.loss_dtype, device="cpu")

    def predict(self, x: Tensor) -> Tensor:
        return self._micro_batches.predict(x)

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        return score(self.predict(x), y)


class Whole:
    """Whole batches: a GPU is busiest with those."""

    knows_losses = False

    def __init__(self, model: nn.Module) -> None:
        self.model, self.loss_dtype = model, next(model.parameters()).dtype

    def prepare(self, step: Step, optimizer: optim.SGD) -> Step:
        return step

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> Tensor:
        loss = criterion(self.model(x), y)
        loss.backward()
        return loss.detach()

    def predict(self, x: Tensor) -> Tensor:
        with no_grad():
            return self.model(x)

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        with no_grad():
            return score(self.model(x), y)


class Graphs(Whole):
    """Whole batches, launched as graphs: see minicnn/capture.py."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._predict = Captured(super().predict, model)
        self._score = Captured(super().score, model)

    def prepare(self, step: Step, optimizer: optim.SGD) -> Step:
        return Captured(step, self.model, optimizer)

    def predict(self, x: Tensor) -> Tensor:
        return self._predict(x)

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        return self._score(x, y)


def executor_for(
    model: nn.Module,
    preset: Preset,
    *,
    threads: int | None = None,
    blas_threads: int = 1,
    graph: bool = True,
) -> Executor:
    """What is fastest where the model is."""
    if next(model.parameters()).device.type == "cpu":
        return OnThreads(model, preset.micro_batch, threads, blas_threads)
    return Graphs(model) if graph else Whole(model)
