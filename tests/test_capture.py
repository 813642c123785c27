"""A captured step does what the step does, number for number."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import context, nn, optim
from minicnn.capture import Captured
from minicnn.nn.utils import clip_grad_norm_
from minicnn.tensor import Tensor

pytestmark = pytest.mark.usefixtures("backend")


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        nn.Conv2d(4, 6, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        nn.Conv2d(6, 5, kernel_size=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 5),
    )


def train(device, wrap, sizes=(6, 6, 6, 4, 6, 4, 4), dtype="float64"):
    """Losses, and logits in evaluation between them, of steps on batches of these sizes."""
    minicnn.manual_seed(3)
    model = network().to(device).to(getattr(minicnn, dtype))
    optimizer = optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-3, nesterov=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    step = wrap(step, model, optimizer)
    rng, results = np.random.default_rng(0), []
    for i, n in enumerate(sizes):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + i)
        x = Tensor(rng.standard_normal((n, 1, 9, 9)).astype(dtype)).to(device)
        results.append(step(x, Tensor(rng.integers(0, 5, n)).to(device)).cpu().detach().numpy())
        with minicnn.no_grad():
            results.append(model.eval()(x).cpu().numpy())
        model.train()
    return results


def test_a_captured_step_is_the_step(backend):
    plain = train(backend.device_type, lambda step, *_: step)
    captured = train(backend.device_type, Captured)
    for a, b in zip(plain, captured, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_it_is_the_step_of_numpy(backend):
    host = train("cpu", lambda step, *_: step, dtype="float32")
    captured = train(backend.device_type, Captured, dtype="float32")
    for a, b in zip(host, captured, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_step_is_captured_when_its_shape_comes_again(backend):
    calls = []

    def step(x):
        calls.append(x.shape)
        return x * 2

    captured = Captured(step)
    for n in (1, 2, 1, 1, 2, 1):
        x = minicnn.arange(n).to(backend.device_type)
        assert captured(x).tolist() == [2 * i for i in range(n)]
    graphs = backend.device_type == "cuda"
    assert calls == [(1,), (2,), (1,), (2,)] if graphs else len(calls) == 6


def test_a_step_may_return_nothing_and_change_a_tensor_instead(backend):
    total = minicnn.zeros(2).to(backend.device_type)

    def step(x):
        with minicnn.no_grad():
            total.copy_(total + x)

    captured = Captured(step)
    for i in range(4):
        assert captured(minicnn.full((2,), i).to(backend.device_type)) is None
    assert total.tolist() == [6, 6]


def test_a_copy_is_not_read_once_a_launch_has_written_into_its_source(backend):
    with minicnn.no_grad():  # whose memory is channels-last, so that a view of it is a copy
        total = nn.functional.conv2d(minicnn.ones(1, 1, 4, 4), minicnn.ones(3, 1, 3, 3))
        total = total.to(backend.device_type)

    def step(x):
        with minicnn.no_grad():
            total.add_(x)

    captured = Captured(step)
    for _ in range(4):
        copy = total.view(-1)
        assert copy.sum().item() > 0
        captured(minicnn.ones(1).to(backend.device_type))
        with pytest.raises(RuntimeError, match="this tensor is a copy"):
            copy.sum()
    assert total.tolist() == minicnn.full((1, 3, 2, 2), 13).tolist()


def test_a_copy_of_a_gradient_is_not_read_once_a_launch_has_made_the_next(backend):
    minicnn.manual_seed(0)
    model = nn.Conv2d(2, 3, 3).to(backend.device_type)
    captured = Captured(lambda x: model(x).sum().backward(), model)
    x = minicnn.ones(1, 2, 4, 4).to(backend.device_type)
    for _ in range(3):
        model.zero_grad()
        captured(x)
    copy = model.weight.grad.view(-1)
    model.zero_grad()
    captured(2 * x)
    if backend.device_type == "cuda":  # a graph's gradients stay where they are
        with pytest.raises(RuntimeError, match="this tensor is a copy"):
            copy.sum()
    else:
        assert copy.tolist() == [4] * 54


def test_the_same_result_stays_after_the_next_call(backend):
    captured = Captured(lambda x: x * 2)
    x = [minicnn.full((2,), i).to(backend.device_type) for i in range(4)]
    results = [captured(each) for each in x]
    assert [r.tolist() for r in results] == [[0, 0], [2, 2], [4, 4], [6, 6]]


def test_a_captured_step_with_a_label_out_of_range_gives_nan(backend):
    def step(x, y):
        return nn.functional.cross_entropy(x, y)

    captured = Captured(step)
    x = minicnn.zeros(2, 3).to(backend.device_type)
    labels = [minicnn.tensor([0, k]).to(backend.device_type) for k in (1, 2, 3)]
    captured(x, labels[0])
    captured(x, labels[1])
    if backend.device_type == "cpu":
        with pytest.raises(IndexError, match="target 3 is out of range"):
            captured(x, labels[2])
    else:
        assert np.isnan(captured(x, labels[2]).item())


def frozen(model, optimizer):
    model[0].weight.requires_grad_(False)


def dropped_otherwise(model, optimizer):
    model[3].p = 0.6


def replaced(model, optimizer):
    model[7] = nn.Conv2d(6, 5, kernel_size=1).to(model[0].weight.device).double()


def moved(model, optimizer):
    model[4].weight.data = model[4].weight.detach().clone()


def heavier(model, optimizer):
    optimizer.param_groups[0]["momentum"] = 0.5


def evaluating(model, optimizer):
    model[3].eval()


@pytest.mark.parametrize(
    "change", [frozen, dropped_otherwise, replaced, moved, heavier, evaluating]
)
def test_what_changes_after_a_capture_is_not_what_was_captured(backend, change):
    def train(wrap):
        minicnn.manual_seed(3)
        model = network().to(backend.device_type).double()
        optimizer = optim.SGD(model.parameters(), 0.1, 0.9)

        def step(x, y):
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        step, rng, losses = wrap(step, model, optimizer), np.random.default_rng(0), []
        for i in range(8):
            if i == 4:
                change(model, optimizer)
            x = Tensor(rng.standard_normal((6, 1, 9, 9))).to(backend.device_type)
            losses.append(step(x, Tensor(rng.integers(0, 5, 6)).to(backend.device_type)).item())
        return losses, model[0].weight.detach().cpu().numpy()

    plain, captured = train(lambda step, *_: step), train(Captured)
    np.testing.assert_allclose(captured[0], plain[0], rtol=1e-9)
    np.testing.assert_allclose(captured[1], plain[1], rtol=1e-9)


class Scaled(nn.Module):
    """x times a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", minicnn.full((1,), 2.0))

    def forward(self, x):
        return x * self.factor


def test_a_buffer_that_moves_after_a_capture_is_read_where_it_is(backend):
    model = Scaled().to(backend.device_type)
    captured, x = Captured(model, model), minicnn.ones(1).to(backend.device_type)
    assert [captured(x).item() for _ in range(3)] == [2, 2, 2]
    model.factor = minicnn.full((1,), 5.0).to(backend.device_type)
    assert [captured(x).item() for _ in range(3)] == [5, 5, 5]


@pytest.mark.cuda
def test_precision_that_changes_after_a_capture_is_that_of_the_next_step():
    captured, x = Captured(lambda x: (x @ x).max()), minicnn.full((64, 64), 1 + 2**-12).to("cuda")
    exact = [captured(x).item() for _ in range(3)]
    with context.using(tf32=True):
        rounded = [captured(x).item() for _ in range(3)]
    assert set(rounded) == {64.0}
    assert exact == [captured(x).item() for _ in range(3)] != rounded


def test_what_changes_at_every_step_is_remembered_up_to_a_limit(backend):
    layer = nn.Dropout(0.0)
    captured = Captured(layer, layer)
    x = minicnn.ones(2).to(backend.device_type)
    for i in range(200):
        layer.p = i / 1e6
        captured(x)
    assert len(captured._known) <= 64


def test_tensors_on_the_host_are_never_captured(backend):
    captured = Captured(lambda x: x.sum())
    for device in (backend.device_type, "cpu", backend.device_type):
        results = [captured(minicnn.full((3,), float(i)).to(device)) for i in range(4)]
        assert {result.device.type for result in results} == {device}
        assert results[-1].item() == 9


class Child(nn.Module):
    def __init__(self, parent):
        super().__init__()
        object.__setattr__(self, "parent", parent)  # which registers nothing

    def forward(self, x):
        return x * self.parent.factor


def test_a_module_may_know_the_one_that_it_is_in(backend):
    model = Scaled().to(backend.device_type)
    model.child = Child(model)
    captured, x = Captured(model.child, model), minicnn.ones(1).to(backend.device_type)
    assert [captured(x).item() for _ in range(3)] == [2, 2, 2]
