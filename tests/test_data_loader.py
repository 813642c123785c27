"""DataLoader and datasets: order, workers, and what they refuse."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import minicnn
from minicnn.utils.data import DataLoader, Dataset, Subset, TensorDataset
from minicnn.vision import transforms
from minicnn.vision.datasets import Silhouettes

from .arrays import array


class Squares(Dataset):
    """Sample i is (i², i), one at a time."""

    def __init__(self, n=10, fail_at=None):
        self.n, self.fail_at = n, fail_at

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.fail_at:
            raise ValueError(f"sample {i} is broken")
        return float(i * i), i


def numbers(n=10):
    return TensorDataset(minicnn.arange(n))


def order(loader):
    return [x for (batch,) in loader for x in batch.tolist()]


def test_batches_come_in_order():
    assert [b.tolist() for (b,) in DataLoader(numbers(5), batch_size=2)] == [[0, 1], [2, 3], [4]]


def test_drop_last_drops_the_smaller_batch():
    loader = DataLoader(numbers(5), batch_size=2, drop_last=True)
    assert len(loader) == 2
    assert order(loader) == [0, 1, 2, 3]


@pytest.mark.parametrize(("n", "batches"), [(0, 0), (4, 2), (5, 3)])
def test_length_is_the_number_of_batches(n, batches):
    loader = DataLoader(numbers(n), batch_size=2)
    assert len(loader) == len(list(loader)) == batches


def test_shuffling_visits_every_sample_once_in_another_order_each_time():
    loader = DataLoader(numbers(50), batch_size=7, shuffle=True)
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50))


def test_the_same_generator_gives_the_same_orders():
    runs = []
    for _ in range(2):
        generator = minicnn.Generator().manual_seed(3)
        loader = DataLoader(numbers(20), batch_size=4, shuffle=True, generator=generator)
        runs.append([order(loader), order(loader)])
    assert runs[0] == runs[1]


def test_manual_seed_fixes_the_order():
    runs = []
    for _ in range(2):
        minicnn.manual_seed(3)
        runs.append(order(DataLoader(numbers(20), shuffle=True)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_change_nothing_not_even_random_transforms(workers):
    random = transforms.Compose(
        [
            transforms.RandomCrop(28, padding=2),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    images = Silhouettes(transform=random, size=100)
    runs = []
    for n in (0, workers):
        generator = minicnn.Generator().manual_seed(0)
        loader = DataLoader(images, 8, shuffle=True, num_workers=n, generator=generator)
        runs.append([(array(x), array(y)) for x, y in loader])
    for (x, y), (other_x, other_y) in zip(*runs, strict=True):
        assert np.array_equal(x, other_x)
        assert np.array_equal(y, other_y)


def test_a_dataset_with_samples_only_is_collated():
    x, y = next(iter(DataLoader(Squares(), batch_size=3)))
    assert (x.tolist(), x.dtype) == ([0, 1, 4], minicnn.float64)
    assert (y.tolist(), y.dtype) == ([0, 1, 2], minicnn.int64)


def test_any_sequence_is_a_dataset():
    samples = [{"x": minicnn.full((2,), i), "name": str(i)} for i in range(4)]
    batch = next(iter(DataLoader(samples, batch_size=4)))
    assert batch["x"].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert batch["name"] == ["0", "1", "2", "3"]


def test_what_cannot_be_collated_is_named():
    with pytest.raises(TypeError, match="can't make a batch of object"):
        next(iter(DataLoader([object()])))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_sample_reaches_the_loop(workers):
    with pytest.raises(ValueError, match="sample 7 is broken"):
        list(DataLoader(Squares(fail_at=7), batch_size=2, num_workers=workers))


def test_leaving_the_loop_early_ends_the_workers():
    for _ in DataLoader(Squares(1000), num_workers=3):
        break
    until = time.monotonic() + 10
    while any(t.name.startswith("DataLoader") for t in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_workers_prepare_a_few_batches_ahead_and_no_more():
    asked = []

    class Watched(Squares):
        def __getitem__(self, i):
            asked.append(i)
            return super().__getitem__(i)

    batches = iter(DataLoader(Watched(1000), num_workers=2))
    next(batches)
    time.sleep(0.1)
    assert 1 < len(asked) <= 5
    batches.close()


def test_a_subset_holds_the_samples_asked_for():
    subset = Subset(numbers(10), [7, 2, 2])
    assert len(subset) == 3
    assert order(DataLoader(subset, batch_size=2)) == [7, 2, 2]
    assert subset[0][0].item() == 7


def test_a_subset_of_single_samples():
    assert next(iter(DataLoader(Subset(Squares(), [3]))))[1].tolist() == [3]


def test_a_subset_beyond_the_data_is_refused():
    with pytest.raises(IndexError, match="within the 10 samples"):
        Subset(numbers(10), [10])


def test_tensors_of_uneven_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        TensorDataset(minicnn.zeros(2), minicnn.zeros(3))


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": 2.5}, {"num_workers": -1}], ids=str
)
def test_bad_arguments_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DataLoader(numbers(), **options)


def test_an_argument_that_does_not_exist_is_refused_by_name():
    with pytest.raises(TypeError, match="sampler"):
        DataLoader(numbers(), sampler=None)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_a_number_on_are_those_after_the_others(workers):
    data = TensorDataset(minicnn.arange(20))

    def numbers(start):
        generator = minicnn.Generator().manual_seed(3)
        loader = DataLoader(data, 3, shuffle=True, num_workers=workers, generator=generator)
        return [batch[0].tolist() for batch in loader.batches(start)]

    assert numbers(4) == numbers(0)[4:]
