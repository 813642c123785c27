"""What is seen of a training: messages and an epoch under way on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from minicnn import console

from .command_line import printable
from .fit import Callback, Training

LAYOUT = "{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}{postfix}"


class Progress(Callback):
    """A bar on stderr, or a line every `interval` steps; the loss is fetched twice a second.

    The bar is an epoch's. Beside it stands how much time is left of the whole run.
    """

    def __init__(self, hidden: bool, interval: int) -> None:
        self.hidden, self.interval = hidden, interval
        self.bar: tqdm | None = None
        self.coming: Callable[[], float | None] | None = None  # the loss, on its way from a GPU
        self.begun: float | None = None  # when the first step that was seen had been taken
        self.trained = 0  # images since then
        self.tested = 0  # batches of the evaluation under way
        self.shown = 0.0  # when the bar was

    def on_batch(self, training: Training) -> None:
        if training.testing:
            self._on_test(training)
            return
        now = time.monotonic()
        if self.bar is None:
            self.bar, self.seen = self._bar(training), 0
        new, self.seen = training.seen - self.seen, training.seen
        if self.begun is None:
            self.begun = now
        else:
            self.trained += new
        if not self.hidden and now - self.shown > 0.5:
            self.coming, self.shown = training.send_mean_loss(), now
        if self.coming is not None and (loss := self.coming()) is not None:
            left = self._left(training, now)
            self.bar.set_postfix_str(f"loss {loss:.4f}{left}", refresh=False)
            self.coming = None
        self.bar.update(new)
        if self.interval and training.batch % self.interval == 0:
            tqdm.write(  # above the bar
                f"Step {training.batch}/{len(training.train_loader)} of epoch {training.epoch},"
                f" Train Loss: {training.mean_loss():.4f}",
                file=sys.stderr,
            )

    def on_epoch(self, training: Training) -> None:
        self.close()
        row, preset = training.history[-1], training.preset
        print(
            f"Epoch [{row['epoch']}/{preset.epochs}], Train Loss: {row['train_loss']:.4f},"
            f" {'Val' if preset.validation else 'Test'} Loss: {row['eval_loss']:.4f},"
            f" Acc: {100 * row['accuracy']:.2f}%",
            flush=True,
        )

    def on_end(self, training: Training) -> None:
        self.close()

    def _on_test(self, training: Training) -> None:
        """A batch of an epoch's evaluation, or of the test at the end, which has its own bar."""
        if self.bar is None:
            self.bar = self._bar(training)
        if training.done:
            self.bar.update()
            return
        self.tested += 1
        share = f"{self.tested / training.testing:.0%}"
        self.bar.set_description_str(f"{self._named(training)}, testing {share}", refresh=False)
        now = time.monotonic()
        if not self.hidden and (self.tested == 1 or now - self.shown > 0.2):
            self.bar.refresh()
            self.shown = now

    def _left(self, training: Training, now: float) -> str:
        """The time to the end of the run, tests included, by what it has taken until now."""
        if not self.trained or self.begun is None:
            return ""
        images, epochs = len(training.train_loader.dataset), training.preset.epochs
        to_go = (epochs - training.epoch + 1) * images - training.seen
        return f", {tqdm.format_interval((now - self.begun) / self.trained * to_go)} left"

    @staticmethod
    def _named(training: Training) -> str:
        return f"Epoch {training.epoch}/{training.preset.epochs}"

    def _bar(self, training: Training) -> tqdm:
        self.tested, self.shown, self.coming = 0, time.monotonic(), None
        at_the_end = training.done
        return tqdm(
            total=training.testing if at_the_end else len(training.train_loader.dataset),
            desc="Test" if at_the_end else self._named(training),
            bar_format=LAYOUT,
            unit=" batches" if at_the_end else " images",
            leave=False,
            disable=self.hidden,
            dynamic_ncols=True,
        )

    def close(self) -> None:
        """The epoch or the test is over, or there is something else to say."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def say(self, text: str) -> None:
        """A message on stderr, in lines that a terminal holds, and not through the bar."""
        self.close()
        lines = console.filled(text, later="  ").splitlines()
        print(*map(printable, lines), sep="\n", file=sys.stderr, flush=True)
