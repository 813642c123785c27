"""The training loop: model, data, optimiser, and then steps and epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import minicnn
from minicnn import Tensor, distributed, nn, no_grad, optim
from minicnn.optim import lr_scheduler
from minicnn.random import Generator, default_generator
from minicnn.utils.data import DataLoader, Dataset

from .centring import centre_gradients_
from .executors import Executor, executor_for
from .presets import Preset

Row = dict[str, float]  # the figures of an epoch
Lengths = list[tuple[int, int]]  # up to this step, a training was to have so many epochs


class Callback:
    """What else happens during a training; a subclass defines the events that it needs."""

    def on_batch(self, training: Training) -> None:
        """After a step, or a batch of an evaluation."""

    def on_epoch(self, training: Training) -> None:
        """After an epoch and its evaluation; its figures are the last row of the history."""

    def on_end(self, training: Training) -> None:
        """After the last epoch, or after whatever has ended the training earlier."""


class Training:
    """The training of a model, step by step, with an evaluation after each epoch.

    Parameters that don't require gradients stay as they are. `epoch` counts from 1 and is the one
    under way, `batch` says how many of its batches are done, `seen` how many of its images. Losses
    are added up where they are computed, and fetched when somebody asks. By default, the executor
    is what is fastest where the model is.
    """

    def __init__(
        self,
        model: nn.Module,
        preset: Preset,
        train_set: Dataset,
        eval_set: Dataset,
        executor: Executor | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model, self.preset, self.callbacks = model, preset, list(callbacks)
        self.device = next(model.parameters()).device
        self.train_loader = self._loader(train_set, shuffle=True)
        self.eval_loader = self._loader(eval_set)
        self.criterion = nn.CrossEntropyLoss()
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = optim.SGD(
            self.trained,
            lr=preset.lr,
            momentum=preset.momentum,
            weight_decay=preset.weight_decay,
            nesterov=preset.nesterov,
        )
        self.scheduler = schedule(self.optimizer, preset, preset.epochs * len(self.train_loader))
        self.lengths: Lengths = []  # before the preset's
        self.history: list[Row] = []
        self.lr = preset.lr  # of the last step
        self.diverged = False  # whether the last step's loss was seen not to be finite
        self.taken: Any = 0  # images of the last step, on all ranks
        self.testing = 0  # batches of the evaluation under way
        self.whole = True  # whether weights, counts and random numbers are of the same step
        self.use(executor or executor_for(model, preset))
        # The losses of the epoch so far: in memory that stays, where a graph adds to it.
        self.total = minicnn.zeros((), dtype=self.executor.loss_dtype, device=self.device)
        self.epoch = 0
        self._begin_epoch()
        self.random_at_start = default_generator.get_state()

    def _loader(self, images: Dataset, shuffle: bool = False) -> DataLoader:
        ahead = 1 if self.device.type == "cpu" else 0  # a GPU runs behind the loop as it is
        # With a generator of its own, it draws nothing that dropout would have drawn next.
        return DataLoader(
            images, self.preset.batch_size, shuffle, num_workers=ahead, generator=Generator()
        )

    def use(self, executor: Executor) -> None:
        """Use this executor for the steps from now on."""
        self.executor = executor
        self._step = executor.prepare(self._counted, self.optimizer)

    # --- where it is -----------------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self.batch = self.seen = self.testing = 0
        self.total.zero_()
        self.seconds = 0.0

    @property
    def done(self) -> bool:
        return self.epoch > self.preset.epochs

    @property
    def steps(self) -> int:
        """How many steps are done, since the beginning of the training."""
        return (self.epoch - 1) * len(self.train_loader) + self.batch

    def position(self, steps: int) -> tuple[int, int, int]:
        """The epoch after so many steps, and how many of its batches and images are done then."""
        epoch = max(0, steps - 1) // len(self.train_loader)
        batch = steps - epoch * len(self.train_loader)
        n = len(self.train_loader.dataset)
        return epoch + 1, batch, min(batch * self.preset.batch_size, n)

    def total_loss(self) -> float:
        """The sum of the losses of the images of this epoch so far."""
        return float(self.total.item())

    def mean_loss(self) -> float:
        """The mean of the losses of the images of this epoch so far."""
        return self.total_loss() / self.seen

    def send_mean_loss(self) -> Callable[[], float | None]:
        """A function that gives `mean_loss()` when a GPU has computed it; this does not wait."""
        coming, seen = self.device.backend.fetch(self.total.array), self.seen

        def come() -> float | None:
            total: float | None = coming()
            return None if total is None else total / seen

        return come

    # --- the loop --------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end of the last epoch."""
        try:
            while not self.done:
                self.train_epoch()
        finally:
            for each in self.callbacks:
                each.on_end(self)

    def train_epoch(self) -> None:
        """Take the remaining steps of this epoch, evaluate, and add a row to the history."""
        self.model.train()
        # Keyed by seed and epoch, so that an epoch's order doesn't depend on what was drawn before.
        self.train_loader.generator = Generator().manual_seed(self.preset.seed).fold_in(self.epoch)
        for p in self.model.parameters():  # so that rounding on another processor can't add up
            distributed.broadcast(p)
        start = time.perf_counter()
        for images, labels in self.train_loader.batches(self.batch, distributed.part):
            self.lr = self.optimizer.param_groups[0]["lr"]
            _, _, seen = self.position(self.steps + 1)
            with distributed.taking_part(seen - self.seen):
                self._undone_if_it_fails(images.to(self.device), labels.to(self.device))
            self.seen = seen
            self.batch += 1
            if self.scheduler is not None:
                self.scheduler.step()
            self.whole = True
            now = time.perf_counter()
            self.seconds, start = self.seconds + now - start, now
            self._tell_of_a_batch()
        train_loss = self.mean_loss()  # and with it, on a GPU, the end of the last step
        self.seconds += time.perf_counter() - start
        eval_loss, accuracy = self._evaluate(self.eval_loader)
        row = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            "eval_loss": eval_loss,
            "accuracy": accuracy,
            "lr": self.lr,
            "seconds": self.seconds,
            "images_per_second": self.seen / self.seconds,
        }
        self.history.append(row)
        self._begin_epoch()
        for each in self.callbacks:
            each.on_epoch(self)

    def test(self, test_set: Dataset) -> tuple[float, float]:
        """Loss and accuracy on the test set, if the epochs were evaluated on another set."""
        return self._evaluate(self._loader(test_set))

    def _evaluate(self, loader: DataLoader) -> tuple[float, float]:
        self.testing = len(loader)
        return evaluate(self.executor, loader, self._tell_of_a_batch)

    def _tell_of_a_batch(self) -> None:
        for each in self.callbacks:
            each.on_batch(self)

    def _undone_if_it_fails(self, images: Tensor, labels: Tensor) -> None:
        """Take a step. If it raises before it changes weights, the state is as before."""
        drawn = default_generator.get_state()
        try:
            self._step(images, labels)
        except BaseException:
            if self.whole:
                default_generator.set_state(drawn)
            raise

    def _counted(self, images: Tensor, labels: Tensor) -> None:
        """Take a step, and add its loss to the others."""
        loss = self.step(images, labels)
        with no_grad():
            self.total += loss * self.taken

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Change the weights once; return the loss before that, which is that of `taken` images.

        Nothing here waits for a GPU, and what differs from step to step, such as the rate, is set
        outside: so that a GPU can be given the whole step as one graph (see minicnn/capture.py).
        """
        self.optimizer.zero_grad()
        loss = self.executor.backward(self.criterion, images, labels)
        parameters = self.model.parameters()
        loss, self.taken = distributed.all_reduce_gradients(parameters, loss, len(labels))
        self.diverged = self.executor.knows_losses and not math.isfinite(loss.item())
        if self.diverged:
            return loss  # the weights stay as they are, and show where it comes from
        if self.preset.centre_gradients:
            centre_gradients_(self.trained)
        if self.preset.max_norm:
            nn.utils.clip_grad_norm_(self.trained, self.preset.max_norm)
        self.whole = False
        self.optimizer.step()
        return loss


def schedule(optimizer: optim.SGD, preset: Preset, steps: int) -> lr_scheduler.LRScheduler | None:
    """The scheduler of the learning rate that the preset asks for; None for a constant rate."""
    if preset.lr_scheduler == "OneCycleLR":
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=preset.lr,
            total_steps=steps,
            pct_start=preset.pct_start,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
    stepwise = preset.lr_scheduler == "MultiStepLR"
    milestones = [round(fraction * steps) for fraction in preset.milestones if stepwise]
    if preset.warmup:
        rising = max(1, round(preset.warmup * steps))

        def share(step: int) -> float:
            """Of the full rate: Goyal et al. 2017, arXiv 1706.02677, section 2.2."""
            fallen = sum(milestone <= step for milestone in milestones)
            return float(min(1.0, (step + 1) / rising) * preset.gamma**fallen)

        return lr_scheduler.LambdaLR(optimizer, share)
    if stepwise:
        return lr_scheduler.MultiStepLR(optimizer, milestones, preset.gamma)
    return None


def evaluate(
    executor: Executor, loader: DataLoader, after_batch: Callable[[], None] | None = None
) -> tuple[float, float]:
    """The mean cross-entropy and the accuracy.

    The sums stay where they are computed until all batches are done. Ranks share the work.
    """
    executor.model.eval()
    device = next(executor.model.parameters()).device
    total = minicnn.zeros(2, dtype=executor.loss_dtype, device=device)
    for images, labels in loader.batches(part=distributed.part):
        if len(labels):
            total = total + executor.score(images.to(device), labels.to(device))
        if after_batch is not None:
            after_batch()
    distributed.all_reduce(total)
    loss, right = total.tolist()
    return loss / len(loader.dataset), right / len(loader.dataset)
