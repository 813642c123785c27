"""DataLoader and datasets: order, workers, and what they refuse."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, namedtuple
from fractions import Fraction

import numpy as np
import pytest
import torch

import minicnn
from minicnn.tensor import Tensor
from minicnn.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split
from minicnn.utils.data.collate import collate
from minicnn.utils.data.sampler import RandomSampler, SequentialSampler, SubsetRandomSampler
from minicnn.vision import transforms
from minicnn.vision.image_dataset import ImageDataset
from nin.silhouettes import Silhouettes

from .arrays import array, named


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
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": None},
        {"num_workers": -1},
        {"num_workers": "2"},
        {"shuffle": "no"},
        {"shuffle": 2},
        {"drop_last": "no"},
        {"generator": 3},
        {"generator": np.random.default_rng(0)},
    ],
    ids=named,
)
def test_bad_arguments_are_refused_by_name(options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        DataLoader(numbers(), **options)


def test_an_argument_that_does_not_exist_is_refused_by_name():
    with pytest.raises(TypeError, match="samplers"):
        DataLoader(numbers(), samplers=None)


# --- orders that a program gives -----------------------------------------------------------------


def batches(**options):
    return [x.tolist() for (x,) in DataLoader(TensorDataset(minicnn.arange(7)), **options)]


def test_a_sampler_gives_the_order():
    assert batches(sampler=[6, 0, 3], batch_size=2) == [[6, 0], [3]]
    assert batches(sampler=[6, 0, 3], batch_size=2, drop_last=True, num_workers=2) == [[6, 0]]
    assert len(DataLoader(numbers(), 2, sampler=[6, 0, 3])) == 2


def test_a_batch_sampler_gives_the_batches():
    assert batches(batch_sampler=[[1], [2, 0, 1]]) == [[1], [2, 0, 1]]
    assert len(DataLoader(numbers(), batch_sampler=[[1], [2, 0, 1]])) == 2


def test_a_collate_function_makes_the_batches():
    loader = DataLoader(numbers(), 2, collate_fn=lambda samples: len(samples))
    assert next(iter(loader)) == 2


SAMPLERS = {
    "in order": lambda: SequentialSampler(range(7)),
    "at random": lambda: RandomSampler(range(7)),
    "of some": lambda: SubsetRandomSampler([0, 1, 2, 3, 4, 5, 6]),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_takes_each_sample_once_and_again_after_the_same_seed(name):
    minicnn.manual_seed(1)
    first = [*SAMPLERS[name]()]
    minicnn.manual_seed(1)
    assert [*SAMPLERS[name]()] == first
    assert sorted(first) == [*range(7)] and len(SAMPLERS[name]()) == 7


def test_a_random_sampler_with_replacement_takes_as_many_as_asked_for():
    drawn = [*RandomSampler(range(3), replacement=True, num_samples=50)]
    assert len(drawn) == 50 and set(drawn) == {0, 1, 2}


@pytest.mark.parametrize("replacement", [False, True])
def test_of_no_samples_none_are_taken(replacement):
    with pytest.raises(ValueError, match="RandomSampler: there are no samples to take"):
        iter(RandomSampler([], replacement, num_samples=3))


def test_a_generator_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"RandomSampler: generator must be a minicnn\.Generator"):
        iter(RandomSampler(range(3), generator=np.random.default_rng()))


@pytest.mark.parametrize("options", [{"sampler": [1.7]}, {"batch_sampler": [[0, True]]}], ids=str)
def test_a_sampler_gives_whole_numbers_or_is_named(options):
    with pytest.raises(TypeError, match=r"DataLoader: a number from the .*sampler must be an int"):
        batches(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": [0], "shuffle": True}, "shuffle must be False"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "must be left out"),
        ({"batch_sampler": [[0]], "drop_last": True}, "must be left out"),
    ],
)
def test_orders_that_exclude_one_another_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_processes_that_there_are_not_can_not_be_prepared():
    with pytest.raises(NotImplementedError, match="worker_init_fn"):
        batches(worker_init_fn=print)


# --- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [[3, 4], [0.5, 0.5], [0.3, 0.3, 0.4], [7, 0]])
def test_a_split_has_the_lengths_of_pytorchs_and_each_sample_once(lengths):
    parts = random_split(range(7), lengths)
    theirs = torch.utils.data.random_split(range(7), lengths)
    assert [len(part) for part in parts] == [len(part) for part in theirs]
    assert sorted(i for part in parts for i in part) == [*range(7)]


@pytest.mark.parametrize("lengths", [[3, 3], [0.5, 0.6], [-1, 8], ["3", 4]])
def test_a_split_that_does_not_add_up_is_refused(lengths):
    with pytest.raises(ValueError, match="random_split"):
        random_split(range(7), lengths)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_a_number_on_are_those_after_the_others(workers):
    data = TensorDataset(minicnn.arange(20))

    def numbers(start):
        generator = minicnn.Generator().manual_seed(3)
        loader = DataLoader(data, 3, shuffle=True, num_workers=workers, generator=generator)
        return [batch[0].tolist() for batch in loader.batches(start)]

    assert numbers(4) == numbers(0)[4:]


# --- what a number of a sample may be ------------------------------------------------------------


def images(n=10):
    return ImageDataset(np.zeros((n, 4, 4), "uint8"), range(n))


# A data set of ten samples, and the number that a sample of it has.
NUMBERED = {
    "TensorDataset": (numbers, lambda sample: sample[0].item()),
    "Subset": (lambda: Subset(numbers(20), range(10)), lambda sample: sample[0].item()),
    "Subset of images": (lambda: Subset(images(20), range(10)), lambda sample: sample[1]),
    "ImageDataset": (images, lambda sample: sample[1]),
}


@pytest.mark.parametrize("kind", NUMBERED)
@pytest.mark.parametrize(
    "index",
    [3, -7, np.int64(3), np.uint8(3), np.array(3), minicnn.tensor(3, device="cpu")],
    ids=named,
)
def test_a_sample_is_found_by_whatever_is_a_whole_number(kind, index):
    make, number = NUMBERED[kind]
    assert number(make()[index]) == 3


@pytest.mark.parametrize("kind", NUMBERED)
@pytest.mark.parametrize("index", [10, -11, 2**70], ids=named)
def test_a_sample_out_of_range_is_an_index_error(kind, index):
    with pytest.raises(IndexError, match="the 10 samples"):
        NUMBERED[kind][0]()[index]


@pytest.mark.parametrize("kind", NUMBERED)
@pytest.mark.parametrize(
    "index",
    [2.0, 2.7, True, np.bool_(True), np.float64(2), minicnn.tensor(True), "2", None],
    ids=named,
)
def test_a_number_that_is_not_whole_is_refused_and_the_data_set_named(kind, index):
    with pytest.raises(TypeError, match=rf"{kind.split()[0]}: .* must be an int, got"):
        NUMBERED[kind][0]()[index]


@pytest.mark.parametrize("kind", NUMBERED)
def test_a_loop_over_a_data_set_ends(kind):
    make, number = NUMBERED[kind]
    assert [number(sample) for sample in make()] == list(range(10))


@pytest.mark.parametrize(
    "indices",
    [
        [7, 2],
        (7, 2),
        np.array([7, 2]),
        np.array([7, 2], "uint8"),
        [np.int64(7), np.int32(-8)],
        minicnn.tensor([7, 2]),
        range(7, 1, -5),
        iter([7, 2]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_subset_takes_its_indices_from_any_sequence(indices):
    assert order(DataLoader(Subset(numbers(), indices))) == [7, 2]


def test_no_indices_are_an_empty_subset():
    for none in ([], np.array([]), range(0)):
        assert list(DataLoader(Subset(numbers(), none))) == []


@pytest.mark.parametrize(
    "indices",
    [[1.0], [True, False], np.array([0.5]), np.ones(10, bool), np.zeros((2, 2), int), 3],
    ids=named,
)
def test_a_subset_of_what_are_no_whole_numbers_is_refused(indices):
    with pytest.raises(TypeError, match="Subset: "):
        Subset(numbers(), indices)


@pytest.mark.parametrize("places", [slice(None), slice(1, None, 2), [0, -1], []], ids=named)
def test_several_samples_of_a_subset_are_pytorchs(places):
    ours = Subset(numbers(), [7, 2, 5])[places]
    theirs = torch.utils.data.Subset(torch.utils.data.TensorDataset(torch.arange(10)), [7, 2, 5])[
        places
    ]
    assert [t.tolist() for t in ours] == [t.tolist() for t in theirs]


def test_a_data_set_of_single_samples_says_so_for_a_slice_of_a_subset():
    with pytest.raises(TypeError, match=r"ImageDataset: .* must be an int, got \[7, 2\]"):
        Subset(images(), [7, 2])[:]


# --- data sets of arrays -------------------------------------------------------------------------


@pytest.mark.cpu
@pytest.mark.parametrize("kind", ["array", "memory map", "list", "tensor", "swapped bytes"])
def test_data_sets_take_whatever_is_an_array(kind, tmp_path):
    values = np.arange(12.0, dtype="float32").reshape(3, 4)
    np.save(tmp_path / "values.npy", values)
    given = {
        "array": values,
        "memory map": np.load(tmp_path / "values.npy", mmap_mode="r"),
        "list": values.tolist(),
        "tensor": Tensor(values),
        "swapped bytes": values.astype(">f4"),
    }[kind]
    (batch,) = next(iter(DataLoader(TensorDataset(given), 3)))
    assert isinstance(batch, Tensor)
    assert (batch.dtype, batch.tolist()) == (np.float32, values.tolist())
    dataset = ImageDataset(np.zeros((3, 2, 2), "uint8"), Tensor(np.array([0, 1, 2], "uint8")))
    assert dataset.targets.dtype == np.int64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TensorDataset(), r"got \[\]"),
        (lambda: TensorDataset(minicnn.tensor(1.0)), r"got \[None\]"),
        (lambda: TensorDataset(np.array(["a"])), "expected numbers"),
        (lambda: ImageDataset(np.zeros((3, 4, 4)), [0, 1]), r"3 images .* shape \(2,\)"),
        (lambda: ImageDataset(np.zeros((2, 4, 4)), [0.5, 1.0]), "whole numbers"),
        (lambda: ImageDataset(np.zeros((2, 4, 4)), [True, False]), "whole numbers"),
        (lambda: ImageDataset(np.zeros((2, 4, 4)), [[0], [1]]), r"shape \(2, 1\)"),
        (lambda: ImageDataset(np.zeros((2, 4)), [0, 1]), r"shape \(2, 4\)"),
        (lambda: ImageDataset([["a"]], [0]), "expected numbers"),
        (lambda: DataLoader(iter([1, 2])), "the dataset must have __len__, got list_iterator"),
        (lambda: DataLoader({1, 2}), "the dataset must have __getitem__, got set"),
        (lambda: len(Dataset()), "Dataset defines no __len__"),
        (lambda: Subset(iter([1]), [0]), "len"),
        (lambda: DataLoader(numbers()).batches(-1), "start"),
    ],
)
def test_what_is_no_data_set_is_refused_by_name(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_data_set_without_a_length_can_still_be_listed():
    class Three(Dataset):
        def __getitem__(self, i):
            return [10, 20, 30][i]

    assert list(Three()) == [10, 20, 30]


def test_an_array_is_a_data_set():
    batches = [b.tolist() for b in DataLoader(np.arange(5.0, dtype="float32"), 2)]
    assert batches == [[0, 1], [2, 3], [4]]


def test_numpys_numbers_are_sizes():
    loader = DataLoader(numbers(5), np.int64(2), np.bool_(False), num_workers=np.int64(1))
    assert order(loader) == [0, 1, 2, 3, 4]
    assert type(loader.batch_size) is int


# --- subclasses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["TensorDataset", "ImageDataset", "Subset"])
@pytest.mark.parametrize("within", [False, True])
def test_a_sample_that_a_subclass_defines_anew_is_what_the_loader_gives(base, within):
    make, number = NUMBERED[base]

    class Negative(type(make())):
        def __getitem__(self, i):
            return -number(super().__getitem__(i))

    dataset = make()
    dataset.__class__ = Negative
    dataset = Subset(dataset, range(10)) if within else dataset
    assert [b.tolist() for b in DataLoader(dataset, 5)] == [
        [0, -1, -2, -3, -4],
        [-5, -6, -7, -8, -9],
    ]


def test_a_batch_that_a_subclass_defines_anew_is_what_the_loader_gives():
    class Negative(TensorDataset):
        def get_batch(self, indices, rng):
            return [-t for t in super().get_batch(indices, rng)]

    assert order(DataLoader(Negative(minicnn.arange(3)))) == [0, -1, -2]


# --- batches of anything -------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")
SAMPLES = [
    [1.5, 2.5],
    [1, 2],
    [True, False],
    [1, 2.5],
    [True, 2],
    [1.5, 2],
    *([np.dtype(name).type(1)] for name in ("bool", "uint8", "int8", "int32", "int64")),
    *([np.dtype(name).type(1)] for name in ("float16", "float32", "float64")),
    [np.float32(1), 2.0],
    [2, np.float32(1)],
    [np.float64(3), np.float32(2)],
    [np.int64(1), np.float32(2.5)],
    [np.ones(2, "int64"), np.ones(2, "float32")],
    [np.zeros(2, "float32"), np.ones(2, "float32")],
    [np.zeros((), "int32")],
    [np.zeros(2, "uint8"), np.ones(2, "float32")],
    ["a", "b"],
    [b"a", b"b"],
    [np.str_("a")],
    [(1, 2.0), (3, 4.0)],
    [[1, "a"], [3, "b"]],
    [Pair(1, 2.0), Pair(3, 4.0)],
    [{"a": 1, "b": (2, 3)}, {"a": 4, "b": (5, 6)}],
    [OrderedDict(b=1, a=2.0)],
    [(), ()],
    [range(2), range(2)],
]


def described(batch):
    """The types, element types and values of a batch, minicnn's or PyTorch's."""
    if isinstance(batch, (Tensor, torch.Tensor)):
        return str(batch.dtype).removeprefix("torch."), batch.tolist()
    if isinstance(batch, dict):
        return type(batch), {key: described(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch), [described(value) for value in batch]
    return batch


@pytest.mark.parametrize("samples", SAMPLES, ids=named)
def test_a_batch_is_what_pytorch_collates(samples):
    assert described(collate(samples)) == described(torch.utils.data.default_collate(samples))


@pytest.mark.parametrize(
    "sample",
    [None, Fraction(1, 2), 1j, object(), {1}, np.datetime64("2020"), np.array(["a"])],
    ids=named,
)
def test_what_pytorch_does_not_collate_is_refused_and_its_type_named(sample):
    with pytest.raises(TypeError, match="batch must contain"):
        torch.utils.data.default_collate([sample])
    with pytest.raises(TypeError, match=f"can't make a batch of {type(sample).__name__}"):
        collate([sample])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([np.zeros(2), np.zeros(2), np.zeros(3)], r"sample 2 .* \(3,\), sample 0 of shape \(2,\)"),
        ([minicnn.zeros(2), minicnn.zeros(2, 1)], r"sample 1 .* \(2, 1\)"),
        ([1, None], "sample 1 of the batch is NoneType"),
        ([minicnn.zeros(1), np.zeros(())], r"sample 1 .* of shape \(\)"),
        ([(1,), (1, 2)], "sample 1 of the batch is of 2 parts"),
        ([(1,), 2], "sample 1 of the batch is int"),
        ([{"a": 1}, {"b": 2}], "sample 1 .*'b'.* sample 0 .*'a'"),
        ([{"a": 1}, {"a": 1, "b": 2}], "sample 1 .*'a'.*'b'"),
        ([], "no samples"),
    ],
)
def test_the_sample_that_does_not_fit_is_named(samples, message):
    with pytest.raises(ValueError, match=message):
        collate(samples)


# --- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_iteration_from_a_sample_ends_no_loop_in_silence(workers):
    class Exhausted(Squares):
        def __getitem__(self, i):
            return next(iter(())) if i == 4 else i

    with pytest.raises(RuntimeError):
        list(DataLoader(Exhausted(), 2, num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_two_loops_over_one_loader_do_not_disturb_each_other(workers):
    loader = DataLoader(numbers(9), 2, num_workers=workers)
    pairs = [(a.tolist(), b.tolist()) for (a,), (b,) in zip(loader, loader, strict=True)]
    assert pairs == [([i, *([i + 1] if i < 8 else [])],) * 2 for i in range(0, 9, 2)]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_batch_larger_than_the_data_is_the_data(workers):
    assert order(DataLoader(numbers(3), 10**12, num_workers=workers)) == [0, 1, 2]
    assert order(DataLoader(numbers(3), 10, drop_last=True, num_workers=workers)) == []
