"""The training loop: steps, epochs, and all that changes from one to the next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import minicnn
from minicnn import Tensor, nn, no_grad, optim
from minicnn.capture import Captured
from minicnn.optim import lr_scheduler
from minicnn.parallel import Criterion, MicroBatches
from minicnn.random import Generator, default_generator
from minicnn.utils.data import DataLoader, Dataset

from .checkpoint import State
from .presets import Preset
from .schema import Check, Misfit, exactly, items, maybe, number, record, whole

Row = dict[str, float]  # the figures of an epoch
LOSS = number(0, 1e40, finite=False)  # no float32 is larger, and a training may diverge
FIGURES: dict[str, Check] = {  # beside the epoch's number
    "train_loss": LOSS,
    "test_loss": LOSS,
    "accuracy": number(0, 1),
    "lr": number(0),
    "seconds": number(0),
    "images_per_second": number(0),
}


class WholeBatches:
    """What MicroBatches does, for a GPU: it is busiest with a whole batch at once."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._forward = Captured(model, model)
        self._score = Captured(lambda x, y: score(model(x), y), model)

    def backward(self, criterion: Criterion, x: Tensor, y: Tensor) -> Tensor:
        """Add the gradients of criterion(model(x), y) to the parameters; return its value."""
        loss = criterion(self.model(x), y)
        loss.backward()
        return loss.detach()

    def predict(self, x: Tensor) -> Tensor:
        """model(x), without recording it for gradients."""
        with no_grad():
            return self._forward(x)

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """score(model(x), y), without a wait for it."""
        with no_grad():
            return self._score(x, y)


Batches = MicroBatches | WholeBatches


def batches_for(
    model: nn.Module, preset: Preset, threads: int | None = None, blas_threads: int = 1
) -> Batches:
    """What takes batches through the model fastest where the model is."""
    if next(model.parameters()).device.type != "cpu":
        return WholeBatches(model)
    return MicroBatches(
        model, threads=threads, micro_batch=preset.micro_batch, blas_threads=blas_threads
    )


def score(outputs: Tensor, labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of a batch, and the number of right answers: (2,)."""
    loss = nn.functional.cross_entropy(outputs, labels) * len(labels)
    return minicnn.stack([loss, (outputs.argmax(1) == labels).sum().to(loss.dtype)])


def evaluate(
    batches: Batches, loader: DataLoader, after_batch: Callable[[], None] | None = None
) -> tuple[float, float]:
    """The mean cross-entropy, and the share of right answers.

    The sums stay where they are computed until all batches are done.
    """
    batches.model.eval()
    device = next(batches.model.parameters()).device
    total: Any = 0.0
    seen = 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        if isinstance(batches, WholeBatches):
            total = total + batches.score(images, labels)
        else:
            total = total + score(batches.predict(images), labels)
        seen += len(labels)
        if after_batch is not None:
            after_batch()
    loss, right = total.tolist()
    return loss / seen, right / seen


def _moved(dataset: Any, device: minicnn.device) -> Any:
    """A data set on a device, if it can go there; otherwise its batches go one by one."""
    return dataset.to(device) if hasattr(dataset, "to") else dataset


class Training:
    """A model in training, step by step.

    `epoch` counts from 1 and is the one under way, `batch` says how many of its batches are done.
    What `step` returns is added up where it was computed, and fetched when somebody asks.
    """

    def __init__(
        self,
        model: nn.Module,
        preset: Preset,
        train_set: Dataset,
        test_set: Dataset,
        *,
        threads: int | None = None,
        blas_threads: int = 1,
        graph: bool = True,
    ) -> None:
        self.model, self.preset = model, preset
        self.device = next(model.parameters()).device
        self.batches = batches_for(model, preset, threads, blas_threads)
        if self.device.type != "cpu":
            train_set, test_set = (_moved(each, self.device) for each in (train_set, test_set))
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(
            model.parameters(),
            lr=preset.lr,
            momentum=preset.momentum,
            weight_decay=preset.weight_decay,
            nesterov=preset.nesterov,
        )
        ahead = 1 if self.device.type == "cpu" else 0  # a GPU runs behind the loop as it is
        self.train_loader = DataLoader(
            train_set, preset.batch_size, shuffle=True, num_workers=ahead
        )
        # With a generator of its own, the test draws nothing that dropout would have drawn next.
        self.test_loader = DataLoader(
            test_set, preset.batch_size, num_workers=ahead, generator=Generator()
        )
        self._step = Captured(self._counted, model, self.optimizer) if graph else self._counted
        self.scheduler = self._scheduler()
        self.history: list[Row] = []
        self.loss: float | None = (
            0.0  # before the last step; None on a GPU, where nobody has asked for it
        )
        # The losses of the epoch so far: on a GPU in memory that stays, where a graph adds to it.
        self.total: Any = 0.0
        if self.device.type != "cpu":
            self.total = minicnn.zeros((), dtype=self._loss_type, device=self.device)
        self.lr = preset.lr  # of the last step
        self.whole = True  # whether weights, counts and random numbers are of the same step
        self.epoch = 0
        self._begin_epoch()
        self._drawn = default_generator.get_state()

    @property
    def _loss_type(self) -> Any:
        return next(self.model.parameters()).dtype

    def _scheduler(self) -> lr_scheduler.LRScheduler | None:
        preset, steps = self.preset, self.preset.epochs * len(self.train_loader)
        if preset.lr_scheduler == "OneCycleLR":
            return lr_scheduler.OneCycleLR(
                self.optimizer,
                max_lr=preset.lr,
                total_steps=steps,
                pct_start=preset.pct_start,
                anneal_strategy="linear",
                cycle_momentum=False,
            )
        if preset.lr_scheduler == "MultiStepLR":
            milestones = [round(fraction * steps) for fraction in preset.milestones]
            return lr_scheduler.MultiStepLR(self.optimizer, milestones, preset.gamma)
        return None

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self.batch = self.seen = 0
        self._set_total(0.0)
        self.seconds = 0.0

    def _set_total(self, total: float | Tensor) -> None:
        if not isinstance(self.total, Tensor):
            self.total = total.item() if isinstance(total, Tensor) else total
        elif isinstance(total, Tensor):
            self.total.copy_(total)
        else:
            self.total.fill_(total)

    @property
    def done(self) -> bool:
        return self.epoch > self.preset.epochs

    @property
    def steps(self) -> int:
        """Steps done since the beginning."""
        return (self.epoch - 1) * len(self.train_loader) + self.batch

    def place(self, steps: int) -> tuple[int, int, int]:
        """Where so many steps lead to: an epoch, and how many of its batches and images."""
        epoch = max(0, steps - 1) // len(self.train_loader)
        batch = steps - epoch * len(self.train_loader)
        n = len(self.train_loader.dataset)
        return epoch + 1, batch, min(batch * self.preset.batch_size, n)

    def total_loss(self) -> float:
        """The sum of the losses of the epoch's images so far, as they came by."""
        return self.total.item() if isinstance(self.total, Tensor) else self.total

    def mean_loss(self) -> float:
        """The mean of those."""
        return self.total_loss() / self.seen

    def send_mean_loss(self) -> Callable[[], float | None]:
        """`mean_loss()` without a wait for a GPU: a function that gives it once it has come."""
        total, seen = self.total, self.seen
        if not isinstance(total, Tensor):
            return lambda: total / seen
        coming = self.device.backend.fetch(total.array)

        def come() -> float | None:
            number = coming()
            return None if number is None else number / seen

        return come

    def state(self) -> State:
        """All that changes from step to step, for a checkpoint; what follows from it is left out.

        With it stands what it is of: the settings, and how many images there are.
        """
        arrays = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for i, each in self.optimizer.state_dict()["state"].items():
            arrays[f"momentum_buffer.{i}"] = each["momentum_buffer"]
        total = self.total if self.batch else 0.0
        if isinstance(total, Tensor):  # kept in its own precision
            arrays["total"], total = total, None
        return arrays, {
            "settings": self._settings(),
            "training_images": len(self.train_loader.dataset),
            "test_images": len(self.test_loader.dataset),
            "epoch": self.epoch,
            "batch": self.batch,
            "total": total,
            "seconds": self.seconds,
            "history": self.history,
            "random": list(default_generator.get_state()),
        }

    def _settings(self) -> dict[str, Any]:
        """The preset as JSON has it."""
        values = asdict(self.preset).items()
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values}

    def check_state(self, rest: Any) -> None:
        """Raise Misfit, which names the field, if this is not from `state()` of such a training."""
        batches, n = len(self.train_loader), len(self.train_loader.dataset)
        given = " as in config.toml"
        settings = {k: exactly(v, given) for k, v in self._settings().items()}
        row = record({"epoch": whole(1, self.preset.epochs), **FIGURES})
        record(
            {
                "settings": record(settings),
                "training_images": exactly(n, ", as many as there are"),
                "test_images": exactly(len(self.test_loader.dataset), ", as many as there are"),
                "epoch": whole(1, self.preset.epochs + 1),
                "batch": whole(0, batches),
                "total": maybe(LOSS),
                "seconds": number(0),
                "history": items(row, most=self.preset.epochs),
                "random": items(whole(0, 2**64 - 1), 2, 2),
            }
        )(rest, "state")
        epoch, batch = rest["epoch"], rest["batch"]
        steps = (epoch - 1) * batches + batch
        if epoch > self.preset.epochs:
            exactly(0, ", as all epochs are done")(batch, "state.batch")
        if batch == 0:
            exactly(0.0, " where no batch is done")(rest["total"], "state.total")
            exactly(0.0, " where no batch is done")(rest["seconds"], "state.seconds")
        exactly(epoch - 1, ", one for each epoch done")(
            len(rest["history"]), "rows of state.history"
        )
        rates = self._rates((epoch - 1) * batches)
        for i, done in enumerate(rest["history"]):
            where = f"state.history[{i}]"
            exactly(i + 1)(done["epoch"], f"{where}.epoch")
            exactly(rates[(i + 1) * batches - 1], " by the schedule")(done["lr"], f"{where}.lr")
            speed = n / done["seconds"] if done["seconds"] else 0.0
            exactly(speed, " by the seconds")(
                done["images_per_second"], f"{where}.images_per_second"
            )
        (seed, drawn), (own_seed, before) = rest["random"], self._drawn
        exactly(own_seed, " as the seed says")(seed, "state.random[0]")
        each = (drawn - before) / max(1, steps)  # as every step draws as often
        if not (each.is_integer() and 0 <= each <= 1000) or (steps == 0 and drawn != before):
            raise Misfit(f"state.random[1] can't be {drawn} after {steps:,} steps")

    def _rates(self, steps: int) -> list[float]:
        """The learning rates of the first steps; the schedule is where they lead to afterwards."""
        group, rates = self.optimizer.param_groups[0], []
        group["lr"] = self.preset.lr
        self.scheduler = self._scheduler()
        for _ in range(steps):
            rates.append(group["lr"])
            if self.scheduler is not None:
                self.scheduler.step()
        return rates

    def _check_arrays(self, arrays: dict[str, Tensor], total: float | None, steps: int) -> None:
        """Raise Misfit if these are not the arrays of such a training."""
        own = self.model.state_dict()
        expected = {f"model.{name}": p for name, p in own.items()}
        momenta = {f"momentum_buffer.{i}": p for i, p in enumerate(self.model.parameters())}
        if self.preset.momentum and steps and any(name in arrays for name in momenta):
            expected |= momenta  # there are none before the first step that is taken
        if total is None:
            expected["total"] = minicnn.zeros((), dtype=self._loss_type)
        for name in [*expected, *arrays]:
            if name not in arrays:
                raise Misfit(f"array {name} is missing")
            if name not in expected:
                raise Misfit(f"array {name!r} does not belong there")
            found, wanted = ((t.dtype, tuple(t.shape)) for t in (arrays[name], expected[name]))
            if found != wanted:
                raise Misfit(f"array {name} must be {wanted}, got {found}")
        if total is None:
            LOSS(arrays["total"].item(), "array total")

    def load_state(self, state: State) -> None:
        """Go on from there, bit for bit.

        Raises Misfit, before anything is changed, if it is the state of another training.
        """
        arrays, rest = state
        self.check_state(rest)
        epoch, batch = rest["epoch"], rest["batch"]
        steps = (epoch - 1) * len(self.train_loader) + batch
        self._check_arrays(arrays, rest["total"], steps)
        self.model.load_state_dict(_under("model.", arrays))
        rates = self._rates(steps)
        groups = self.optimizer.state_dict()["param_groups"]
        buffers = _under("momentum_buffer.", arrays).items()
        momenta = {int(i): {"momentum_buffer": v} for i, v in buffers}
        self.optimizer.load_state_dict({"state": momenta, "param_groups": groups})
        self.lr = rates[-1] if rates else self.preset.lr
        self.epoch, self.batch = epoch, batch
        self.seen = min(batch * self.preset.batch_size, len(self.train_loader.dataset))
        self._set_total(arrays["total"] if "total" in arrays else rest["total"])
        self.seconds, self.history = rest["seconds"], list(rest["history"])
        default_generator.set_state(tuple(rest["random"]))

    def step(self, images: Tensor, labels: Tensor) -> Any:
        """Change the weights once; return the loss before, a number or a Tensor.

        Nothing here waits for a GPU, and what differs from step to step, such as the rate, is set
        outside: so that a GPU can be given the whole step as one graph (see minicnn/capture.py).
        """
        self.optimizer.zero_grad()
        loss = self.batches.backward(self.criterion, images, labels)
        if isinstance(loss, float) and not math.isfinite(loss):
            return loss  # the weights stay as they are, so that one can see where it comes from
        if self.preset.max_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.preset.max_norm)
        self.whole = False
        self.optimizer.step()
        return loss

    def _counted(self, images: Tensor, labels: Tensor) -> Any:
        """A step whose loss is added to the others; what it is, where that is known."""
        loss = self.step(images, labels)
        with no_grad():
            self.total += loss * len(labels)
        return loss if isinstance(loss, float) else None

    def _undone_if_it_fails(self, images: Tensor, labels: Tensor) -> Any:
        """A step, or an exception and, unless weights were being changed, the state before it."""
        drawn = default_generator.get_state()
        try:
            return self._step(images, labels)
        except BaseException:
            if self.whole:
                default_generator.set_state(drawn)
            raise

    def largest_batch(self) -> int:
        """The batch size, halved from the preset's, with which a step fits into memory, or 0.

        To be asked when a step did not: training can't go on afterwards.
        """
        backend, size = self.device.backend, self.preset.batch_size
        self._step, self.batches = self._counted, WholeBatches(self.model)  # and so their memory
        while size := size // 2:
            self.optimizer.zero_grad()
            backend.free_unused()
            try:
                images, labels = next(iter(DataLoader(self.train_loader.dataset, size)))
                self.step(images.to(self.device), labels.to(self.device))
            except Exception as error:
                if not backend.out_of_memory(error):
                    raise
                continue
            return size
        return 0

    def train_epoch(self, after_step: Callable[[], None] | None = None) -> Row:
        """Take the steps that are left of this epoch, test, and return the epoch's figures.

        `after_step` is called after every step, and after every batch of the test.
        """
        self.model.train()
        # Keyed by seed and epoch, so that an epoch's order doesn't depend on what was drawn before.
        self.train_loader.generator = Generator().manual_seed(self.preset.seed).fold_in(self.epoch)
        start = time.perf_counter()
        for images, labels in self.train_loader.batches(self.batch):
            self.lr = self.optimizer.param_groups[0]["lr"]
            self.loss = self._undone_if_it_fails(images.to(self.device), labels.to(self.device))
            self.seen += len(labels)
            self.batch += 1
            if self.scheduler is not None:
                self.scheduler.step()
            self.whole = True
            now = time.perf_counter()
            self.seconds, start = self.seconds + now - start, now
            if after_step is not None:
                after_step()
        train_loss = self.mean_loss()  # and with it, on a GPU, the end of the last step
        self.seconds += time.perf_counter() - start
        test_loss, accuracy = evaluate(self.batches, self.test_loader, after_step)
        row = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            "test_loss": test_loss,
            "accuracy": accuracy,
            "lr": self.lr,
            "seconds": self.seconds,
            "images_per_second": self.seen / self.seconds,
        }
        self.history.append(row)
        self._begin_epoch()
        return row


def _under(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def fit(
    model: nn.Module,
    preset: Preset,
    train_set: Dataset,
    test_set: Dataset,
    *,
    threads: int | None = None,
    blas_threads: int = 1,
    after_step: Callable[[], None] | None = None,
) -> Iterator[Row]:
    """Train the model as the preset says; yield each epoch's figures when it ends.

    A row holds epoch, train_loss, test_loss, accuracy (a share), lr, seconds, images_per_second.
    """
    training = Training(
        model, preset, train_set, test_set, threads=threads, blas_threads=blas_threads
    )
    while not training.done:
        yield training.train_epoch(after_step)
