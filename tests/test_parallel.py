"""Micro-batches on threads: the same gradients, masks and answers as the whole batch."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.parallel import MicroBatches, available_cores

from .arrays import array

SETTINGS = [(1, 1), (1, 100), (2, 1), (2, 5), (2, 16)]  # threads, micro_batch


def network(dtype=minicnn.float64) -> nn.Sequential:
    minicnn.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Conv2d(4, 10, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).to(dtype)


def batch(n=37, dtype=minicnn.float64):
    minicnn.manual_seed(2)
    return minicnn.randn(n, 1, 9, 9, dtype=dtype), minicnn.randint(0, 10, (n,))


def whole_batch(model, x, y, seed=3):
    minicnn.manual_seed(seed)
    model.zero_grad()
    loss = nn.CrossEntropyLoss()(model(x), y)
    loss.backward()
    return loss.item(), [array(p.grad) for p in model.parameters()]


def in_pieces(model, x, y, threads, micro_batch, seed=3):
    minicnn.manual_seed(seed)
    model.zero_grad()
    batches = MicroBatches(model, threads=threads, micro_batch=micro_batch)
    loss = batches.backward(nn.CrossEntropyLoss(), x, y)
    return loss, [array(p.grad) for p in model.parameters()]


@pytest.mark.filterwarnings("ignore:.*threads on.*cores:UserWarning")
@pytest.mark.parametrize(("threads", "micro_batch"), SETTINGS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(minicnn.float64, 1e-12), (minicnn.float32, 1e-5)]
)
def test_gradients_are_the_whole_batchs(threads, micro_batch, dtype, tolerance):
    model, (x, y) = network(dtype), batch(dtype=dtype)
    _, expected = whole_batch(model, x, y)
    _, gradients = in_pieces(model, x, y, threads, micro_batch)
    for got, want in zip(gradients, expected, strict=True):
        assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


def test_loss_is_the_whole_batchs_though_pieces_differ_in_size():
    model, (x, y) = network(), batch(37)
    expected, _ = whole_batch(model, x, y)
    assert in_pieces(model, x, y, 1, 8)[0] == pytest.approx(expected, rel=1e-12)


def test_result_does_not_depend_on_timing():
    model, (x, y) = network(minicnn.float32), batch(dtype=minicnn.float32)
    first = in_pieces(model, x, y, available_cores(), 2)[1]
    for _ in range(5):
        again = in_pieces(model, x, y, available_cores(), 2)[1]
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_next_step_drops_other_units():
    model, (x, y) = network(), batch()
    batches = MicroBatches(model, threads=1, micro_batch=8)
    losses = {batches.backward(nn.CrossEntropyLoss(), x, y) for _ in range(3)}
    assert len(losses) == 3


def test_gradients_add_to_those_already_there():
    model, (x, y) = network().eval(), batch()
    batches = MicroBatches(model, threads=1, micro_batch=8)
    batches.backward(nn.CrossEntropyLoss(), x, y)
    once = [array(p.grad).copy() for p in model.parameters()]
    batches.backward(nn.CrossEntropyLoss(), x, y)
    for p, g in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(array(p.grad), 2 * g, rtol=1e-12)


def test_predict_is_the_model_in_the_order_of_the_images():
    model, (x, _) = network().eval(), batch()
    np.testing.assert_allclose(
        array(MicroBatches(model, micro_batch=5).predict(x)), array(model(x)), rtol=1e-12
    )


def test_a_batch_below_the_micro_batch_is_shared_out_all_the_same():
    sizes = []

    class Listening(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x

    batches = MicroBatches(Listening(), micro_batch=1000)
    batches.predict(minicnn.zeros(64, 1))  # which looks at a few images first
    sizes.clear()
    batches.predict(minicnn.zeros(64, 1))
    assert len(sizes) == min(64, available_cores())


def test_every_thread_gets_as_many_images():
    batches = MicroBatches(network(), threads=2, micro_batch=3)
    done = batches._run(lambda piece: piece.stop - piece.start, 64, minicnn.Generator())
    assert [sum(sizes) for sizes in done] == [32, 32]
    assert max(map(max, done)) == 3


def test_weights_loaded_later_are_the_ones_used():
    model, (x, _) = network().eval(), batch()
    batches = MicroBatches(model, micro_batch=5)
    model.load_state_dict({name: 0 * p for name, p in model.state_dict().items()})
    assert not array(batches.predict(x)).any()


def test_an_error_in_a_thread_reaches_the_caller():
    model, (_, y) = network(), batch()
    with pytest.raises(ValueError, match=r"layer 0 Conv2d\(1, 4"):
        MicroBatches(model).backward(nn.CrossEntropyLoss(), minicnn.zeros(37, 3, 9, 9), y)


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"micro_batch": 0}, {"micro_batch": 1.5}, {"blas_threads": 0}]
)
def test_counts_below_one_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        MicroBatches(network(), **settings)


def test_more_threads_than_cores_get_a_warning():
    with pytest.warns(UserWarning, match="threads on"):
        MicroBatches(network(), threads=available_cores() + 1)
