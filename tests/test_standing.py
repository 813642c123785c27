"""A graph is of how things stand: whatever changes between calls, the numbers are the step's."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import minicnn
from minicnn import context, nn, optim, random
from minicnn.capture import Captured
from minicnn.nn import functional as F

pytestmark = pytest.mark.usefixtures("backend")


class Net(nn.Module):
    """Two layers, and settings of every kind."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.dropout = nn.Dropout(0.3)
        self.factor, self.activation, self.scale = np.float32(1.5), F.relu, minicnn.full((1,), 2.0)

    def forward(self, x):
        return self.second(self.dropout(self.activation(self.first(x)))) * self.scale * self.factor


def another_factor(net, optimizer):
    net.factor = np.float32(0.5)


def another_function(net, optimizer):
    net.activation = F.sigmoid


def another_tensor(net, optimizer):
    net.scale = minicnn.full((1,), -1.0)


def another_seed(net, optimizer):
    minicnn.manual_seed(77)


def momentum_as_a_numpy_number(net, optimizer):
    optimizer.param_groups[0]["momentum"] = np.float32(0.25)


def another_gradient(net, optimizer):
    for p in net.parameters():
        p.grad = minicnn.ones(*p.shape)


def no_gradient(net, optimizer):
    for p in net.parameters():
        p.grad = None


def no_momentum_buffers(net, optimizer):
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": {}, "param_groups": groups})


def weights_there_and_back(net, optimizer):
    net.first.weight.data, net.first.weight.kept = net.first.weight.detach().clone(), net.first


def groups_regrouped(net, optimizer):
    first, second = optimizer.param_groups
    second["params"].append(first["params"].pop())


CHANGES = [
    another_factor, another_function, another_tensor, another_seed, momentum_as_a_numpy_number,
    another_gradient, no_gradient, no_momentum_buffers, weights_there_and_back, groups_regrouped,
]  # fmt: skip


@pytest.mark.parametrize("inside", [True, False], ids=["whole step", "backward alone"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_calls_is_seen(change, inside):
    def train(wrap):
        minicnn.manual_seed(3)
        net = Net()
        groups = [{"params": [*net.first.parameters()]}, {"params": [*net.second.parameters()]}]
        groups[1]["lr"] = 0.01
        optimizer = optim.SGD(groups, 0.05, 0.9, dampening=0.5)

        def backward(x, y):
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        def step(x, y):
            loss = backward(x, y)
            optimizer.step()
            optimizer.zero_grad()
            return loss

        call, rng, losses = wrap(step if inside else backward, net, optimizer), rng_of(0), []
        for i in range(9):
            if i == 5:
                change(net, optimizer)
            x = minicnn.tensor(rng.standard_normal((5, 3)).astype("float32"))
            losses.append(call(x, minicnn.tensor(rng.integers(0, 2, 5))).item())
            if not inside:
                optimizer.step()
                if i % 2:
                    optimizer.zero_grad()
        return losses, net.second.weight.detach().cpu().numpy()

    plain, captured = train(lambda step, *_: step), train(Captured)
    np.testing.assert_allclose(captured[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(captured[1], plain[1], rtol=1e-5)


def rng_of(seed):
    return np.random.default_rng(seed)


def test_numbers_are_drawn_from_the_generator_in_force():
    layer = nn.Dropout(0.5)
    captured, x = Captured(layer, layer), minicnn.ones(64)
    for _ in range(3):
        captured(x)
    drawn = []
    for call in (layer, captured, layer, captured):
        other = random.Generator().manual_seed(5)
        with context.using(generator=other):
            drawn.append(call(x).tolist())
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]


def test_threads_take_turns():
    captured, wrong = Captured(lambda x: x * 2), []

    def work(number):
        x = minicnn.full((1000,), number)
        wrong.extend(i for i in range(50) if captured(x).tolist() != [2 * number] * 1000)

    threads = [threading.Thread(target=work, args=(float(n),)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("step", "inputs", "error", "message"),
    [
        (lambda x: (x, x), 1, TypeError, "returns one tensor or None, got tuple"),
        (lambda: None, 0, TypeError, "at least one tensor"),
        (lambda x: x.fill_(1), 1, RuntimeError, "changes an input in place"),
    ],
    ids=["a tuple", "no input", "in place"],
)
def test_what_a_graph_cannot_do_is_refused_at_the_first_call(step, inputs, error, message):
    with pytest.raises(error, match=message):
        Captured(step)(*[minicnn.ones(2)] * inputs)


@pytest.mark.cuda
def test_an_input_that_requires_grad_is_refused():
    with pytest.raises(RuntimeError, match="an input requires grad"):
        Captured(lambda x: x * 2)(minicnn.ones(2, requires_grad=True))


@pytest.mark.cuda
def test_a_capture_that_fails_leaves_the_gradients_as_they_were():
    layer, calls = nn.Linear(2, 1), []

    def step(x):
        loss = layer(x).sum()
        loss.backward()
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("during the capture")
        return loss

    captured, x = Captured(step), minicnn.ones(1, 2)
    captured(x)
    with pytest.raises(KeyError):
        Captured.__call__(captured, x)
    assert layer.weight.grad.tolist() == [[1, 1]]


@pytest.mark.cuda
def test_a_backward_within_a_backward_keeps_both_gradients():
    from minicnn.autograd import operation

    def gradients(wrap):
        minicnn.manual_seed(0)
        layer = nn.Linear(3, 3)
        optimizer = optim.SGD(layer.parameters(), 0.1)

        @operation
        def checkpointed(x):
            def vjp(g):
                again = minicnn.Tensor(x, requires_grad=True)
                layer(again).backward(minicnn.Tensor(g))
                return again.grad_array

            with minicnn.no_grad():
                y = layer(minicnn.Tensor(x)).array
            return y, vjp

        def step(x):
            optimizer.zero_grad()
            h = layer(x)
            (checkpointed(h) * layer(h)).sum().backward()
            optimizer.step()

        step, x = wrap(step, layer, optimizer), minicnn.ones(2, 3)
        for _ in range(4):
            step(x)
        return [p.detach().cpu().numpy() for p in layer.parameters()]

    for plain, captured in zip(gradients(lambda step, *_: step), gradients(Captured), strict=True):
        np.testing.assert_allclose(captured, plain, rtol=1e-5)
