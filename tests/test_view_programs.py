"""Random programs of views, results and writes: what PyTorch gives, or one line that refuses.

A program has up to a dozen tensors, some of which share memory in PyTorch. After each step all of
them are compared. What is refused is never lost: a write that is refused ends the program, and a
tensor that can't be read any more leaves it.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import minicnn
from minicnn import nn
from minicnn.versions import owner

from .arrays import array
from .table import MINI, ROWS, TORCH

pytestmark = pytest.mark.cpu  # where memory is shared is the same on any device
REFUSALS = (  # with what the engine refuses that PyTorch does
    "this tensor is a copy",
    "share their memory",
    "can't be changed in place",
    "another tensor shows the memory",
    "must share one floating-point type",
    "with a history, use numbers and slices",
)


def lies_as_believed(mine, its):
    """Whether PyTorch's tensor lies as the engine takes it to lie, if it knows."""
    believed = mine._seen()
    if believed is None or not its.numel():
        return True
    steps = zip(believed.strides, its.stride(), believed.shape, strict=True)
    return all(a == b for a, b, n in steps if n > 1)


class Program:
    """Pairs of tensors, minicnn's and PyTorch's, and the random steps that they go through."""

    def __init__(self, seed, grows):
        self.rng = np.random.default_rng(seed)
        self.pairs, self.leaves, self.text, self.grows = [], [], [], grows
        self.outcomes = Counter()

    # --- what is drawn ---------------------------------------------------------------------------

    def up_to(self, most):
        return int(self.rng.integers(0, most + 1))

    def one_of(self, *things):
        return things[self.up_to(len(things) - 1)]

    def some(self):
        return self.pairs[self.up_to(len(self.pairs) - 1)]

    def target(self, n):
        """A shape of n elements."""
        shape = []
        while n > 1 and len(shape) < 4:
            divisors = [d for d in range(1, n + 1) if n % d == 0]
            shape.append(self.one_of(*divisors))
            n //= shape[-1]
        return tuple([*shape, n] if n != 1 or not shape else shape)

    def index(self, shape):
        """Numbers and slices for some of the axes."""
        parts = []
        for n in shape[: self.up_to(len(shape))]:
            if n and self.rng.random() < 0.4:
                parts.append(self.up_to(n - 1))
            else:
                start = self.up_to(n)
                parts.append(slice(start, start + self.up_to(n), self.one_of(1, 1, 2)))
        return tuple(parts)

    # --- steps -----------------------------------------------------------------------------------

    def new(self):
        kind = self.one_of("numbers", "numbers", "conv", "pool", "filters", "array")
        n, c, h, w = (1 + self.up_to(2) for _ in range(4))
        if kind in ("conv", "pool"):
            x = self.rng.integers(-3, 4, (n, c, h + 1, w + 1)).astype("float32")
            weight = self.rng.integers(-3, 4, (2, c, 2, 2)).astype("float32")
            if kind == "conv":
                how = lambda L: L.nn.functional.conv2d(L.tensor(x), L.tensor(weight))  # noqa: E731
            else:
                how = lambda L: L.nn.functional.max_pool2d(L.tensor(x), 2, 1)  # noqa: E731
        elif kind == "filters":
            values = self.rng.integers(-3, 4, (n, c, h, w)).astype("float32")

            def how(L):
                if L is torch:
                    return L.tensor(values)
                return nn.Conv2d(c, n, (h, w)).weight.detach().copy_(L.tensor(values))
        else:
            shape = tuple(1 + self.up_to(2) for _ in range(self.up_to(5)))
            values = self.rng.integers(-3, 4, shape).astype(
                self.one_of("float32", "float32", "int64")
            )
            order = self.rng.permutation(len(shape))
            if kind == "array":
                values = values.transpose(order)
            make = self.one_of("tensor", "from_numpy") if kind == "array" else "tensor"
            how = lambda L: getattr(L, make)(values.copy(order="K"))  # noqa: E731
        leaf = self.grows and self.rng.random() < 0.5

        def made(L):
            x = how(L)
            return x.requires_grad_() if leaf and x.dtype == L.float32 else x

        self.apply(kind, made, new=True)

    def view(self):
        shape = tuple(self.some_pair()[1].shape)
        n, ndim = int(np.prod(shape)), len(shape)
        kind = self.one_of(
            *["reshape", "view", "flatten", "permute", "index", "unsqueeze", "squeeze", "detach"],
            *["expand", "transpose", "T", "contiguous", "narrowed"],
        )
        target, order = self.target(n), [int(a) for a in self.rng.permutation(ndim)]
        axis = self.up_to(ndim)
        last = max(ndim - 1, 0)
        a, b = self.up_to(last), self.up_to(last)
        index = self.index(shape)
        wide = (1 + self.up_to(1), *(2 if m == 1 else m for m in shape))
        ways = {
            "reshape": lambda x: x.reshape(target),
            "view": lambda x: x.view(target),
            "flatten": lambda x: x.flatten(min(a, b), max(a, b)),
            "permute": lambda x: x.permute(order),
            "index": lambda x: x[index],
            "unsqueeze": lambda x: x.unsqueeze(axis),
            "squeeze": lambda x: x.squeeze(),
            "detach": lambda x: x.detach(),
            "expand": lambda x: x.expand(wide),
            "transpose": lambda x: x.transpose(a, b),
            "T": lambda x: x.permute(tuple(range(ndim)[::-1])),
            "contiguous": lambda x: x.contiguous(),
            "narrowed": lambda x: x[..., None, :1] if ndim else x[None],
        }
        self.apply(f"{kind} {target} {order} {a, b, axis} {index} {wide}", ways[kind])

    def result(self):
        shape = tuple(self.some_pair()[1].shape)
        ndim, other = len(shape), self.some()
        dim = self.up_to(max(ndim - 1, 0))
        places = [int(i) for i in self.rng.integers(0, max(shape[dim], 1), 2)] if ndim else []
        if ndim > 2 and not shape[-3]:
            return  # without channels PyTorch's convolution gives no maps
        kind = self.one_of(
            *["twice", "sum", "plus", "relu", "clone", "cat", "places", "repeat", "like", "where"],
            *["max", "cumsum", "double", "softmax", "conv", "matmul", "copied", "stack"],
        )
        theirs = lambda x: other[0] if isinstance(x, minicnn.Tensor) else other[1]  # noqa: E731
        L = lambda x: minicnn if isinstance(x, minicnn.Tensor) else torch  # noqa: E731
        counts = [1 + self.up_to(1) for _ in range(ndim)]
        keep = bool(self.up_to(1))
        ways = {
            "twice": lambda x: x * 2,
            "sum": lambda x: x.sum(dim, keepdim=keep),
            "plus": lambda x: x + theirs(x),
            "relu": lambda x: x.relu(),
            "clone": lambda x: x.clone(),
            "cat": lambda x: L(x).cat([x, x], dim),
            "places": lambda x: x[(slice(None),) * dim + (places,)],
            "repeat": lambda x: x.repeat(counts),
            "like": lambda x: L(x).ones_like(x),
            "where": lambda x: L(x).where(x > 0, x, theirs(x)),
            "max": lambda x: x.max(dim, keepdim=keep)[0],
            "cumsum": lambda x: x.cumsum(dim),
            "double": lambda x: x.to(L(x).float64).to(x.dtype),
            "softmax": lambda x: (L(x).nn.functional.softmax(x, dim) > 0.3).to(x.dtype),
            "conv": lambda x: L(x).nn.functional.conv2d(x, x[:1]).clamp(-9, 9),
            "matmul": lambda x: (x @ x.transpose(-1, -2)).clamp(-9, 9),
            "copied": lambda x: L(x).tensor(x.detach().numpy()),
            "stack": lambda x: L(x).stack([x, x], dim),
        }
        self.apply(f"{kind} {dim} {places} {counts}", ways[kind])

    def write(self):
        shape = tuple(self.some_pair()[1].shape)
        index, other = self.index(shape), self.some()
        theirs = lambda x: other[0] if isinstance(x, minicnn.Tensor) else other[1]  # noqa: E731
        kind = self.one_of("zero_", "+=", "*=", "[…] =", "copy_", "+= other", "relu_", "clamp_")
        quiet = not self.grows or self.rng.random() < 0.3
        ways = {
            "zero_": lambda x: x.zero_(),
            "+=": lambda x: x.__iadd__(1),
            "*=": lambda x: x.__imul__(2),
            "[…] =": lambda x: x.__setitem__(index, 5),
            "copy_": lambda x: x.copy_(x.detach().clone() - 1),
            "+= other": lambda x: x.__iadd__(theirs(x).clone()),
            "relu_": lambda x: x.relu_(),
            "clamp_": lambda x: x.clamp_(-1, 1),
        }

        def written(x):
            if quiet:
                with (minicnn if isinstance(x, minicnn.Tensor) else torch).no_grad():
                    ways[kind](x)
            else:
                ways[kind](x)

        self.apply(f"{kind} {index} {'quietly' if quiet else ''}", written, writes=True)

    def drop(self):
        if len(self.pairs) > 1:
            at = self.up_to(len(self.pairs) - 1)
            self.text.append(f"del {at}")
            del self.pairs[at]

    # --- and what becomes of them ----------------------------------------------------------------

    def some_pair(self):
        self.at = self.up_to(len(self.pairs) - 1)
        return self.pairs[self.at]

    def apply(self, text, way, new=False, writes=False):
        self.text.append(f"{len(self.pairs)} = {text}" + ("" if new else f" of {self.at}"))
        try:
            its = way(torch if new else self.pairs[self.at][1])
        except (RuntimeError, IndexError, ValueError):
            self.text[-1] += " (PyTorch refuses)"
            raise_if_written = writes  # PyTorch may have written nothing: the values are compared
            self.outcomes["PyTorch refuses"] += 1
            self.ended = raise_if_written
            return
        try:
            mine = way(minicnn if new else self.pairs[self.at][0])
        except (RuntimeError, NotImplementedError) as error:
            if not any(each in str(error) for each in REFUSALS):
                raise
            self.text[-1] += f" ({error})"
            self.outcomes["write refused" if writes else "read refused"] += 1
            self.ended = writes
            return
        self.outcomes["done"] += 1
        if not writes:
            self.pairs.append((mine, its))
            if mine.requires_grad and mine.is_leaf and new:
                self.leaves.append((mine, its))

    def compare(self):
        kept = []
        for at, (mine, its) in enumerate(self.pairs):
            try:
                values = array(mine)
            except RuntimeError as error:
                assert "this tensor is a copy" in str(error)  # noqa: PT017
                self.outcomes["stale"] += 1
                self.text.append(f"{at} is stale")
                continue
            np.testing.assert_array_equal(values, array(its), err_msg=f"of {at}")
            assert lies_as_believed(mine, its), f"{at} has strides {its.stride()}"
            kept.append((mine, its))
        self.pairs = kept

    def run(self, steps=14):
        self.ended = False
        self.new()
        for _ in range(steps):
            step = self.one_of(*["view"] * 5, *["result"] * 4, *["write"] * 3, "new", "drop")
            if not self.pairs:
                step = "new"
            getattr(self, step)()
            if self.ended:
                break
            self.compare()
        if self.grows and not self.ended:
            self.go_back()
        return self.outcomes

    def go_back(self):
        """The gradients of the sum of all that has a history."""
        grown = [(m, t) for m, t in self.pairs if t.requires_grad]
        assert all(m.requires_grad for m, _ in grown)
        if not grown:
            return
        try:
            sum((t.double() * 3).sum() for _, t in grown).backward()
        except RuntimeError:
            return  # a value that a derivative needs was changed
        try:
            sum((m.double() * 3).sum() for m, _ in grown).backward()
        except RuntimeError as error:
            assert "was changed" in str(error)  # noqa: PT017
            self.outcomes["back refused"] += 1
            return
        for mine, its in self.leaves:
            assert (mine.grad is None) == (its.grad is None)
            if its.grad is not None:
                np.testing.assert_allclose(array(mine.grad), array(its.grad), rtol=1e-5, atol=1e-5)
        self.outcomes["went back"] += 1


def checked(seed, grows):
    program = Program(seed, grows)
    try:
        return program.run()
    except Exception as error:
        raise AssertionError(f"program {seed}: " + "; ".join(program.text)) from error


@pytest.mark.parametrize("grows", [False, True])
def test_random_programs_give_what_pytorch_gives_or_are_refused(grows):
    outcomes = Counter()
    for seed in range(150):
        outcomes += checked(seed, grows)
    assert outcomes["done"] > 10 * (outcomes["write refused"] + outcomes["stale"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even:UserWarning")
def test_results_lie_as_is_believed_and_share_memory_only_where_pytorchs_do(row):
    @settings(max_examples=10)
    @given(row.examples)
    def check(example):
        arrays = [np.ascontiguousarray(a) for a in example.arrays]
        ours, theirs = [minicnn.from_numpy(a) for a in arrays], [torch.tensor(a) for a in arrays]
        mine, its = example.call(MINI, *ours), example.call(TORCH, *theirs)
        assert lies_as_believed(mine, its)
        for x, y in zip(ours, theirs, strict=True):
            shared = its.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
            assert shared or not mine.numel() or owner(mine.array) is not owner(x.array)

    check()


if __name__ == "__main__":
    total, wrong = Counter(), 0
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        for grows in (False, True):
            try:
                total += checked(seed, grows)
            except AssertionError as error:
                wrong += 1
                if wrong < 6:
                    print(seed, grows, error, "\n   ", str(error.__cause__)[:300])
    print(total, wrong, "wrong")
