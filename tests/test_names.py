"""PyTorch's names beside PyTorch's own: what they give, in type, shape and numbers."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
import torch.utils.data

import minicnn
import minicnn.vision.utils
from minicnn import nn

from .arrays import array

X = np.array([[1.0, -2.5, 3.0], [0.5, 0.0, -1.5]], "float32")


def x(L):
    return L.tensor(X)


def k(L):
    return L.tensor([[3, -1, 2], [0, 5, 5]])


SAME = {
    # numbers made
    "linspace": lambda L: L.linspace(-math.pi, math.pi, 7),
    "linspace of one": lambda L: L.linspace(2, 5, steps=1, dtype=L.double),
    "linspace, descending": lambda L: L.linspace(1, -1, 4, requires_grad=True).detach(),
    "eye": lambda L: L.eye(3),
    "eye of two sizes": lambda L: L.eye(2, 4, dtype=L.int),
    "zeros, size by name": lambda L: L.zeros(size=(2, 3)),
    "ones, size by name": lambda L: L.ones(size=[2], dtype=L.long),
    "full_like": lambda L: L.full_like(k(L), 7),
    "full_like of another type": lambda L: L.full_like(k(L), 0.5, dtype=L.float),
    "new_ones": lambda L: x(L).new_ones(2, 2),
    "new_zeros": lambda L: k(L).new_zeros((3,), dtype=L.float64),
    "as_tensor": lambda L: L.as_tensor(X),
    "as_tensor of another type": lambda L: L.as_tensor([1, 2], dtype=L.float),
    "FloatTensor": lambda L: L.FloatTensor([1, 2]),
    "LongTensor": lambda L: L.LongTensor([[1, 2], [3, 4]]),
    "DoubleTensor of an array": lambda L: L.DoubleTensor(np.float64([1, 2])),
    "IntTensor": lambda L: L.IntTensor([3]),
    "Tensor": lambda L: L.Tensor([[1, 2], [3, 4]]),
    "one_hot": lambda L: L.nn.functional.one_hot(L.tensor([[2, 0], [1, 1]])),
    "one_hot of five": lambda L: L.nn.functional.one_hot(L.tensor([2, 0]), num_classes=5),
    "meshgrid": lambda L: L.meshgrid(L.arange(2), L.arange(3), indexing="ij")[1],
    # types
    "type of a dtype": lambda L: x(L).type(L.long),
    "type of FloatTensor": lambda L: k(L).type(L.FloatTensor),
    "type of a text": lambda L: k(L).type("torch.DoubleTensor"),
    "type of none": lambda L: [
        t.type().replace("cuda.", "")
        for t in (x(L), k(L), x(L) > 0, x(L).double(), k(L).int(), k(L).type(L.ByteTensor))
    ],
    "float, long, int, bool": lambda L: [
        str(t.dtype).rpartition(".")[2]
        for t in (k(L).float(), x(L).long(), k(L).int(), x(L).bool())
    ],
    "is_floating_point": lambda L: [x(L).is_floating_point(), k(L).is_floating_point()],
    # comparisons and choices
    **{n: (lambda L, n=n: getattr(L, n)(x(L), 0.5)) for n in ("eq", "ne", "lt", "le", "gt", "ge")},
    "methods that compare": lambda L: [x(L).ge(0).sum().item(), x(L).ne(x(L)).any().item()],
    "max of two": lambda L: L.max(x(L), L.zeros(3)),
    "min of two by name": lambda L: L.min(input=x(L), other=L.tensor(0.0)),
    "argmin": lambda L: x(L).argmin(axis=1),
    "min along": lambda L: L.min(k(L), 1).indices,
    "min of whole numbers": lambda L: [k(L).min().item(), k(L).max().item()],
    "all and any along": lambda L: [
        (x(L) > 0).any(dim=1).tolist(),
        (x(L) < 5).all(1, True).tolist(),
    ],
    "allclose": lambda L: [L.allclose(x(L), x(L) + 1e-9), L.allclose(x(L), x(L) + 1)],
    "equal": lambda L: [L.equal(x(L), x(L)), L.equal(x(L), x(L)[0])],
    "where of a number": lambda L: L.where(x(L) > 0, x(L), 0.0),
    "clamp of whole numbers": lambda L: k(L).clamp(min=0, max=3),
    "clamp to fractions": lambda L: k(L).clamp(0.5),
    "round to even": lambda L: L.round(L.tensor([0.5, 1.5, -2.5, 2.6])),
    "sign of whole numbers": lambda L: L.sign(k(L)),
    # NumPy's names for arguments
    "sum": lambda L: x(L).sum(axis=0, keepdims=True),
    "mean": lambda L: L.mean(x(L), axis=1, keepdims=True),
    "argmax": lambda L: x(L).argmax(axis=0),
    "cat": lambda L: L.cat((x(L), x(L)), axis=1),
    "stack": lambda L: L.stack((x(L), x(L)), axis=2),
    "cumsum": lambda L: k(L).cumsum(axis=1),
    "sum of two axes": lambda L: x(L).sum(axis=[0, 1]),
    # into a tensor that there is
    "matmul, out": lambda L: [o := L.zeros(2, 2), L.matmul(x(L), x(L).t(), out=o)][0],
    "add, out": lambda L: [o := L.empty(2, 3), L.add(x(L), 1, out=o)][0],
    "pow, out": lambda L: [o := L.empty(2, 3), L.pow(x(L), 2, out=o)][0],
    "pow of a number": lambda L: L.pow(2, k(L).float()),
    # in place
    "add_ with alpha": lambda L: x(L).add_(x(L), alpha=-0.5),
    "sub_": lambda L: x(L).sub_(1.5),
    "mul_": lambda L: x(L).mul_(k(L)),
    "div_": lambda L: x(L).div_(4),
    "pow_": lambda L: k(L).pow_(2),
    "clamp_": lambda L: x(L).clamp_(max=0),
    "scatter_": lambda L: L.zeros(2, 5).scatter_(1, L.tensor([[1], [4]]), 1.0),
    "scatter_, the quickstart's": lambda L: L.zeros(10, dtype=L.float).scatter_(
        dim=0, index=L.tensor([3]), value=1
    ),
    # shapes
    "shape": lambda L: [repr(x(L).shape), str(x(L).size()), f"{x(L).shape}", x(L).shape.numel()],
    "a shape is a tuple": lambda L: [(1, *x(L).shape), x(L).shape == (2, 3), x(L).size() == (2, 3)],
    "expand": lambda L: x(L)[0].expand(4, -1),
    "repeat": lambda L: k(L).repeat(2, 1),
    "view_as": lambda L: x(L).view_as(L.zeros(3, 2)),
    "a range as an index": lambda L: x(L)[range(2), L.tensor([2, 0])],
    "gather": lambda L: x(L).gather(1, L.tensor([[2], [0]])),
    "index_select": lambda L: x(L).index_select(0, L.LongTensor([1, 1])),
    "split": lambda L: [tuple(t.shape) for t in L.split(k(L), 2, 1)],
    "split into sizes": lambda L: [t.tolist() for t in k(L).split([0, 1, 2], dim=1)],
    "chunk": lambda L: [tuple(t.shape) for t in L.chunk(L.arange(10), 4)],
    "chunk of few": lambda L: [t.tolist() for t in L.chunk(L.arange(2), chunks=3)],
    "chunk of nothing": lambda L: [tuple(t.shape) for t in L.zeros(0, 2).chunk(2)],
    # order
    "sort": lambda L: L.sort(x(L)).indices,
    "sort of NaN": lambda L: L.sort(L.tensor([1.0, math.nan, 3.0]), descending=True)[0],
    "stable sort": lambda L: L.sort(L.tensor([1, 0, 1, 0, 1]), stable=True).indices,
    "stable sort, down": lambda L: L.tensor([1, 0, 1]).sort(dim=0, descending=True, stable=True)[1],
    "sort of a number": lambda L: [t.item() for t in L.sort(L.tensor(3.5))],
    "sort of bools": lambda L: (x(L) > 0).sort(dim=0)[0],
    "argsort": lambda L: L.argsort(x(L), dim=0, descending=True),
    "topk": lambda L: L.topk(x(L), 2).indices,
    "topk, smallest": lambda L: x(L).topk(1, 0, largest=False)[0],
    "topk of a number": lambda L: [t.item() for t in L.topk(L.tensor(3), 1)],
    # sums and spreads
    "std": lambda L: x(L).std(),
    "std, not unbiased": lambda L: x(L).std(dim=0, unbiased=False),
    "var along": lambda L: L.var(x(L), 1, keepdim=True),
    "norm": lambda L: L.norm(x(L)),
    "norm of ones": lambda L: x(L).norm(1),
    "mv": lambda L: L.mv(x(L), L.ones(3)),
    "dot": lambda L: L.dot(x(L)[0], x(L)[1]),
    "numel": lambda L: [L.numel(x(L)), x(L).nelement()],
}


def plain(value):
    if isinstance(value, (minicnn.Tensor, torch.Tensor)):
        return [array(value).tolist(), str(array(value).dtype), tuple(value.shape)]
    return value


@pytest.mark.parametrize("name", SAME)
def test_a_name_gives_what_it_gives_in_pytorch(name):
    ours, theirs = plain(SAME[name](minicnn)), plain(SAME[name](torch))
    if isinstance(theirs, list) and len(theirs) == 3 and isinstance(theirs[1], str):
        assert ours[1:] == theirs[1:]
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6, atol=1e-7)
    else:
        assert ours == theirs


def test_numbers_that_are_drawn_have_the_mean_and_spread_asked_for():
    minicnn.manual_seed(0)
    for drawn in (
        minicnn.normal(2.0, 0.5, size=(20_000,)),
        minicnn.normal(minicnn.full((20_000,), 2.0), 0.5),
        minicnn.zeros(20_000).normal_(2, 0.5),
        minicnn.randn_like(minicnn.zeros(20_000)) * 0.5 + 2,
    ):
        assert abs(drawn.mean().item() - 2) < 0.02 and abs(drawn.std().item() - 0.5) < 0.02
    for drawn in (
        minicnn.rand(size=(20_000,)),
        minicnn.rand_like(minicnn.zeros(20_000)),
        minicnn.zeros(20_000).uniform_(),
        minicnn.Tensor(20_000).uniform_(0, 1),
    ):
        assert abs(drawn.mean().item() - 0.5) < 0.01 and drawn.min() >= 0 and drawn.max() < 1


@pytest.mark.parametrize(
    "make",
    [
        lambda L: L.randint(0, 10, (2, 3)),
        lambda L: L.randint(10, (2, 3)),
        lambda L: L.randint(10, size=(2, 3)),
        lambda L: L.randint(low=3, high=4, size=(2, 3), dtype=L.int32),
        lambda L: L.empty(2, 3),
        lambda L: L.empty_like(L.zeros(2, 3).long()),
        lambda L: L.normal(0, 1, (2, 3), dtype=L.float64),
        lambda L: L.normal(0, 1, size=(2, 3), requires_grad=True),
        lambda L: L.rand_like(L.zeros(2, 3).long(), dtype=L.float),
        lambda L: L.Tensor(2, 3),
        lambda L: L.FloatTensor(2, 3),
        lambda L: L.Tensor(L.zeros(2, 3).shape),
    ],
)
def test_what_is_drawn_has_pytorchs_shape_and_type(make):
    ours, theirs = make(minicnn), make(torch)
    assert (ours.shape, str(ours.dtype), ours.requires_grad) == (
        tuple(theirs.shape),
        str(theirs.dtype).rpartition(".")[2],
        theirs.requires_grad,
    )


BAD = {
    "mm of vectors": lambda L: L.mm(x(L)[0], x(L)[0]),
    "dot of two sizes": lambda L: L.dot(L.ones(2), L.ones(3)),
    "bmm of two numbers": lambda L: L.bmm(L.ones(2, 1, 1), L.ones(3, 1, 1)),
    "expand to what does not fit": lambda L: x(L).expand(4, 3),
    "expand to fewer axes": lambda L: x(L).expand(3),
    "a new axis of -1": lambda L: x(L).expand(-1, 2, 3),
    "gather of other axes": lambda L: x(L).gather(0, L.tensor([0])),
    "gather of fractions": lambda L: x(L).gather(0, L.zeros(1, 1)),
    "clamp without bounds": lambda L: x(L).clamp(),
    "linspace of -1": lambda L: L.linspace(0, 1, -1),
    "one_hot of fractions": lambda L: L.nn.functional.one_hot(x(L)),
    "one_hot of too few": lambda L: L.nn.functional.one_hot(L.tensor([3]), 2),
    "max of two and a dim by name": lambda L: L.max(x(L), axis=0, dim=0),
    "probabilities above 1": lambda L: L.nn.functional.binary_cross_entropy(x(L), x(L)),
    "mean of whole numbers": lambda L: k(L).mean(),
    "std of whole numbers": lambda L: k(L).std(),
    "FloatTensor of two lists": lambda L: L.FloatTensor([1], [2]),
    "Tensor of a text": lambda L: L.Tensor(["a"]),
    "split of too few": lambda L: x(L).split([1, 1], 1),
    "chunk into none": lambda L: x(L).chunk(0),
    "topk of too many": lambda L: x(L).topk(4),
    "repeat with too few": lambda L: x(L).repeat(2),
    "size twice": lambda L: L.zeros(2, size=(3,)),
    "normal without a size": lambda L: L.normal(0.0, 1.0),
}


@pytest.mark.cpu
@pytest.mark.parametrize("name", BAD)
def test_what_pytorch_refuses_is_refused_in_a_line(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        BAD[name](torch)
    with pytest.raises(theirs.type) as ours:
        BAD[name](minicnn)
    assert len(str(ours.value).splitlines()) == 1


def test_a_result_is_not_written_into_a_tensor_of_another_shape_which_pytorch_makes_larger():
    with pytest.raises(RuntimeError, match=r"add: out has shape \(1, 3\), the result \(2, 3\)"):
        minicnn.add(x(minicnn), 1, out=minicnn.zeros(1, 3))


def test_losses_of_numbers_in_two_shapes_are_refused_where_pytorch_warns():
    with pytest.raises(RuntimeError, match=r"target \(3,\) for input \(3, 1\)"):
        nn.MSELoss()(minicnn.zeros(3, 1), minicnn.zeros(3))


# --- devices, switches and what is left out ------------------------------------------------------


@pytest.mark.cpu
def test_a_program_can_ask_for_devices_that_are_not_there():
    assert minicnn.cuda.device_count() in (0, 1)
    assert (minicnn.accelerator.current_accelerator() is None) == (not minicnn.cuda.is_available())
    assert not minicnn.backends.mps.is_available()
    minicnn.backends.cudnn.benchmark = True
    minicnn.cuda.manual_seed(3)
    assert minicnn.random.default_generator.initial_seed() == 3
    minicnn.cuda.empty_cache()
    minicnn.set_default_dtype(minicnn.float32)
    minicnn.set_default_tensor_type("torch.FloatTensor")
    assert minicnn.get_default_dtype() == minicnn.float32
    with pytest.raises(NotImplementedError, match="float64 can't be the default"):
        minicnn.set_default_dtype(minicnn.float64)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("place", "name"),
    [(module, name) for module, names in minicnn.absent.ABSENT.items() for name in names],
)
def test_what_is_left_out_on_purpose_says_so_in_a_line(place, name):
    module = __import__(place, fromlist=["x"])
    with pytest.raises(AttributeError, match=f"no attribute '{name}': it is left out on") as caught:
        getattr(module, name)
    assert "\n" not in str(caught.value)


@pytest.mark.cpu
@pytest.mark.parametrize("place", [*minicnn.absent.ABSENT])
def test_what_is_not_known_is_just_not_there(place):
    with pytest.raises(AttributeError, match=r"has no attribute 'nosuch'$"):
        _ = __import__(place, fromlist=["x"]).nosuch


# --- pictures side by side -----------------------------------------------------------------------


def grid_by_hand(images, nrow, padding, value):
    """torchvision's layout: each picture in a cell with `padding` above and to the left."""
    n, c, h, w = images.shape
    columns, rows = min(nrow, n), -(-n // min(nrow, n))
    out = np.full((c, rows * (h + padding) + padding, columns * (w + padding) + padding), value)
    for i, image in enumerate(images):
        top, left = (
            (i // columns) * (h + padding) + padding,
            (i % columns) * (w + padding) + padding,
        )
        out[:, top : top + h, left : left + w] = image
    return out


@pytest.mark.parametrize(("n", "nrow", "padding"), [(5, 3, 2), (8, 8, 0), (2, 8, 1), (4, 1, 3)])
def test_a_grid_is_laid_out_as_torchvisions(n, nrow, padding):
    images = np.random.default_rng(0).random((n, 3, 4, 5)).astype("float32")
    made = minicnn.vision.utils.make_grid(minicnn.tensor(images), nrow, padding, pad_value=0.5)
    np.testing.assert_allclose(array(made), grid_by_hand(images, nrow, padding, 0.5), rtol=1e-6)


def test_grey_images_get_three_channels_and_one_image_no_frame():
    one = minicnn.vision.utils.make_grid(minicnn.rand(1, 4, 5))
    assert one.shape == (3, 4, 5)
    assert (one[0] == one[2]).all()
    listed = minicnn.vision.utils.make_grid([minicnn.rand(1, 4, 5)] * 3)
    assert listed.shape == (3, 8, 23)


def test_a_normalised_grid_goes_from_0_to_1():
    images = minicnn.tensor(np.float32([[[[2.0, 4.0]]], [[[6.0, 8.0]]]]))
    utils = minicnn.vision.utils
    whole = utils.make_grid(images, normalize=True, padding=0)[0]
    np.testing.assert_allclose(array(whole), [[0, 1 / 3, 2 / 3, 1]], rtol=1e-6)
    each = utils.make_grid(images, normalize=True, scale_each=True, padding=0)[0]
    np.testing.assert_allclose(array(each), [[0, 1, 0, 1]], rtol=1e-6)
    cut = utils.make_grid(images, normalize=True, value_range=(4, 6), padding=0)[0]
    np.testing.assert_allclose(array(cut), [[0, 0, 1, 1]], rtol=1e-6)


@pytest.mark.cpu
def test_a_picture_file_has_the_pixels_of_the_grid(tmp_path):
    from PIL import Image

    images = minicnn.tensor(np.float32([[[[0.0, 0.5]]], [[[1.0, 2.0]]]]))
    minicnn.vision.utils.save_image(images, tmp_path / "grid.png", padding=0)
    assert np.asarray(Image.open(tmp_path / "grid.png"))[0, :, 0].tolist() == [0, 128, 255, 255]


@pytest.mark.cpu
def test_the_loader_takes_arguments_where_pytorch_takes_them():
    ours, theirs = (
        [*inspect.signature(L.utils.data.DataLoader).parameters] for L in (minicnn, torch)
    )
    assert ours[: ours.index("generator") + 1] == theirs[: theirs.index("generator") + 1]
    assert {*ours} <= {*theirs}
