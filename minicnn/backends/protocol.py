"""What a backend is: the array library itself, and the primitives in which libraries differ.

A backend is a module. `numpy.py` and `cupy.py` are checked against `Backend` by mypy (in
`__init__.py`) and by tests/test_backends.py; here is what each primitive computes, there is how.
What libraries spell alike is no primitive: it is called through `xp`.

Images are channels-last, (N, H, W, C). Unless it says otherwise, a primitive takes arrays in any
layout, writes to none that it is given, and returns one that is nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from .windows import Pair, Window

Array = Any  # numpy.ndarray or cupy.ndarray
Key = tuple[int, Any]  # a seed, and a count: an int, or a `random.Counted`


class SGDOptions(NamedTuple):
    """The options of `optim.SGD` that are the same for all of an update."""

    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool


class Arrays(Protocol):
    """Arrays: the library, the way in and out, and how the work on a batch is cut."""

    xp: Any  # the array library
    device_type: str  # "cpu" or "cuda"
    # Whether few large operations are faster than many small ones, even if they read more: on a GPU
    # a launch from Python takes some 10 µs, and many kernels run for less.
    costly_launches: bool

    def from_host(self, array: Array) -> Array:
        """A NumPy array as one of this backend, its axes in the same order in memory.

        On the host it is the same array.
        """

    def to_host(self, array: Array) -> Array:
        """An array of this backend as a NumPy array, its axes in the same order in memory.

        On the host it is the same array.
        """

    def fetch(self, array: Array) -> Callable[[], float | None]:
        """Send a number to the host without waiting for it: a function that gives it once there.

        Until then the function gives None.
        """

    def quiet(self) -> AbstractContextManager[Any]:
        """A context in which 1/0, log(0) and overflow give inf and NaN without a warning."""

    def capturing(self) -> bool:
        """Whether what this thread does is only being recorded for a graph.

        Then nothing may be asked of the device: there are no numbers yet.
        """

    def chunks(self, n: int, bytes_each: int) -> list[slice]:
        """Cut n images into chunks, at least one, for arrays of `bytes_each` an image."""

    def for_chunks(self, work: Callable[[slice], None], chunks: Sequence[slice]) -> None:
        """work(chunk) for every chunk."""

    def sum_chunks(self, work: Callable[[slice], Array], chunks: Sequence[slice]) -> Array:
        """The sum of work(chunk), an array that is nobody else's, over all chunks."""


class Kernels(Protocol):
    """Numbers: the functions that compute."""

    # --- products and places ---

    def matmul(
        self, x: Array, y: Array, out: Array | None = None, bias: Array | None = None
    ) -> Array:
        """x @ y as NumPy defines it, written into `out`, which is contiguous, if given.

        Two matrices may have a `bias` (n,), which is added to each row of the result; with a vector
        there is no `out`. Raises ValueError where the shapes do not meet.
        """

    def add_at(self, target: Array, index: Any, values: Array) -> None:
        """target[index] += values, adding again for an index that occurs again.

        Always in the same order.
        """

    # --- elementwise ---

    def relu(
        self, x: Array, recorded: bool, in_place: bool = False
    ) -> tuple[Array, Callable[..., Array]]:
        """max(x, 0), and NaN where x is, laid out in memory as x is; and its VJP.

        `in_place` lets it write over x. The VJP gives g where the result is above 0 or NaN, and 0
        elsewhere, written over g where that is `spent`; it is called only if this is `recorded`.
        """

    def divided(self, g: Array, total: Any) -> Array:
        """g / total for two numbers, arrays or not, and 0 where total is 0."""

    def one_hot(self, labels: Array, classes: int, ignored: int, dtype: Any) -> Array:
        """Class indices (N, …) as rows of 0 and 1, (N, C, …), all 0 for the index `ignored`.

        On a device, where to check them is to wait, the row of an index out of range is NaN.
        """

    def cross_entropy(self, x: Array, q: Array) -> tuple[Array, Array]:
        """-Σ_c q_c·log p_c and log p, with p = softmax(x), for x and q (N, C): (N,) and (N, C)."""

    def cross_entropy_vjp(self, g: Array, q: Array, logp: Array) -> Array:
        """g·((Σ_c q_c)·p - q) for g (N,), q and log p (N, C)."""

    # --- updates ---

    def sgd(self, p: Array, g: Array, v: Array | None, lr: Array, options: SGDOptions) -> None:
        """The update of `optim.SGD`, in place; lr (1,) has p's type, and is read when it is done.

        g ← g + weight_decay·p; then p ← p - lr·g, or with a momentum buffer
        v ← momentum·v + (1 - dampening)·g and p ← p - lr·(g + momentum·v if nesterov else v).
        """

    def norm(self, arrays: Sequence[Array]) -> Array:
        """The Euclidean norm of some arrays as one vector: ()."""

    def shrink(self, arrays: Sequence[Array], norm: Array, most: float) -> None:
        """Scale arrays of this norm in place, so that it is at most `most`; what is 0 stays 0."""

    # --- random numbers ---
    # Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is counter-based: a
    # key names a stream, so the numbers depend on the key alone and not on what was drawn before.

    def uniform(self, key: Key, shape: Sequence[int], dtype: Any, skip: int = 0) -> Array:
        """Numbers from the uniform distribution on [0, 1), after the first `skip` of the stream."""

    def dropout(
        self, key: Key, shape: Sequence[int], dtype: Any, p: float, skip: int
    ) -> Callable[[Array], Array]:
        """The function that drops elements of arrays of this shape, always the same ones.

        Each is 0 with probability p and x/(1-p) otherwise, as number `skip` + i of the stream says
        for the i-th.
        """

    # --- windows ---

    def im2col(self, x: Array, window: Window) -> Array:
        """Unroll the windows of x (N, H, W, C) into the rows of a matrix (N·H'·W', L).

        L is at least kh·kw·C; what follows in a row are zeros, there to be multiplied with it as
        that is faster. Filters, unrolled by their own window, have as many. Don't write to it: it
        may be a view.
        """

    def col2im(self, cols: Array, window: Window, out: Array) -> None:
        """The transpose of im2col: add up rows of cols, each on its window of out (N, H, W, C).

        `out` is contiguous; what it held before is lost.
        """

    def max_pool(self, x: Array, window: Window) -> tuple[Array, Array]:
        """The maximum of each window of x (N, H, W, C), and its argmax: the place that held it.

        Returns values and argmax (N, H', W', C); places are 0 … kh·kw-1, counted along rows, of the
        smallest unsigned type that holds them. The first of equal maxima wins; NaN wins over
        everything; padding never wins. Where no place lies on the image, it is -inf and argmax 0.
        """

    def max_unpool(self, g: Array, argmax: Array, shape: Sequence[int], window: Window) -> Array:
        """The transpose of max_pool: add up g (N, H', W', C), each element where `argmax` says."""

    def sum_pool(self, x: Array, window: Window) -> Array:
        """The sum of each window of x (N, H, W, C), padding being 0: (N, H', W', C)."""

    def sum_unpool(self, g: Array, shape: Sequence[int], window: Window) -> Array:
        """The transpose of sum_pool: add up each element of g on its whole window: (N, H, W, C)."""

    def sum_pixels(self, g: Array, out: Array | None = None) -> Array:
        """The sum of g (N, H, W, C) over images and pixels, (C,), written into `out` if given."""

    # --- tiles ---

    def gather_tiles(self, m: Array, x: Array, step: int, first: Pair, grid: Pair) -> Array:
        """m X mᵀ for squares X of x (N, H, W, C), for a matrix m (j, k) on the host: (j², N·T·C).

        The squares are k×k, `step` apart, grid[0]·grid[1] = T of them in each image, of which the
        first begins at pixel -first. What lies beyond the image is 0.
        """

    def scatter_tiles(self, m: Array, tiles: Array, out: Array, bias: Array | None = None) -> None:
        """Fill out (N, H, W, C) with squares m X mᵀ (j, j) side by side, and add a bias (C,).

        Their X, k×k for a matrix m (j, k) on the host, are the columns of tiles (k², …, C). The
        squares at the edges may reach over them.
        """

    def filtering_gains(self, images: Sequence[int], filters: Sequence[int], pixels: Pair) -> bool:
        """Whether minimal filtering, which works on tiles, takes less time than im2col.

        It is asked for images (N, C, H, W), filters (O, C, r, r) and H'·W' pixels of a result.
        """


class Inquiry(NamedTuple):
    """What a backend finds on this machine.

    `trouble` is why it can't be used, if so, in one line; `parts` are the versions of what it is
    made of, and the device, for people.
    """

    trouble: str | None
    devices: int
    parts: dict[str, str]


class Graph(Protocol):
    """What a function did on the device when it was captured, to be done again as a whole."""

    result: Any  # what the function returned; each launch writes to the arrays in it again

    def launch(self) -> None:
        """Do it; this may return before it is done."""


class GraphPool(Protocol):
    """The memory of graphs that never run at the same time: they may use it after one another."""

    def capture(self, function: Callable[[], Any]) -> Graph:
        """A graph of what `function()` does. Raises what it raises."""


class Device(Protocol):
    """The device: what there is of it, its memory, and graphs."""

    def inquire(self) -> Inquiry:
        """Ask the machine, which may take memory; it never raises."""

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that memory ran out, whoever raised it."""

    def free_unused(self) -> None:
        """Give memory that is kept for later back to the device, where it is kept."""

    def peak_bytes(self) -> int | None:
        """The most device memory that arrays, and what is kept for later ones, have taken.

        None where that is not known.
        """

    def graph_pool(self) -> GraphPool | None:
        """A new pool for graphs, or None where there are no graphs."""


class Backend(Arrays, Kernels, Device, Protocol):
    """All of it."""
