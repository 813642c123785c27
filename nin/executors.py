"""What takes batches through a model: in micro-batches on every core, whole, or as graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import minicnn
from minicnn import Tensor, nn, no_grad, optim
from minicnn.capture import Captured
from minicnn.dtype import DType
from minicnn.parallel import Criterion, MicroBatches, available_cores
from minicnn.processes import AVAILABLE, Processes, WorkerDied

from .command_line import Failure
from .presets import Preset

Step = Callable[[Tensor, Tensor], None]


class Executor(Protocol):
    """What a training and a test need; they know nothing of processes and graphs."""

    model: nn.Module
    how: str  # it takes a batch, in words
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

    def close(self) -> None:
        """Let go of what it works with; the next call takes it up again."""


def score(outputs: Tensor, labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of a batch, and the number of right answers: (2,)."""
    loss = nn.functional.cross_entropy(outputs, labels) * len(labels)
    return minicnn.stack([loss, (outputs.argmax(1) == labels).sum().to(loss.dtype)])


class OnCores:
    """Micro-batches, which keep every core of a CPU busy and stay in its cache."""

    knows_losses = True
    loss_dtype = minicnn.float64

    def __init__(self, batches: MicroBatches) -> None:
        self.model, self._batches = batches.model, batches
        forked = isinstance(batches, Processes) and batches.forked
        workers = "process" if forked else "thread"
        some = f"{workers}{'' if batches.threads == 1 else 'es' if forked else 's'}"
        self.how = (
            f"{batches.threads} {some}, {batches.micro_batch} images at a time on each,"
            f" BLAS on {batches.blas_threads}"
        )

    def prepare(self, step: Step, optimizer: optim.SGD) -> Step:
        return step

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> Tensor:
        try:
            loss = self._batches.backward(criterion, x, y)
        except WorkerDied as error:
            raise Failure(str(error)) from None
        return minicnn.tensor(loss, dtype=self.loss_dtype, device="cpu")

    def predict(self, x: Tensor) -> Tensor:
        try:
            return self._batches.predict(x)
        except WorkerDied as error:
            raise Failure(str(error)) from None

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        return score(self.predict(x), y)

    def close(self) -> None:
        if isinstance(self._batches, Processes):
            self._batches.close()


class Whole:
    """Whole batches: a GPU is busiest with those."""

    knows_losses = False
    how = "each kernel by itself"

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

    def close(self) -> None:
        pass


class Graphs(Whole):
    """Whole batches, launched as graphs: see minicnn/capture.py."""

    how = "steps launched as graphs"

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
    processes: bool = True,
) -> Executor:
    """What is fastest where the model is; on a CPU on threads, if not on `processes`."""
    if next(model.parameters()).device.type != "cpu":
        return Graphs(model) if graph else Whole(model)
    threads = available_cores() if threads is None else threads
    kind = Processes if processes and AVAILABLE and threads > 1 else MicroBatches
    return OnCores(
        kind(model, threads=threads, micro_batch=preset.micro_batch, blas_threads=blas_threads)
    )
