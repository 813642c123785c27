"""Several ranks: N of them are one machine with more threads."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain
from typing import ClassVar

import numpy as np
import pytest

import minicnn
from minicnn import distributed, float64, nn, optim
from minicnn.parallel import MicroBatches, available_cores
from minicnn.random import Generator
from minicnn.utils.data import DataLoader, TensorDataset
from minicnn.vision import transforms
from minicnn.vision.image_dataset import ImageDataset
from nin.fit import Training
from nin.presets import Preset
from nin.silhouettes import Silhouettes

from . import mpi

RANKS = (2, 3)
IMAGES, BATCH = 22, 5  # neither 2 nor 3 divides a batch, and the last one has 2 images
WEIGHTED = {"weight": [0.5, 0.25, 2.0, 1.0], "ignore_index": 3, "label_smoothing": 0.1}


def network():
    minicnn.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(108, 4)
    ).to(float64)


def criterion(weighted):
    if not weighted:
        return nn.CrossEntropyLoss()
    options = {**WEIGHTED, "weight": minicnn.tensor(WEIGHTED["weight"], dtype=float64)}
    return nn.CrossEntropyLoss(**options)


def weight_of(labels, weighted):
    """What the mean of some labels' losses is divided by."""
    if not weighted:
        return len(labels)
    weights = minicnn.tensor(WEIGHTED["weight"], dtype=float64)
    return (weights[labels] * (labels != WEIGHTED["ignore_index"])).sum()


def losses(weighted=False, whole=False):
    """The losses of some steps of a network with dropout, in micro-batches or in whole ones."""
    model, loss_of = network(), criterion(weighted)
    source = Generator().manual_seed(1)
    x = minicnn.randn(IMAGES, 1, 6, 6, dtype=float64, generator=source)
    y = minicnn.randint(0, 4, (IMAGES,), generator=source)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = MicroBatches(model, threads=1, micro_batch=2)
    found = []
    for _ in range(2):
        for images, labels in DataLoader(TensorDataset(x, y), BATCH, shuffle=True):
            optimizer.zero_grad()
            with distributed.taking_part(len(labels)) as mine:
                images, labels = images[mine], labels[mine]
                if whole:
                    loss = loss_of(model(images), labels)
                    loss.backward()
                else:
                    loss = minicnn.tensor(batches.backward(loss_of, images, labels), dtype=float64)
                weight = weight_of(labels, weighted)
                loss, _ = distributed.all_reduce_gradients(model.parameters(), loss, weight)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            found.append(loss.item())
    return found


def all_losses():
    return [losses(weighted, whole) for weighted in (False, True) for whole in (False, True)]


@pytest.mark.parametrize("ranks", RANKS)
def test_any_number_of_ranks_has_the_losses_of_one(ranks):
    alone = all_losses()
    for each in alone:
        assert len({round(loss, 6) for loss in each}) == len(each)  # each step changed something
    for found in mpi.results(ranks, all_losses):
        np.testing.assert_allclose(found, alone, rtol=1e-9, atol=0)


class OneRanksNCCL:
    """What the backend uses of CuPy's NCCL, for one rank, whose sums are what it has."""

    available, NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = True, 7, 8, 0
    calls: ClassVar = []

    def __init__(self, size, identity, rank):
        assert (size, identity, rank) == (1, "who", 0)

    @staticmethod
    def get_unique_id():
        return "who"

    def allReduce(self, source, target, count, kind, operation, stream):
        assert source == target and (kind, operation) == (7, 0)
        self.calls.append(count)


def captured(with_nccl):
    """The losses of steps of a small network as a graph, and what NCCL was asked to add up."""
    if with_nccl:
        from minicnn.backends import nccl

        nccl.nccl, OneRanksNCCL.NcclCommunicator = OneRanksNCCL, OneRanksNCCL
        distributed.connect_gpus()
    preset = Preset(batch_size=4, epochs=3, lr=0.01, momentum=0.9, max_norm=1.0)
    minicnn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=9), nn.ReLU(), nn.Flatten(), nn.Linear(18, 10))
    images = Silhouettes(True, preset.transform(True), size=8).to("cuda")
    training = Training(model.to("cuda"), preset, images, images)
    training.fit()
    return [row["train_loss"] for row in training.history], OneRanksNCCL.calls


@pytest.mark.cuda
def test_a_captured_step_holds_nccls_sum():
    alone, _ = captured(False)
    ((losses, calls),) = mpi.results(1, captured, True)
    np.testing.assert_allclose(losses, alone, rtol=1e-6)
    assert len({*calls}) == 1  # all parameters' gradients, the loss and the weight
    assert calls[0] >= 20 + 190 + 2
    assert len(calls) < 6  # of six steps: the others were launched


def transformed():
    """This rank's images of each batch of a loader that flips and shifts."""
    numbers = np.arange(IMAGES * 36, dtype="uint8").reshape(IMAGES, 6, 6)
    steps = [
        transforms.RandomCrop(6, padding=2),
        transforms.ToTensor(),
        transforms.RandomHorizontalFlip(),
    ]
    images = ImageDataset(numbers, np.zeros(IMAGES, "int64"), transforms.Compose(steps))
    loader = DataLoader(images, BATCH, True, num_workers=1, generator=Generator().manual_seed(3))
    return [x.tolist() for x, _ in loader.batches(1, distributed.part)]


@pytest.mark.cpu
def test_the_parts_of_a_loaders_batches_are_the_batches():
    parts = mpi.results(3, transformed)
    batches = [list(chain(*batch)) for batch in zip(*parts, strict=True)]
    assert batches == transformed()


def told():
    """What ranks tell each other of themselves."""
    rank = distributed.get_rank()
    summed = minicnn.full((2, 3), rank + 1).permute(1, 0)
    distributed.all_reduce(summed)
    sent = minicnn.arange(3) * rank
    distributed.broadcast(sent, src=1)
    distributed.barrier()
    slices = [(p.start, p.stop) for p in map(distributed.part, (7, 2, 0))]
    return [
        rank, distributed.get_world_size(), distributed.get_local_rank(), summed.tolist(),
        sent.tolist(), distributed.collect({"rank": rank}), distributed.largest(rank % 2), slices,
    ]  # fmt: skip


def test_ranks_add_up_send_and_collect():
    found = mpi.results(3, told)
    for rank, (own, size, local, summed, sent, collected, largest, _) in enumerate(found):
        assert (own, size, local, largest) == (rank, 3, rank, 1)
        assert summed == [[6.0] * 2] * 3
        assert sent == [0, 1, 2]
        assert collected == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
    by_batch = zip(*(slices for *_, slices in found), strict=True)
    assert [[tuple(each) for each in batch] for batch in by_batch] == [
        [(0, 2), (2, 4), (4, 7)],
        [(0, 0), (0, 1), (1, 2)],
        [(0, 0), (0, 0), (0, 0)],
    ]


def test_without_a_group_there_is_one_rank():
    tensor = minicnn.ones(3)
    distributed.all_reduce(tensor)
    distributed.broadcast(tensor)
    distributed.barrier()
    assert tensor.tolist() == [1, 1, 1]
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
    assert distributed.part(5) == slice(0, 5)
    assert distributed.collect(7) == [7]
    assert not distributed.is_initialized()


def test_a_source_that_is_no_rank_is_refused():
    with pytest.raises(ValueError, match="src must be one of 1 ranks, got 1"):
        distributed.broadcast(minicnn.ones(1), src=1)


@pytest.mark.cpu
def test_a_rank_that_fails_ends_all_with_its_traceback():
    code = (
        "from minicnn import distributed as d; d.init_process_group();"
        " assert d.get_rank() != 1, 'this one'; d.barrier(); d.collect(1)"
    )
    status, _, err = mpi.run(3, "-c", code)
    assert status == 1
    assert err.splitlines()[-2:] == [
        "AssertionError: this one",
        "rank 1 of 3 failed, so all end",
    ]


@pytest.mark.cpu
def test_cores_are_shared_and_a_pinning_is_obeyed():
    code = (
        "import os; from minicnn import distributed as d;"
        " cores = sorted(os.sched_getaffinity(0)); rank = int(os.environ['PMI_RANK']);"
        " {} and os.sched_setaffinity(0, {{cores[rank % len(cores)]}});"
        " d.init_process_group(); found = d.collect(d.available_cores());"
        " d.get_rank() == 0 and print(found)"
    )
    shared = mpi.run(2, "-c", code.format("0"))[1]
    pinned = mpi.run(2, "-c", code.format("1"))[1]
    assert shared == f"{[max(1, available_cores() // 2)] * 2}\n"
    assert pinned == "[1, 1]\n"


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ("import sys; sys.modules['mpi4py'] = None", "mpi4py is missing: pip install"),
        (
            "import os; os.environ['OMPI_COMM_WORLD_SIZE'] = '4';"
            " os.environ['OMPI_COMM_WORLD_LOCAL_RANK'] = '0'",
            "the launcher started 4 processes, each of which finds itself alone",
        ),
    ],
)
def test_what_keeps_processes_apart_is_said(hidden, expected):
    code = f"{hidden}; from minicnn import distributed as d; d.init_process_group()"
    job = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=mpi.ROOT)
    assert job.returncode == 1
    assert expected in job.stderr.splitlines()[-1]
