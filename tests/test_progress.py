"""What a person sees of a training on a terminal: where it is, the loss, and the time left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nin import progress
from nin.progress import Progress

pytestmark = pytest.mark.cpu


@pytest.fixture
def seen(monkeypatch, capsys):
    """What the bar has written, and a clock that the test winds on."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    clock.text = lambda: capsys.readouterr().err
    return clock


def training(seen=0, epoch=1, testing=0):
    """A training of 3 epochs of 400 images, after so many; `testing` batches are tested now."""
    return SimpleNamespace(
        done=epoch > 3,
        epoch=epoch,
        seen=seen,
        batch=seen // 100,
        testing=testing,
        preset=SimpleNamespace(epochs=3),
        train_loader=SimpleNamespace(dataset=range(400)),
        send_mean_loss=lambda: lambda: 0.25,
    )


def test_the_time_that_is_left_is_that_of_the_whole_run(seen):
    bar = Progress(hidden=False, interval=0)
    for images in (100, 200):  # the first step is the start of the clock
        bar.on_batch(training(images))
        seen.now += 10
    bar.on_batch(training(300))
    bar.bar.refresh()
    # 900 images are left, at 10 seconds a hundred.
    assert "loss 0.2500, 01:30 left" in seen.text()


def test_a_test_is_called_one(seen):
    bar = Progress(hidden=False, interval=0)
    bar.on_batch(training(400))
    assert "testing" not in seen.text()
    for _ in range(3):
        bar.on_batch(training(400, testing=4))
        seen.now += 1
    text = seen.text()
    assert [f"Epoch 1/3, testing {n}%: 100%" in text for n in (25, 50, 75)] == [True] * 3


def test_the_test_at_the_end_has_a_bar_of_its_own(seen):
    bar = Progress(hidden=False, interval=0)
    for _ in range(3):
        bar.on_batch(training(0, epoch=4, testing=4))
    bar.bar.refresh()
    assert "Test:  75%" in seen.text()


def test_the_next_epoch_is_trained_again(seen):
    bar = Progress(hidden=False, interval=0)
    for at in (training(400), training(400, testing=4)):
        bar.on_batch(at)
    bar.close()
    bar.on_batch(training(100, epoch=2))
    bar.bar.refresh()
    assert seen.text().rpartition("Epoch 2/3")[2].startswith(":  25%")
