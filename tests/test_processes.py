"""Micro-batches on processes: bit for bit those on threads, and no process outlives its use."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import context, nn, optim
from minicnn.nn import functional as F
from minicnn.parallel import MicroBatches
from minicnn.processes import AVAILABLE, Processes, WorkerDied
from nin import lock, train
from nin.command_line import Failure
from nin.executors import executor_for
from nin.fit import Training
from nin.presets import Preset

from . import noise

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(not AVAILABLE, reason="only Linux forks reliably"),
    pytest.mark.filterwarnings("ignore:.*threads on.*cores:UserWarning"),
]
ENTROPY = nn.CrossEntropyLoss()


def network(dtype=minicnn.float32) -> nn.Sequential:
    minicnn.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10),
    ).to(dtype)  # fmt: skip


def batch(n=13, dtype=minicnn.float32):
    minicnn.manual_seed(2)
    return minicnn.randn(n, 1, 8, 8, dtype=dtype), minicnn.randint(0, 10, (n,))


def workers(batches):
    return [worker.pid for worker in batches._workers_now.workers]


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def outcome(batches, x, y, criterion=ENTROPY):
    """Loss, answers and gradients, and the random numbers that are next."""
    minicnn.manual_seed(3)
    batches.model.zero_grad()
    loss, answers = batches.backward(criterion, x, y), batches.predict(x)
    grads = [p.grad for p in batches.model.parameters()]
    return (
        loss,
        minicnn.rand(1).item(),
        [
            None if t is None else (t.numpy().strides, t.numpy().tobytes())
            for t in (answers, *grads)
        ],
    )


def same(ours, x, y, criterion=ENTROPY):
    """Whether the outcome is that of as many threads."""
    threads = MicroBatches(ours.model, threads=ours.threads, micro_batch=ours.micro_batch)
    return outcome(ours, x, y, criterion) == outcome(threads, x, y, criterion)


# --- the same numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [minicnn.float32, minicnn.float64])
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("conv", ["im2col", "winograd"])
def test_training_is_bit_for_bit_that_on_threads(dtype, threads, conv):
    def learnt(kind):
        model = network(dtype)
        batches = kind(model, threads=threads, micro_batch=3)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        minicnn.manual_seed(4)
        losses = []
        for n in (13, 1, 2, 16) * 2:  # uneven, and fewer images than processes
            x, y = minicnn.randn(n, 1, 8, 8, dtype=dtype), minicnn.randint(0, 10, (n,))
            optimizer.zero_grad()
            losses.append(batches.backward(ENTROPY, x, y))
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            model.eval()
            losses.append(batches.predict(x).tolist())
            model.train()
        return losses, [p.tolist() for p in model.parameters()]

    with context.using(conv_algorithm=conv):
        assert learnt(Processes) == learnt(MicroBatches)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(minicnn.arange(10).float(), label_smoothing=0.1),
        lambda outputs, y: (outputs * outputs).mean() + (outputs - outputs.mean(0)).exp().mean(),
    ],
    ids=["of weights", "in two passes"],
)
def test_any_criterion_gives_what_it_gives_on_threads(criterion):
    assert same(Processes(network(), threads=2), *batch(), criterion)


def test_images_that_require_grad_get_it():
    model, (x, y) = network().eval(), batch()
    gradients = []
    for kind in (Processes, MicroBatches):
        images = x.clone().requires_grad_()
        kind(model, threads=2).backward(ENTROPY, images, y)
        gradients.append(images.grad.tolist())
    assert gradients[0] == gradients[1]


def test_class_weights_that_are_learnt_get_their_gradient():
    model, (x, _) = network(), batch()
    y = F.softmax(minicnn.randn(13, 10), 1)
    gradients = []
    for kind in (Processes, MicroBatches):
        weight = minicnn.ones(10).requires_grad_()
        minicnn.manual_seed(3)
        kind(model, threads=2).backward(nn.CrossEntropyLoss(weight), x, y)
        gradients.append(weight.grad.tolist())
    assert gradients[0] == gradients[1]


def test_the_work_is_done_by_workers(monkeypatch):
    parent, forward = os.getpid(), nn.Flatten.forward
    monkeypatch.setattr(
        nn.Flatten, "forward", lambda self, x: forward(self, x) + (os.getpid() != parent)
    )
    answers = Processes(nn.Sequential(nn.Flatten()), threads=2).predict(minicnn.zeros(4, 1))
    assert answers.tolist() == [[0], [0], [1], [1]]


# --- what is changed after the fork --------------------------------------------------------------


def written_in_place(model):
    with minicnn.no_grad():
        model[0].weight *= 2


def one_more_place(model):
    model.append(model[1])


def another_class(model):
    model[4].__class__ = nn.Sigmoid


def tied(model):
    model[3].bias = model[0].bias


def one_memory(model):
    model[3].bias.data = model[0].bias.data


def swapped(model):
    model[0], model[3] = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
    model[1], model[2] = model[2], model[1]


def moved_on(model):
    """Values that differ from layer to layer are loaded in place."""
    model.load_state_dict({k: v * 1.5 + 0.1 for k, v in model.state_dict().items()})


CHANGES = {
    "values in place": written_in_place,
    "values loaded": moved_on,
    "values of another memory": lambda m: setattr(m[0].weight, "data", 2 * m[0].weight.detach()),
    "a setting": lambda m: setattr(m[2], "p", 0.1),
    "all evaluate": lambda m: m.eval(),
    "a layer evaluates": lambda m: m[2].eval(),
    "frozen": lambda m: m[0].weight.requires_grad_(False),
    "thawed": lambda m: m[7].bias.requires_grad_(),
    "another layer": lambda m: m.__setitem__(3, nn.Conv2d(4, 4, 1)),
    "a layer more": lambda m: m.append(nn.Linear(10, 10)),
    "a layer less": lambda m: m.__delitem__(4),
    "other layers in another order": swapped,
    "a layer in one more place": one_more_place,
    "another class": another_class,
    "another parameter": lambda m: setattr(m[7], "bias", nn.Parameter(minicnn.ones(10))),
    "a parameter less": lambda m: m[7].register_parameter("bias", None),
    "a parameter in two places": tied,
    "two parameters in one memory": one_memory,
    "a buffer": lambda m: m.register_buffer("mean", minicnn.zeros(1)),
    "another forward": lambda m: setattr(m[1], "forward", lambda x: x * x),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_after_the_fork_is_seen(change):
    model, (x, y) = network(), batch()
    model[7].bias.requires_grad_(False)
    batches = Processes(model, threads=2, micro_batch=3)
    before = outcome(batches, x, y)
    CHANGES[change](model)
    assert same(batches, x, y)
    assert (outcome(batches, x, y) == before) == (change == "a buffer")


def test_a_model_of_another_type_is_seen():
    batches = Processes(network(), threads=2)
    assert same(batches, *batch())
    batches.model.double()
    assert same(batches, *batch(dtype=minicnn.float64))


def test_what_an_own_class_keeps_is_never_stale():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales = [1.0]

        def forward(self, x):
            return x * self.scales[0]

    batches = Processes(nn.Sequential(Scaled()), threads=2)
    batches.predict(minicnn.ones(4, 1))
    batches.model[0].scales[0] = 3.0
    assert batches.predict(minicnn.ones(4, 1)).tolist() == [[3.0]] * 4


def test_training_and_evaluation_take_turns_with_the_same_workers():
    model, (x, y) = network(), batch()
    batches, others = Processes(model, threads=2), Processes(model, threads=2)
    before = workers(batches), workers(others)
    for _ in range(2):
        model.train()
        outcome(batches, x, y)
        model.eval()
        others.predict(x)
    assert (workers(batches), workers(others)) == before


# --- errors --------------------------------------------------------------------------------------


def in_workers(monkeypatch, act):
    """Let what is forked from here on, and nothing else, call `act` in a layer."""
    parent, forward = os.getpid(), nn.Flatten.forward

    def acting(self, x):
        if os.getpid() != parent:
            act()
        return forward(self, x)

    monkeypatch.setattr(nn.Flatten, "forward", acting)


@pytest.mark.parametrize("place", range(0, 13, 3))
def test_after_a_bad_label_the_next_batch_is_right(place):
    batches, (x, y) = Processes(network(), threads=2, micro_batch=2), batch()
    bad = y.clone()
    bad[place] = 99
    with pytest.raises(IndexError, match="99"):
        batches.backward(ENTROPY, x, bad)
    assert all(p.grad is None for p in batches.model.parameters())
    assert same(batches, x, y)


def test_an_error_of_shapes_names_the_layer():
    with pytest.raises(ValueError, match=r"layer 0 Conv2d\(1, 4"):
        Processes(network(), threads=2).predict(minicnn.zeros(13, 3, 9, 9))


def test_a_worker_that_is_out_of_memory_says_so(monkeypatch):
    def want_memory():
        raise MemoryError("17 GiB")

    in_workers(monkeypatch, want_memory)
    with pytest.raises(MemoryError, match="17 GiB"):
        Processes(network(), threads=2).predict(batch()[0])


def test_an_error_that_can_not_be_pickled_is_named(monkeypatch):
    class Odd(Exception):
        pass

    def fail():
        raise Odd("in a worker")

    in_workers(monkeypatch, fail)
    with pytest.raises(RuntimeError, match=r"^Odd: in a worker$"):
        Processes(network(), threads=2).predict(batch()[0])


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_worker_that_dies_at_work_is_named_with_its_signal(monkeypatch, name):
    number = signal.Signals[name]
    with monkeypatch.context() as patch:
        in_workers(patch, lambda: os.kill(os.getpid(), number))
        batches, (x, y) = Processes(network(), threads=3), batch()
        with pytest.raises(WorkerDied, match=rf"worker \d+ was ended by signal {number:d}, "):
            batches.backward(ENTROPY, x, y)
    assert all(p.grad is None for p in batches.model.parameters())
    assert same(batches, x, y)


def test_a_worker_that_dies_idle_is_named_and_replaced():
    batches, (x, y) = Processes(network(), threads=2), batch()
    (pid,) = workers(batches)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=f"worker {pid} was ended by signal 9"):
        batches.predict(x)
    assert same(batches, x, y)
    assert workers(batches) != [pid]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_worker_leaves_signals_to_its_parent(name):
    batches, (x, _) = Processes(network(), threads=2), batch()
    before = workers(batches)
    os.kill(*before, signal.Signals[name])
    batches.predict(x)
    assert workers(batches) == before


def test_after_ctrl_c_nobody_works_on_and_the_next_call_is_right(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with monkeypatch.context() as patch:
            in_workers(patch, lambda: time.sleep(60))
            batches, (x, y) = Processes(network(), threads=2), batch()
            (pid,) = workers(batches)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                batches.predict(x)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not runs(pid)
    assert same(batches, x, y)


# --- processes, files and memory -----------------------------------------------------------------


@pytest.mark.parametrize("end", [Processes.close, lambda batches: None], ids=["close", "collect"])
def test_the_workers_end_with_the_object(end):
    batches = Processes(network(), threads=3)
    pids = workers(batches)
    assert all(map(runs, pids))
    end(batches)
    del batches
    assert not any(map(runs, pids))


PROGRAM = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
from minicnn import nn, randn
from minicnn.processes import Processes
batches = Processes(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), threads=3)
batches.predict(randn(8, 4))
stranger = os.fork() if "beside" in sys.argv else None
if stranger != 0:
    print(*(worker.pid for worker in batches._workers_now.workers), stranger or "", flush=True)
if "end" not in sys.argv:
    time.sleep(20)
"""


@pytest.mark.parametrize("how", ["end", "killed", "killed beside another fork"])
def test_the_workers_end_with_the_program(how):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *how.split()], stdout=subprocess.PIPE, text=True
    )
    with program:
        (*pids,) = map(int, program.stdout.readline().split())
        strangers, pids = pids[2:], pids[:2]
        if how == "end":
            program.wait(20)
        program.kill()
        until = time.monotonic() + 2
        while any(map(runs, pids)) and time.monotonic() < until:
            time.sleep(0.02)
        left = [pid for pid in pids if runs(pid)]
        for pid in strangers:
            os.kill(pid, signal.SIGKILL)
    assert len(pids) == 2
    assert not left


def test_a_lock_that_is_let_go_is_free_beside_workers(tmp_path):
    import fcntl  # which not every system has

    held = lock.acquire(tmp_path / "lock")
    high = fcntl.fcntl(held, fcntl.F_DUPFD, 500)  # beyond the descriptors of the pipes
    batches = Processes(network(), threads=2)
    batches.predict(batch()[0])  # it has begun
    os.close(held)
    os.close(high)
    os.close(lock.acquire(tmp_path / "lock"))


def test_no_files_are_left_open():
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    for _ in range(20):
        Processes(network(), threads=2).predict(batch(2)[0])
    assert open_files() == before


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_a_copy_has_workers_and_memory_of_its_own(twin):
    batches, (x, y) = Processes(network(), threads=2), batch()
    other = twin(batches)
    assert other._workers_now is None
    written_in_place(other.model)
    assert outcome(other, x, y) != outcome(batches, x, y)
    assert workers(other) != workers(batches)


IN_A_FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import minicnn
from minicnn import nn, optim
from minicnn.processes import Processes

minicnn.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
x, y = minicnn.randn(8, 4), minicnn.randint(0, 2, (8,))
batches = Processes(model, threads=2)
before, pid = batches.predict(x).tolist(), batches._workers_now.workers[0].pid
child = os.fork()
if child == 0:
    with minicnn.no_grad():
        model[1].weight.zero_()
        model[1].bias.zero_()
    right = not any(map(any, batches.predict(x).tolist()))
    right = right and batches._workers_now.workers[0].pid != pid
    batches.close()
    os._exit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert batches.predict(x).tolist() == before
assert batches._workers_now.workers[0].pid == pid
"""


def test_a_fork_of_another_has_workers_and_memory_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FORK], timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_memory_is_moved_in_its_layout():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5))
    before = [(p.tolist(), p.array.strides) for p in model.parameters()]
    Processes(model, threads=2)
    assert [(p.tolist(), p.array.strides) for p in model.parameters()] == before


# --- in nin --------------------------------------------------------------------------------------


def test_one_core_needs_no_process():
    executor = executor_for(network(), Preset(), threads=1)
    assert executor.how.startswith("1 thread, ")


def test_an_executor_says_what_it_works_on():
    preset = Preset(micro_batch=8)
    assert executor_for(network(), preset, threads=2).how.startswith("2 processes, 8 images")
    on_threads = executor_for(network(), preset, threads=2, processes=False)
    assert on_threads.how.startswith("2 threads, 8 images")


def test_a_worker_that_dies_ends_a_command_in_one_line():
    executor = executor_for(network(), Preset(), threads=2)
    os.kill(*workers(executor._batches), signal.SIGKILL)
    with pytest.raises(Failure, match="was ended by signal 9"):
        executor.predict(batch()[0])


def test_a_run_whose_worker_died_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nin.presets.Preset.build", lambda self, kind: nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10)
    ))  # fmt: skip
    noise.install(monkeypatch.setattr)
    flags = [
        *("--dataset", "silhouettes", "--batch-size", "4", "--epochs", "2", "--threads", "2"),
        *("--limit-train", "16", "--limit-test", "16", "--no-progress", "--lr", "0.05", "--out"),
    ]
    assert train.main([*flags, str(tmp_path / "alone")]) == 0
    capsys.readouterr()
    step, count = Training.step, iter(range(10**6))

    def killing(self, *images):
        if next(count) == 5:
            os.kill(*workers(self.executor._batches), signal.SIGKILL)
        return step(self, *images)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", killing)
        assert train.main([*flags, str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert "signal 9" in err.splitlines()[-1] and "Traceback" not in err
    assert train.main(["--resume", str(tmp_path / "run"), "--no-progress"]) == 0
    alone, resumed = (minicnn.load(tmp_path / d / "model.safetensors") for d in ("alone", "run"))
    assert all(np.array_equal(alone[k].numpy(), resumed[k].numpy()) for k in alone)
