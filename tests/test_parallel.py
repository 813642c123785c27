"""Micro-batches on threads: the same gradients, masks and answers as the whole batch."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import context, nn
from minicnn.nn import functional as F
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
    class Lengths:
        x = minicnn.zeros(64, 1)

        def __call__(self, model, piece, sums):
            return piece.stop - piece.start

    batches = MicroBatches(network(), threads=2, micro_batch=3)
    sizes, *_ = batches._run(Lengths(), minicnn.Generator())
    assert [sum(sizes[thread::2]) for thread in (0, 1)] == [32, 32]
    assert max(sizes) == 3


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


# --- any model, any loss, or a refusal by name ---------------------------------------------------


class Standardised(nn.Conv2d):
    """A convolution whose filters are computed anew at each call, as for weight standardisation."""

    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=1)


def layers(draw):
    """A network of a few layers on (N, 2, 6, 6), some of its parameters frozen."""
    dropout = nn.Dropout(draw(st.sampled_from([0.1, 0.7])))
    first = draw(st.sampled_from([nn.Conv2d, Standardised]))(2, 3, 3, padding=1)
    model = nn.Sequential(
        first,
        nn.ReLU(),
        dropout,
        nn.Conv2d(3, 3, 3, padding=1),
        nn.Flatten(),
        nn.Linear(108, 4),
    ).double()
    if draw(st.booleans()):  # one layer in two places
        model.append(model[5:6].append(nn.Linear(4, 108).double())[1]).append(model[5])
    for p in list(model.parameters())[: draw(st.integers(0, 4))]:
        p.requires_grad_(draw(st.booleans()))
    return model


def changed(draw, model):
    """Something done to the model after MicroBatches was made."""
    match draw(st.integers(0, 5)):
        case 0:
            model[2].p = 0.5
        case 1:
            model[3] = nn.Conv2d(3, 3, 1).double()
        case 2:
            model.append(nn.Linear(4, 4).double())
        case 3:
            model[0].bias.requires_grad_(False)
        case 4:
            model[2].eval()


def mean_of_squares(outputs, y):
    return (outputs * outputs).mean()


def coupled(outputs, y):
    """A loss in which the images meet."""
    return (outputs - outputs.mean(0)).exp().mean().log() + F.cross_entropy(outputs, y)


def losses(draw):
    """A criterion and whether its targets are probabilities."""
    reduction = draw(st.sampled_from(["mean", "sum"]))
    options = {"reduction": reduction, "label_smoothing": draw(st.sampled_from([0.0, 0.2]))}
    if draw(st.booleans()):
        options["weight"] = minicnn.tensor([0.5, 2.0, 0.0, 1.0], dtype=minicnn.float64)
    if draw(st.booleans()):
        options["ignore_index"] = draw(st.sampled_from([0, 3]))
    criterion = draw(
        st.sampled_from(
            [
                nn.CrossEntropyLoss(**options),
                lambda outputs, y: F.cross_entropy(outputs, y, **options),
                mean_of_squares,
                coupled,
            ]
        )
    )
    probabilities = isinstance(criterion, nn.CrossEntropyLoss) and "ignore_index" not in options
    return criterion, probabilities and draw(st.booleans())


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore:.*threads on.*cores:UserWarning")
@given(st.data())
def test_micro_batches_are_the_whole_batch_for_any_model_and_loss(data):
    draw = data.draw
    minicnn.manual_seed(draw(st.integers(0, 99)))
    model, (criterion, probabilities) = layers(draw), losses(draw)
    n, threads, micro_batch = (
        draw(st.integers(1, 9)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
    )
    batches = MicroBatches(model, threads=threads, micro_batch=micro_batch)
    x = minicnn.randn(n, 2, 6, 6, dtype=minicnn.float64, requires_grad=draw(st.booleans()))
    if draw(st.booleans()):
        batches.predict(x)  # in use already when the model is changed
    changed(draw, model)
    y = F.softmax(minicnn.randn(n, 4, dtype=minicnn.float64), 1) if probabilities else None
    y = minicnn.randint(0, 4, (n,)) if y is None else y
    leaves = [*model.parameters(), x]

    minicnn.manual_seed(7)
    loss = criterion(model(x), y)
    loss.backward()
    want = [None if p.grad is None else array(p.grad).copy() for p in leaves]
    for p in leaves:
        p.grad = None
    minicnn.manual_seed(7)
    got = batches.backward(criterion, x, y)
    np.testing.assert_allclose(got, loss.item(), rtol=1e-9)
    for p, g in zip(leaves, want, strict=True):
        assert (p.grad is None) == (g is None)
        if g is not None:
            np.testing.assert_allclose(array(p.grad), g, rtol=1e-9, atol=1e-12)


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Scaled(nn.Module):
    def forward(self, x):
        return x / len(x)


class Noisy(nn.Module):
    def forward(self, x):
        return x + minicnn.randn(*x.shape, dtype=x.dtype)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, x):
        self.seen = self.seen + len(x)
        return x


class Averaging(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = minicnn.zeros(1, dtype=minicnn.float64)

    def forward(self, x):
        with minicnn.no_grad():
            self.mean += x.mean()
        return x


class Listing(nn.Module):
    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x):
        self.shapes.append(x.shape)
        return x


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    "layer", [Centred, Scaled, Noisy, Counting, Averaging, Listing, Pair], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("images", [minicnn.randn, minicnn.zeros], ids=["noise", "zeros"])
def test_a_layer_for_which_a_batch_can_not_be_cut_is_refused_by_name(layer, images):
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), layer()))
    x = 2 + images(5, 3, dtype=minicnn.float64)
    with pytest.raises(ValueError, match=rf"layer 1\.1 {layer.__name__}"):
        MicroBatches(model).predict(x)


def test_a_layer_added_later_is_looked_at_too():
    model = nn.Sequential(nn.Flatten())
    batches = MicroBatches(model)
    batches.predict(minicnn.randn(5, 3))
    model.append(Centred())
    with pytest.raises(ValueError, match="layer 1 Centred"):
        batches.predict(minicnn.randn(5, 3))


def test_a_frozen_model_has_nothing_to_send_back_as_in_the_whole_batch():
    model, (x, y) = network(), batch()
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(RuntimeError, match="requires grad"):
        MicroBatches(model).backward(nn.CrossEntropyLoss(), x, y)


def test_a_batch_in_which_no_target_counts_changes_nothing():
    model, (x, y) = network(), batch()
    loss = MicroBatches(model).backward(nn.CrossEntropyLoss(ignore_index=5), x, 0 * y + 5)
    assert np.isnan(loss)
    assert all(not array(p.grad).any() for p in model.parameters())


def test_smoothed_labels_of_a_class_without_weight():
    model, x, y = nn.Linear(3, 2), minicnn.randn(4, 3), minicnn.zeros(4).long()
    criterion = nn.CrossEntropyLoss(minicnn.tensor([0.0, 1.0]), label_smoothing=0.1)
    assert MicroBatches(model).backward(criterion, x, y) == criterion(model(x), y).item() == np.inf


# --- errors, threads and forks -------------------------------------------------------------------


@pytest.mark.cpu  # on a GPU the loss is NaN
@pytest.mark.parametrize("trial", range(8))
def test_after_a_bad_label_the_next_batch_is_right(trial):
    model, (x, y) = network(), batch()
    batches = MicroBatches(model, micro_batch=2)
    expected = whole_batch(model, x, y)[1]
    bad = y.clone()
    bad[4 * trial] = 99
    model.zero_grad()
    with pytest.raises(IndexError, match="99"):
        batches.backward(nn.CrossEntropyLoss(), x, bad)
    assert all(p.grad is None for p in model.parameters())
    minicnn.manual_seed(3)
    batches.backward(nn.CrossEntropyLoss(), x, y)
    for p, want in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(array(p.grad), want, rtol=1e-9, atol=1e-12)


def test_an_error_waits_for_the_other_threads():
    working = threading.Event()

    class Slow(nn.Module):
        def forward(self, x):
            if float(x[0, 0]) == 1:
                raise ValueError("the first")
            working.set()
            time.sleep(0.2)
            working.clear()
            return x

    batches = MicroBatches(Slow(), threads=2, micro_batch=1)
    batches._checked = [(m, m.training) for m in batches.model.modules()]
    with pytest.raises(ValueError, match="the first"):
        batches.predict(minicnn.tensor([[1.0], [2.0]]))
    assert not working.is_set()


def test_a_model_that_runs_in_micro_batches_itself_is_refused_and_not_waited_for():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.batches = MicroBatches(nn.Flatten())

        def forward(self, x):
            return self.batches.predict(x)

    for n in (1, 4):  # of one image nothing is looked at first
        with pytest.raises(RuntimeError, match="runs in micro-batches itself"):
            MicroBatches(Inner()).predict(minicnn.randn(n, 3))


def test_two_threads_may_ask_one_object():
    model, (x, _) = network().eval(), batch()
    batches = MicroBatches(model, micro_batch=3)
    want = array(batches.predict(x))
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: array(batches.predict(x)), range(8)):
            np.testing.assert_array_equal(got, want)


def test_what_another_thread_draws_makes_no_model_coupled_and_is_noticed():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout()

        def forward(self, x):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(minicnn.rand, 1).result()
            return self.dropout(x)

    with pytest.raises(RuntimeError, match="another thread drew from the same random numbers"):
        MicroBatches(Beside()).predict(minicnn.ones(4, 50))


def test_two_objects_that_draw_the_same_numbers_at_a_time_are_noticed():
    both, outcomes = threading.Barrier(2), []

    class Meeting(nn.Module):
        def forward(self, x):
            if len(x) == 2:  # and not where images are tried one by one
                both.wait(10)
            return x

    def predict(batches):
        try:
            batches.predict(minicnn.ones(2, 50))
            outcomes.append("")
        except RuntimeError as error:
            outcomes.append(str(error))

    made = [MicroBatches(nn.Sequential(Meeting(), nn.Dropout()), threads=1) for _ in range(2)]
    threads = [threading.Thread(target=predict, args=[each]) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[0] == ""
    assert "another thread drew from the same random numbers" in sorted(outcomes)[1]


def test_both_passes_draw_the_same_where_another_thread_had_the_first_turn():
    asked = threading.Event()

    class Slow(nn.Module):
        def forward(self, x):
            if asked.is_set():
                asked.clear()
                time.sleep(0.2)  # the other call waits for its turn
            return x

    weight = nn.Linear(50, 1, bias=False)
    model = nn.Sequential(Slow(), nn.Dropout(), weight)
    batches, x, losses = MicroBatches(model, threads=1), minicnn.ones(4, 50), []

    def call():
        losses.append(batches.backward(lambda output, _: output.sum(), x, x))

    minicnn.manual_seed(0)
    call()  # the model has been looked at
    weight.zero_grad()
    losses.clear()
    asked.set()
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The losses are linear in the weights, so that their gradients give them back.
    assert (weight.weight * weight.weight.grad).sum().item() == pytest.approx(sum(losses), rel=1e-5)


def test_a_loop_beside_an_evaluation_in_another_thread_learns_as_alone():
    def learn():
        with context.using(conv_algorithm="auto"):
            return learnt()

    def learnt():
        minicnn.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16, 2))
        generator = minicnn.Generator().manual_seed(1)
        x = minicnn.randn(4, 16, 3, 3, generator=generator)
        optimizer = minicnn.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(model(x), minicnn.tensor([0, 1, 0, 1]))
            loss.backward()
            optimizer.step()
        return loss.item()

    alone = learn()
    other = MicroBatches(nn.Sequential(nn.Conv2d(16, 16, 3)), micro_batch=4)
    images, stop = minicnn.zeros(64, 16, 8, 8), threading.Event()

    def evaluate():
        while not stop.is_set():
            other.predict(images)

    thread = threading.Thread(target=evaluate)
    thread.start()
    try:
        assert learn() == pytest.approx(alone, rel=1e-4)
    finally:
        stop.set()
        thread.join()


AFTER_A_FORK = """
import os, sys, threading, minicnn
from minicnn import nn
from minicnn.backends import threads
from minicnn.parallel import MicroBatches

model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
x, y = minicnn.randn(64, 1, 8, 8), minicnn.randint(0, 10, (64,))
batches = MicroBatches(model, threads=2)

def work():
    batches.backward(nn.CrossEntropyLoss(), x, y)
    model(minicnn.randn(256, 1, 8, 8)).sum().backward()

work()
before = threads.count()
with threads.blas_threads(1):  # a fork in the middle of what another thread does, as it were
    child = os.fork()
    if child == 0:
        work()
        os._exit(0 if threads.count() == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_fork_has_threads_of_its_own():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AFTER_A_FORK],
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# --- what hides from a look at the first batch ---------------------------------------------------


class Normalised(nn.Module):
    """Batch statistics, where `on`, before a head whose weights are still 0."""

    def __init__(self, on=True):
        super().__init__()
        self.on, self.head = on, nn.Linear(3, 2)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        return self.head((x - x.mean(0)) / (1 + x.max(0)[0]) if self.on else x)


def test_weights_of_0_hide_no_dependence():
    with pytest.raises(ValueError, match="Normalised"):
        MicroBatches(Normalised()).predict(minicnn.randn(6, 3))


def test_a_setting_that_changes_is_looked_at_again():
    model = nn.Sequential(nn.Flatten(), Normalised(on=False))
    batches = MicroBatches(model)
    batches.predict(minicnn.randn(6, 3))
    model[1].on = True
    with pytest.raises(ValueError, match="layer 1 Normalised"):
        batches.predict(minicnn.randn(6, 3))


def test_equal_images_of_whole_numbers_hide_no_dependence():
    class Centring(nn.Module):
        def forward(self, x):
            return x.float() - x.float().mean(0)

    with pytest.raises(ValueError, match="Centring"):
        MicroBatches(Centring()).predict(minicnn.zeros(6, 3, dtype=minicnn.uint8))


def test_the_look_leaves_the_model_as_it_was():
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", minicnn.zeros(3))
            self.scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = x.max()
            self.mean += x.mean(0)
            return x

    model = Remembering()
    for _ in range(2):
        with pytest.raises(ValueError, match="keeps something"):
            MicroBatches(model).predict(minicnn.randn(6, 3))
    assert model.scale is None
    assert not array(model.mean).any()


def test_images_that_a_model_insists_on_are_not_spoiled_with_noise():
    class Insisting(nn.Module):
        def forward(self, x):
            assert float(x.max()) <= 1
            return 2 * x

    MicroBatches(Insisting()).predict(minicnn.ones(6, 3))


@pytest.mark.parametrize("draw", [lambda: np.random.rand(), lambda: random.random()])
def test_numbers_of_other_generators_belong_to_no_image(draw):
    class Depth(nn.Module):
        """Stochastic depth that nearly always keeps the batch."""

        def forward(self, x):
            return x if draw() > 1e-9 else 0 * x

    with pytest.raises(ValueError, match=r"Depth.*draws random numbers"):
        MicroBatches(Depth()).predict(minicnn.randn(6, 3))


def test_a_number_drawn_for_the_whole_batch_is_the_same_in_all_pieces():
    class Depth(nn.Module):
        def forward(self, x):
            return x * minicnn.rand(1, dtype=x.dtype)

    x = minicnn.ones(9, 3, dtype=minicnn.float64)
    minicnn.manual_seed(5)
    want = array(Depth()(x))
    minicnn.manual_seed(5)
    np.testing.assert_array_equal(array(MicroBatches(Depth(), micro_batch=2).predict(x)), want)


def test_rows_of_dropout_belong_to_images_or_are_refused():
    class Tokens(nn.Module):
        def forward(self, x):
            n, t, c = x.shape
            return F.dropout(x.reshape(n * t, c), 0.5).reshape(n, t, c)

    class Shared(nn.Module):
        def forward(self, x):
            return x * F.dropout(minicnn.ones(1, dtype=x.dtype), 0.5)

    x = minicnn.ones(9, 4, 3, dtype=minicnn.float64)
    minicnn.manual_seed(5)
    want = array(Tokens()(x))
    minicnn.manual_seed(5)
    np.testing.assert_array_equal(array(MicroBatches(Tokens(), micro_batch=2).predict(x)), want)
    with pytest.raises(ValueError, match="no multiple of a piece's 3 images"):
        MicroBatches(Shared()).predict(x)


# --- histories, threads and odd arguments --------------------------------------------------------


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), mean_of_squares])
def test_images_with_a_history_send_their_gradient_through_it(criterion):
    stem, head = nn.Linear(4, 3).double(), nn.Linear(3, 5).double()
    x, y = minicnn.randn(9, 4, dtype=minicnn.float64), minicnn.randint(0, 5, (9,))
    criterion(head(stem(x)), y).backward()
    want = array(stem.weight.grad).copy()
    stem.zero_grad()
    MicroBatches(head, micro_batch=2).backward(criterion, stem(x), y)
    np.testing.assert_allclose(array(stem.weight.grad), want, rtol=1e-9)


def test_targets_with_a_history_too():
    teacher, student = nn.Linear(4, 5).double(), nn.Linear(4, 5).double()
    x = minicnn.randn(9, 4, dtype=minicnn.float64)
    nn.CrossEntropyLoss()(student(x), F.softmax(teacher(x), 1)).backward()
    want = array(teacher.weight.grad).copy()
    teacher.zero_grad()
    student.zero_grad()
    MicroBatches(student, micro_batch=2).backward(
        nn.CrossEntropyLoss(), x, F.softmax(teacher(x), 1)
    )
    np.testing.assert_allclose(array(teacher.weight.grad), want, rtol=1e-9)


def test_a_criterion_that_was_given_another_forward_is_asked():
    model, (x, y) = network(), batch()
    criterion = nn.CrossEntropyLoss()
    criterion.forward = lambda outputs, y: (outputs * outputs).sum()
    expected = criterion(model.eval()(x), y).item()
    assert MicroBatches(model).backward(criterion, x, y) == pytest.approx(expected, rel=1e-9)


def test_gradients_from_several_threads_all_arrive():
    model, (x, y) = network().eval(), batch()
    batches = MicroBatches(model, micro_batch=4)
    batches.backward(nn.CrossEntropyLoss(), x, y)
    once = [array(p.grad).copy() for p in model.parameters()]
    model.zero_grad()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: batches.backward(nn.CrossEntropyLoss(), x, y), range(8)))
    for p, g in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(array(p.grad), 8 * g, rtol=1e-9)


ODD = {
    "targets of another number": (lambda m, x, y: (m, x, y[:5]), "37 images and 5 targets"),
    "more targets than images": (lambda m, x, y: (m, x[:5], y), "5 images and 37 targets"),
    "an array of images": (lambda m, x, y: (m, array(x), y), "images must be a Tensor"),
    "a list of targets": (lambda m, x, y: (m, x, y.tolist()), "targets must be a Tensor"),
    "a function for a model": (lambda m, x, y: (m.forward, x, y), "model must be a Module"),
    "several outputs": (
        lambda m, x, y: (Pair(), x[:1], y[:1]),
        "must be a Tensor, got tuple",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_arguments_are_named(case):
    make, message = ODD[case]
    model, x, y = make(network(), *batch())
    with pytest.raises((TypeError, ValueError), match=message):
        MicroBatches(model).backward(nn.CrossEntropyLoss(), x, y)


def test_a_copy_has_threads_of_its_own():
    model, (x, _) = network().eval(), batch()
    batches = MicroBatches(model)
    want = array(batches.predict(x))
    np.testing.assert_array_equal(array(copy.deepcopy(batches).predict(x)), want)
