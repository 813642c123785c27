"""A training step in micro-batches on several threads.

Two facts make this faster than running whole batches with a multi-threaded BLAS. NumPy lets go of
the interpreter while it computes, so threads that each own a part of the batch keep every core busy
through the copies, ReLUs and pools that a threaded matrix product leaves to one core. And a few
images taken through the whole network and back stay in the cache, where a batch goes out to memory
and back with every layer.

The gradients are those of the whole batch, to rounding: the loss is a mean over images, so its
gradient is the weighted mean of the pieces' gradients.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import creation, random
from .autograd import no_grad
from .backends import threads as backend_threads
from .nn.module import Module, Parameter
from .operations.winograd import fixed_weights
from .tensor import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class MicroBatches:
    """Runs a model over batches, up to `micro_batch` images at a time on each of `threads` threads.

    Thread t of T takes pieces t, t + T, … in order, and the threads' gradients are added in order:
    the result depends on the settings, never on timing. Dropout gives every image the mask that it
    would have in the whole batch. The BLAS has `blas_threads` threads for each of them meanwhile.

    Raises ValueError for counts below 1, and for a model with a module that says `couples_images`
    (one whose output for an image depends on the others), as it can't be cut; warns (UserWarning)
    where there are more threads than cores.
    """

    def __init__(
        self,
        model: Module,
        *,
        threads: int | None = None,
        micro_batch: int = 8,
        blas_threads: int = 1,
    ) -> None:
        threads = available_cores() if threads is None else threads
        counts = {"threads": threads, "micro_batch": micro_batch, "blas_threads": blas_threads}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"MicroBatches: {name} must be a positive int, got {value!r}")
        if threads > available_cores():
            warnings.warn(
                f"{threads} threads on {available_cores()} cores will be slower", stacklevel=2
            )
        for name, module in model.named_modules():
            if getattr(module, "couples_images", False):
                raise ValueError(
                    f"MicroBatches: layer {name} {module!r} couples the images of a batch"
                )
        self.model, self.threads, self.micro_batch = model, threads, micro_batch
        self.blas_threads = blas_threads
        self._parameters = list(model.parameters())
        self._replicas = [self._replica() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="MicroBatches")

    def _replica(self) -> tuple[Module, list[Parameter]]:
        """A copy of the model with parameters of its own that share the model's arrays."""
        shared = {id(p): Parameter(p.detach()) for p in self._parameters}
        return copy.deepcopy(self.model, dict(shared)), list(shared.values())

    def _run(self, work: Callable[[Module, slice], Any], n: int) -> list[list[Any]]:
        """Call work(replica, piece) for all pieces of n images: the results of each thread."""
        modes = [module.training for module in self.model.modules()]
        generator, after = random.current().generator, []
        rounds = -(-n // (self.micro_batch * self.threads))
        count = min(n, rounds * self.threads)  # so that each thread gets as many images
        pieces = [slice(i * n // count, (i + 1) * n // count) for i in range(count)]

        def take(thread: int) -> list[Any]:
            replica, parameters = self._replicas[thread]
            for mine, original in zip(parameters, self._parameters, strict=True):
                mine.array, mine.grad_array = original.array, None
            for module, mode in zip(replica.modules(), modes, strict=True):
                module.training = mode
            results = []
            for piece in pieces[thread :: self.threads]:
                draws = generator.clone()
                with random.drawing(draws, piece.start):
                    results.append(work(replica, piece))
                after.append(draws)
            return results

        with backend_threads.blas_threads(self.blas_threads), fixed_weights():
            done = list(self._pool.map(take, range(self.threads)))
        for draws in after:
            generator.catch_up(draws)
        return done

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> float:
        """Add the gradients of criterion(model(x), y) to the parameters; return its value.

        `criterion` must be a mean over the images, as `CrossEntropyLoss()` is.
        """

        def work(replica: Module, piece: slice) -> float:
            loss = criterion(replica(x[piece]), y[piece])
            share = len(y[piece]) / len(y)
            loss.backward(creation.full((), share, dtype=loss.dtype, device=loss.device))
            return share * loss.item()

        losses = self._run(work, len(y))
        for i, parameter in enumerate(self._parameters):
            for _, mine in self._replicas:
                if (g := mine[i].grad_array) is not None:
                    parameter.accumulate_grad(g)
        return math.fsum(loss for thread in losses for loss in thread)

    def predict(self, x: Tensor) -> Tensor:
        """model(x), without recording it for gradients."""

        def work(replica: Module, piece: slice) -> Tensor:
            with no_grad():
                return replica(x[piece])

        done = self._run(work, len(x))
        pieces = sum(len(outputs) for outputs in done)
        return creation.cat([done[i % self.threads][i // self.threads] for i in range(pieces)])
