"""A training step in micro-batches on several threads.

Two facts make this faster than running whole batches with a multi-threaded BLAS. NumPy lets go of
the interpreter while it computes, so threads that each own a part of the batch keep every core busy
through the copies, ReLUs and pools that a threaded matrix product leaves to one core. And a few
images taken through the whole network and back stay in the cache, where a batch goes out to memory
and back with every layer.

All threads use one and the same model. `autograd.gradients` hands out what reaches the parameters
in place of adding it up there, so each thread keeps its own sums until all are done.
"""

from __future__ import annotations

import copy
import math
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from . import context, creation, random
from .arguments import whole
from .autograd import Variable, add_to_leaves
from .backends import Array
from .backends import threads as cpu_threads
from .dtype import is_floating
from .grad_mode import is_grad_enabled, no_grad, set_grad_enabled
from .independence import refuse_coupled, settings
from .nn import functional
from .nn.losses import CrossEntropyLoss
from .nn.module import Module
from .operations.winograd import FixedFilters
from .tensor import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]
Sums = dict[Variable, Array]  # gradients by leaf


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _add(sums: Sums, gradients: Sums) -> None:
    """Add gradients to the sums, leaf by leaf; in new arrays, as these may be others' too."""
    for leaf, g in gradients.items():
        sums[leaf] = sums[leaf] + g if leaf in sums else g


class Work(Protocol):
    """What is done with each piece of a batch."""

    @property
    def x(self) -> Tensor:
        """The images (N, …)."""

    def __call__(self, model: Module, piece: slice, sums: Sums) -> Any:
        """The result for a piece; gradients are added to the sums."""


@dataclass(frozen=True)
class Outputs:
    """The model's outputs."""

    x: Tensor

    def __call__(self, model: Module, piece: slice, sums: Sums) -> Tensor:
        x = self.x[piece]
        outputs = model(x)
        if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(x):
            raise TypeError(
                "MicroBatches: the model must return a Tensor with a row for each image"
            )
        return outputs


@dataclass(frozen=True)
class SummedLoss:
    """The sum of the losses of the images, and the gradients of `factor` times that."""

    x: Tensor
    y: Tensor
    criterion: Criterion
    factor: float

    def __call__(self, model: Module, piece: slice, sums: Sums) -> Any:
        loss = self.criterion(model(self.x[piece]), self.y[piece])
        g = creation.full((), self.factor, dtype=loss.dtype, device=loss.device)
        _add(sums, loss.gradients(g))
        return loss.item()


@dataclass(frozen=True)
class SentBack:
    """The gradients of the outputs, given the loss's gradient g (N, …) with respect to those."""

    x: Tensor
    g: Array

    def __call__(self, model: Module, piece: slice, sums: Sums) -> None:
        outputs = Outputs(self.x)(model, piece, sums)
        _add(sums, outputs.gradients(Tensor(self.g[piece])))


class Taken(NamedTuple):
    """What has become of a share: a result for each piece, the sums of all, the generators."""

    results: list[Any]
    sums: Sums
    draws: list[random.Generator]


@dataclass(frozen=True)
class Share:
    """One thread's pieces of a batch, and all that decides how they are computed.

    Each piece draws from a generator of its own.
    """

    work: Work
    pieces: list[slice]
    draws: list[random.Generator]
    inherited: context.Context
    recording: bool

    def take(self, model: Module, fixed: FixedFilters, failed: threading.Event) -> Taken:
        """Take all pieces, in order, or up to where this or another thread has failed."""
        results: list[Any] = []
        sums: Sums = {}
        inherited = replace(self.inherited, fixed_filters=fixed, in_pieces=True)
        start = inherited.first_image
        for piece, draws in zip(self.pieces, self.draws, strict=True):
            if failed.is_set():
                break
            first, images = start + piece.start, piece.stop - piece.start
            own = context.using(inherited, generator=draws, first_image=first, images=images)
            try:
                with set_grad_enabled(self.recording), own:
                    results.append(self.work(model, piece, sums))
            except BaseException:
                failed.set()
                raise
        return Taken(results, sums, self.draws)


class MicroBatches:
    """Runs a model over batches, up to `micro_batch` images at a time on each of `threads` threads.

    Thread t of T takes pieces t, t + T, … in order, and the threads' gradients are added in order:
    the result depends on the settings, never on timing. Dropout gives every image the mask that it
    would have in the whole batch. BLAS uses `blas_threads` threads for each of them. If several
    threads call one object, their calls run one after the other. Two objects whose models draw
    random numbers at the same time need a generator each, or one of them raises RuntimeError.

    Raises ArgumentError for counts below 1; warns (UserWarning) where there are more threads than
    cores. A model that can't be cut is refused when it is first used, and again after a change: see
    `independence.refuse_coupled`.
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
        if not isinstance(model, Module):
            raise TypeError(f"MicroBatches: model must be a Module, got {type(model).__name__}")
        self.model, self.threads = model, whole("MicroBatches", "threads", threads, 1)
        self.micro_batch = whole("MicroBatches", "micro_batch", micro_batch, 1)
        self.blas_threads = whole("MicroBatches", "blas_threads", blas_threads, 1)
        if self.threads > available_cores():
            warnings.warn(
                f"{threads} threads on {available_cores()} cores will be slower", stacklevel=2
            )
        self._workers: dict[int, tuple[ThreadPoolExecutor, threading.Lock]] = {}  # by process
        self._checked: Any = None  # the layers as they were found to be independent

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_workers": {}, "_checked": None}

    def _pool_and_lock(self) -> tuple[ThreadPoolExecutor, threading.Lock]:
        """The threads, and the lock of those who want them; a fork leaves both behind."""
        own = os.getpid()
        if own not in self._workers:
            pool = ThreadPoolExecutor(self.threads, thread_name_prefix="MicroBatches")
            self._workers.setdefault(own, (pool, threading.Lock()))
        return self._workers[own]

    def _run(
        self, work: Work, generator: random.Generator
    ) -> tuple[list[Any], Sums, random.Generator]:
        """Have the threads do some work: the results of all pieces in order, and the sums of all.

        Every piece draws from `generator` as it is when the threads are free, which moves on to
        where the last one ends; a clone of it as it was is returned, too. Raises what a piece
        raises, once all threads have stopped.
        """
        if context.current().in_pieces:
            raise RuntimeError("MicroBatches: called by a model that runs in micro-batches itself")
        n, threads = len(work.x), self.threads
        rounds = -(-n // (self.micro_batch * threads))
        count = max(1, min(n, rounds * threads))  # so that each thread gets as many images
        pieces = cpu_threads.parts(n, count)
        inherited = replace(
            context.current(), threads=self.blas_threads, generator=None, fixed_filters=None
        )
        results: list[Any] = [None] * count
        totals: Sums = {}
        with self._pool_and_lock()[1], cpu_threads.blas_threads(self.blas_threads):
            before = generator.clone()
            draws = [before.clone() for _ in pieces]
            shares = [
                Share(work, pieces[t::threads], draws[t::threads], inherited, is_grad_enabled())
                for t in range(threads)
            ]
            for t, taken in enumerate(self._all_taken(shares)):
                results[t::threads] = taken.results
                _add(totals, taken.sums)
                draws[t::threads] = taken.draws
            generator.catch_up(before, draws)
        return results, totals, before

    def _all_taken(self, shares: list[Share]) -> list[Taken]:
        """What becomes of the shares, of which each thread takes one."""
        fixed, failed = FixedFilters(p.array for p in self.model.parameters()), threading.Event()

        def take(share: Share) -> Taken:
            return share.take(self.model, fixed, failed)

        return cpu_threads.all_done(self._pool_and_lock()[0], take, shares)

    def _check(self, x: Tensor) -> None:
        """Refuse a model whose images depend on one another, once for its layers and modes."""
        layers = [(module, settings(module)) for module in self.model.modules()]
        if len(x) > 1 and layers != self._checked:
            refuse_coupled(self.model, x)
            self._checked = layers

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> float:
        """Add the gradients of criterion(model(x), y) to the parameters; return its value.

        They are those of the whole batch, to rounding, whatever the criterion is. A
        `CrossEntropyLoss` is a sum over images divided by one number, so each piece goes forward
        and back at once. Any other criterion is asked about the outputs of all images, for which
        every piece goes forward once more.
        """
        _refuse_others(x, y)
        self._check(x)
        generator = random.current()
        images = x if x.is_leaf else x.detach().requires_grad_()  # its history is gone through once
        if _is_sum_over_images(criterion) and not y.requires_grad:
            loss, sums = self._sum_over_images(criterion, images, y, generator)  # type: ignore[arg-type]
        else:
            loss, sums = self._in_two_passes(criterion, images, y, generator)
        if images is not x and images in sums:
            _add(sums, x.gradients(Tensor(sums.pop(images))))
        add_to_leaves(sums)
        return loss

    def _sum_over_images(
        self, criterion: CrossEntropyLoss, x: Tensor, y: Tensor, generator: random.Generator
    ) -> tuple[float, Sums]:
        total = _total_weight(criterion, y) if criterion.reduction == "mean" else 1.0
        factor = 1 / total if total else 0.0
        summed = copy.copy(criterion)
        summed.reduction = "sum"
        losses, sums, _ = self._run(SummedLoss(x, y, summed, factor), generator)
        value = sum(losses)
        if not total:  # 0/0, or where labels are smoothed something over 0
            return (math.inf if value else math.nan), sums
        return value / total, sums

    def _in_two_passes(
        self, criterion: Criterion, x: Tensor, y: Tensor, generator: random.Generator
    ) -> tuple[float, Sums]:
        outputs, before = self._forward(x, generator)
        loss = criterion(outputs.requires_grad_(), y)
        if not isinstance(loss, Tensor):
            raise TypeError(f"MicroBatches: the criterion returned {type(loss).__name__}")
        sums = loss.gradients()
        g = sums.pop(outputs, None)
        if g is not None:
            _add(sums, self._run(SentBack(x, g), before)[1])
        return loss.item(), sums

    def predict(self, x: Tensor) -> Tensor:
        """model(x), without recording it for gradients."""
        _refuse_others(x)
        self._check(x)
        return self._forward(x, random.current())[0]

    def _forward(self, x: Tensor, generator: random.Generator) -> tuple[Tensor, random.Generator]:
        """model(x), and the generator as it was before."""
        with no_grad():
            outputs, _, before = self._run(Outputs(x), generator)
        return creation.cat(outputs), before


def _refuse_others(*tensors: Any) -> None:
    for name, t in zip(("images", "targets"), tensors, strict=False):
        if not isinstance(t, Tensor) or not t.ndim:
            got = f"shape {t.shape}" if isinstance(t, Tensor) else type(t).__name__
            raise TypeError(f"MicroBatches: {name} must be a Tensor (N, …), got {got}")
    if len({len(t) for t in tensors}) > 1:
        raise functional.ShapeError(
            f"MicroBatches: {len(tensors[0])} images and {len(tensors[1])} targets"
        )


def _is_sum_over_images(criterion: Criterion) -> bool:
    """Whether it is CrossEntropyLoss as it is defined, whose loss is a sum over the images.

    Not with weights that are learnt, which are no part of the model that each process has.
    """
    return (
        type(criterion) is CrossEntropyLoss
        and "forward" not in vars(criterion)
        and criterion.reduction in ("mean", "sum")
        and not (criterion.weight is not None and criterion.weight.requires_grad)
    )


def _total_weight(criterion: CrossEntropyLoss, y: Tensor) -> float:
    """What the mean divides by: the weights of the targets that count, or of probabilities
    (N, C, …) their number."""
    if is_floating(y.dtype):
        return float(y.numel() // max(1, y.shape[1] if y.ndim > 1 else y.numel()))
    counted, weight = y.array[y.array != criterion.ignore_index], criterion.weight
    if weight is None or not weight.numel():
        return float(counted.size)
    places = counted.clip(0, weight.numel() - 1)  # one out of range is refused with its piece
    return float(weight.array.reshape(-1)[places].sum(dtype="float64"))
