"""The kernels of the CuPy backend, in C.

Most are the body of a loop over the elements of their result, `i`, or over packs of them: a thread
each, which computes it from all that it depends on. `column_sums` alone has threads that wait for
one another. Nothing is added up in an order that chance decides, so results are the same from run
to run. `raw` arguments are indexed by the body, the others are the i-th element themselves.

Kernels are compiled when they are first called, for the types of the arrays that they are given: T
and P are such types. A number has no type to CuPy, so the numbers have theirs written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy as xp
import numpy as np


def _kernel(name: str, inputs: str, outputs: str, body: str, preamble: str = "") -> Any:
    """`body` for each element i of the outputs; profilers show the name."""
    return xp.ElementwiseKernel(inputs, outputs, body, f"minicnn_{name}", preamble=preamble)


# --- elementwise ---------------------------------------------------------------------------------

add_runs = _kernel(
    "add_runs",
    "raw T values, raw int64 order, raw int64 start",
    "T y",
    "for (long long j = start[i]; j < start[i + 1]; j++) y += values[order[j]];",
)

# --- random numbers ------------------------------------------------------------------------------
# Philox4x64-10 (Salmon et al. 2011, section 3.3), bit for bit as NumPy draws from it: block b of a
# stream is made from the counter b + 1, four numbers of 64 bits or eight of 32, low half first.
# The second half of the key is read from memory, count[0] + ahead, as a captured graph needs it.

_PHILOX = """
typedef unsigned long long U;
__device__ void philox(U block, U k0, U k1, U *c) {
    c[0] = block + 1; c[1] = c[2] = c[3] = 0;
    for (int round = 0; round < 10; round++) {
        const U m0 = 0xD2E7470EE14C6C93ULL, m1 = 0xCA5A826395121157ULL;
        U h0 = __umul64hi(m0, c[0]), l0 = m0 * c[0];
        U h1 = __umul64hi(m1, c[2]), l1 = m1 * c[2];
        c[0] = h1 ^ c[1] ^ k0; c[1] = l1;
        c[2] = h0 ^ c[3] ^ k1; c[3] = l0;
        k0 += 0x9E3779B97F4A7C15ULL; k1 += 0xBB67AE8584CAA73BULL;
    }
}
__device__ double draw(U i, U k0, U k1, double) {
    U c[4];
    philox(i / 4, k0, k1, c);
    return (c[i % 4] >> 11) * (1.0 / 9007199254740992.0);
}
__device__ float draw(U i, U k0, U k1, float) {
    U c[4];
    philox(i / 8, k0, k1, c);
    unsigned int bits = (unsigned int)(c[i % 8 / 2] >> (i % 2 ? 32 : 0));
    return (bits >> 8) * (1.0f / 16777216.0f);
}
"""
_KEY = "uint64 seed, raw uint64 count, uint64 ahead, uint64 skip"
_DRAWN = "draw(skip + i, seed, count[0] + ahead, T(0))"

uniform = _kernel("uniform", _KEY, "T y", f"y = {_DRAWN};", _PHILOX)
dropout = _kernel(
    "dropout",
    f"T x, T p, T scale, {_KEY}",
    "T y",
    f"y = {_DRAWN} >= p ? x * scale : x * T(0);",
    _PHILOX,
)

# --- cross-entropy -------------------------------------------------------------------------------
# One thread for each row of C logits; the rows are as short as there are classes.

divided = _kernel("divided", "T g, T total", "T y", "y = total == 0 ? T(0) : g / total;")
one_hot = _kernel(
    "one_hot",
    "raw I label, int64 c, int64 pixels, int64 ignored",
    "T hot",
    """
    long long rest = i, at = rest % pixels; rest /= pixels;
    long long k = rest % c, n = rest / c;
    long long l = label[n * pixels + at];
    hot = l == ignored ? T(0) : l < 0 || l >= c ? T(nan("")) : T(l == k);
    """,
)
cross_entropy = _kernel(
    "cross_entropy",
    "raw T x, raw T q, int64 c",
    "T loss, raw T logp",
    """
    T top = x[i * c];
    for (long long k = 1; k < c; k++) { T e = x[i * c + k]; if (e > top || e != e) top = e; }
    T sum = 0, dot = 0;
    for (long long k = 0; k < c; k++) sum += exp(x[i * c + k] - top);
    T shift = log(sum);
    for (long long k = 0; k < c; k++) {
        T l = x[i * c + k] - top - shift;
        logp[i * c + k] = l;
        if (q[i * c + k] != 0) dot += q[i * c + k] * l;
    }
    loss = -dot;
    """,
)
cross_entropy_vjp = _kernel(
    "cross_entropy_vjp",
    "raw T g, raw T q, T logp, int64 c",
    "T dx",
    """
    long long row = i / c;
    T weight = 0;
    for (long long k = 0; k < c; k++) weight += q[row * c + k];
    dx = g[row] * (exp(logp) * weight - q[i]);
    """,
)

# --- the optimiser -------------------------------------------------------------------------------

sgd = _kernel("sgd", "T g, raw T lr, T decay", "T p", "p -= lr[0] * (decay ? g + decay * p : g);")
sgd_momentum = _kernel(
    "sgd_momentum",
    "T grad, raw T lr, T momentum, T kept, T decay, bool nesterov",
    "T p, T v",
    """
    T g = decay ? grad + decay * p : grad;
    v = momentum * v + kept * g;
    p -= lr[0] * (nesterov ? g + momentum * v : v);
    """,
)

# --- 16 bytes at a time --------------------------------------------------------------------------
# What is alike for neighbouring channels is done once for as many of them as fill 16 bytes, a Pack:
# one address, one load, one store, and 47 instructions an element of im2col in place of 158.

PACK_BYTES = 16


def lanes(channels: int, *arrays: Any) -> int:
    """How many channels a thread takes: as many as fill 16 bytes, where all arrays allow it, or 1.

    They must be contiguous, with this many channels last.
    """
    each = max(1, PACK_BYTES // max(a.itemsize for a in arrays))
    fits = channels % each == 0
    return each if fits and all(a.data.ptr % (each * a.itemsize) == 0 for a in arrays) else 1


def _pack(name: str, kind: str, count: int) -> str:
    return f"struct alignas({count} * sizeof({kind})) {name} {{ {kind} e[{count}]; }};\n"


@cache
def relu(count: int) -> Any:
    """y = max(x, 0), for packs of so many."""
    return _kernel(
        "relu",
        "raw T x",
        "raw T y",
        """
        Pack p = ((const Pack *)&x[0])[i];
        for (int l = 0; l < L; l++) if (p.e[l] <= 0) p.e[l] = 0;
        ((Pack *)&y[0])[i] = p;
        """,
        f"{_pack('Pack', 'T', count)}enum {{ L = {count} }};",
    )


@cache
def relu_vjp(count: int) -> Any:
    """dx = g where y > 0 or y is NaN, 0 elsewhere, for packs of so many."""
    return _kernel(
        "relu_vjp",
        "raw T g, raw T y",
        "raw T dx",
        """
        Pack p = ((const Pack *)&g[0])[i], q = ((const Pack *)&y[0])[i];
        for (int l = 0; l < L; l++) if (q.e[l] <= 0) p.e[l] = 0;
        ((Pack *)&dx[0])[i] = p;
        """,
        f"{_pack('Pack', 'T', count)}enum {{ L = {count} }};",
    )


# --- the sums of columns -------------------------------------------------------------------------

SUM_THREADS, SUM_BLOCKS = 1024, 264  # two blocks for each of an H100's processors

_COLUMN_SUMS = """
extern "C" __global__ void minicnn_column_sums(
    const Pack *x, long long rows, int packs, Pack *partial, unsigned int *arrived, Pack *y) {
    // Thread t has pack t % packs of a row, and every (lines · blocks)-th row from its own line on.
    __shared__ Pack sums[THREADS];
    __shared__ bool last;
    int t = threadIdx.x, wide = packs < THREADS ? packs : THREADS, lines = THREADS / wide;
    int line = t / wide;
    for (int from = 0; from < packs; from += wide) {
        int pack = from + t % wide;
        bool mine = line < lines && pack < packs;
        Pack sum = {};
        if (mine) {
            #pragma unroll 4
            for (long long r = blockIdx.x * lines + line; r < rows; r += gridDim.x * lines)
                add(sum, x + r * packs + pack);
            sums[t] = sum;
        }
        __syncthreads();
        if (mine && line == 0) {
            for (int k = 1; k < lines; k++) add(sum, sums + k * wide + t);
            partial[blockIdx.x * packs + pack] = sum;
        }
        __syncthreads();
    }
    // The block that comes last adds up what all have left, in their order.
    __threadfence();
    if (t == 0) last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last) return;
    if (t == 0) *arrived = 0;  // for the next launch
    __threadfence();
    for (int from = 0; from < packs; from += wide) {
        int pack = from + t % wide;
        bool mine = line < lines && pack < packs;
        Pack sum = {};
        if (mine) {
            #pragma unroll 4
            for (int r = line; r < gridDim.x; r += lines) add(sum, partial + r * packs + pack);
            sums[t] = sum;
        }
        __syncthreads();
        if (mine && line == 0) {
            for (int k = 1; k < lines; k++) add(sum, sums + k * wide + t);
            y[pack] = sum;
        }
        __syncthreads();
    }
}
"""


@cache
def _column_sums(c_type: str, count: int) -> Any:
    source = f"""
    {_pack("Pack", c_type, count)}
    enum {{ L = {count}, THREADS = {SUM_THREADS} }};
    __device__ void add(Pack &a, const Pack *b) {{
        Pack p = *b;  // in one load
        for (int l = 0; l < L; l++) a.e[l] += p.e[l];
    }}
    {_COLUMN_SUMS}"""
    return xp.RawKernel(source, "minicnn_column_sums")


@cache
def arrived(stream: int) -> Any:
    """How many blocks have come: 0 between launches on a stream, and in no graph's memory.

    It is set to 0 at once, so it has to be there before something is captured on the stream.
    """
    with xp.cuda.using_allocator(xp.get_default_memory_pool().malloc):
        return xp.zeros(1, "uint32")


def sum_columns(x: Any, count: int, y: Any) -> None:
    """y (C,) = Σ_r x[r] for x (rows, C), contiguous, in packs of `count`.

    Two passes in one launch: each block adds up its own rows, and the one that is done last adds up
    what they left. The order is always the same, whichever that is.
    """
    rows, packs = len(x), len(y) // count
    lines = SUM_THREADS // min(packs, SUM_THREADS)
    blocks = min(SUM_BLOCKS, -(-rows // (8 * lines)))  # at least 8 rows for a thread
    partial = xp.empty((blocks, len(y)), x.dtype)
    count_of = arrived(xp.cuda.get_current_stream().ptr)
    kernel = _column_sums({"f": "float", "d": "double"}[x.dtype.char], count)
    kernel((blocks,), (SUM_THREADS,), (x, np.int64(rows), np.int32(packs), partial, count_of, y))


# --- the norm of gradients -----------------------------------------------------------------------
# In two steps, of which the first has threads enough to read at full speed: each adds up every
# n-th square, for n threads.

squares = _kernel(
    "squares",
    "raw T x, int64 size",
    "P part",
    """
    P sum = 0;
    for (long long k = i; k < size; k += _ind.size()) { P e = x[k]; sum += e * e; }
    part = sum;
    """,
)
root_of_sum = xp.ReductionKernel(
    "T x", "T y", "x", "a + b", "y = sqrt(a)", "0", "minicnn_root_of_sum"
)
shrink = _kernel(
    "shrink",
    "raw P norm, P most",
    "T g",
    # 0 stays 0 even if the norm is NaN: so do the zeros between gradients that lie together.
    "P factor = most / (norm[0] + P(1e-6)); if (g != T(0)) g *= factor >= 1 ? T(1) : T(factor);",
)

# --- windows -------------------------------------------------------------------------------------
# n, a, b, k is an element of the image (N, H, W, C), or the pack of them that it is the k-th of its
# pixel; p, q a window and u, v a place in it. Around the image lie zeros, `top` and `left` of the
# first pixel: coordinates are unsigned, and those before the first wrap around to very large ones,
# so that one comparison with h or w finds them all.

# What counts elements, to CuPy and in C: kernels spend their time on divisions, and by 32 bits
# those are several times faster.
_INDEX = {False: ("uint32", "unsigned int"), True: ("uint64", "unsigned long long")}
_SIZES = ("h", "w", "c", "oh", "ow", "kh", "kw", "sh", "sw", "dh", "dw", "top", "left")


def is_wide(*arrays: Any) -> bool:
    """Whether 32 bits are too few to count the elements of one of the arrays."""
    return max(a.size for a in arrays) >= 2**31


class Windowed:
    """A kernel over windows, for arrays of any size, type and number of lanes."""

    def __init__(self, name: str, inputs: str, outputs: str, body: str) -> None:
        self.name, self.inputs, self.outputs, self.body = name, inputs, outputs, body
        self._compiled = cache(self._kernel)

    def _kernel(self, wide: bool, count: int) -> Any:
        uint, c_type = _INDEX[wide]
        sizes = ", ".join(f"{uint} {each}" for each in _SIZES)
        places = _pack("Places", "P", count) if "P argmax" in self.inputs + self.outputs else ""
        return _kernel(
            self.name,
            f"{self.inputs}, {sizes}".replace("I ", f"{uint} "),
            self.outputs,
            self.body,
            f"typedef {c_type} I;\n{_pack('Pack', 'T', count)}{places}enum {{ L = {count} }};",
        )

    def __call__(
        self, inputs: Sequence[Any], sizes: Sequence[int], outputs: Sequence[Any], count: int
    ) -> None:
        """Run it, with a thread for every `count` elements of the first output."""
        arrays = [a for a in (*inputs, *outputs) if isinstance(a, xp.ndarray)]
        kernel = self._compiled(is_wide(*arrays), count)
        kernel(*inputs, *sizes, *outputs, size=outputs[0].size // count)


_PIXEL = "((n * h + a) * w + b) * c + k"
_WINDOW = "(n * oh + p) * ow + q"
_OUTPUT = """
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
"""
# All places of a window that lie on the image.
_TAPS = """
    for (I u = 0; u < kh; u++) {{
        I a = p * sh + u * dh - top;
        if (a < h) for (I v = 0; v < kw; v++) {{
            I b = q * sw + v * dw - left;
            if (b < w) {{ {} }}
        }}
    }}
"""

im2col = Windowed(
    "im2col",
    "raw T x",
    "raw T cols",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I v = rest % kw; rest /= kw;
    I u = rest % kh; rest /= kh;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    I a = p * sh + u * dh - top, b = q * sw + v * dw - left;
    Pack e = {{}};
    if (a < h && b < w) e = ((const Pack *)&x[0])[{_PIXEL}];
    ((Pack *)&cols[0])[i] = e;
    """,
)
# Where the channels don't fill packs: rows of `length` packs, which end in zeros.
im2col_ragged = Windowed(
    "im2col_ragged",
    "raw T x, I length",
    "raw T cols",
    f"""
    I rest = i, j = rest % length * L; rest /= length;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    I k = j % c, v = j / c % kw, u = j / c / kw;
    Pack e = {{}};
    for (int l = 0; l < L; l++) {{
        I a = p * sh + u * dh - top, b = q * sw + v * dw - left;
        if (u < kh && a < h && b < w) e.e[l] = x[{_PIXEL}];
        if (++k == c) {{ k = 0; if (++v == kw) {{ v = 0; u++; }} }}
    }}
    ((Pack *)&cols[0])[i] = e;
    """,
)
max_pool = Windowed(
    "max_pool",
    "raw T x, T least",
    "raw T y, raw P argmax",
    f"""
    {_OUTPUT}
    Pack best;
    Places at = {{}};
    bool none = true;  // so far
    for (int l = 0; l < L; l++) best.e[l] = least;  // where no place lies on the image
    {
        _TAPS.format(f'''
        Pack e = ((const Pack *)&x[0])[{_PIXEL}];
        for (int l = 0; l < L; l++) if (none || e.e[l] > best.e[l] || e.e[l] != e.e[l]) {{
            best.e[l] = e.e[l];
            at.e[l] = u * kw + v;
        }}
        none = false;
    ''')
    }
    ((Pack *)&y[0])[i] = best;
    ((Places *)&argmax[0])[i] = at;
    """,
)
sum_pool = Windowed(
    "sum_pool",
    "raw T x",
    "raw T y",
    f"""
    {_OUTPUT}
    Pack sum = {{}};
    {
        _TAPS.format(f'''
        Pack e = ((const Pack *)&x[0])[{_PIXEL}];
        for (int l = 0; l < L; l++) sum.e[l] += e.e[l];
    ''')
    }
    ((Pack *)&y[0])[i] = sum;
    """,
)


def _reaching(name: str, inputs: str, term: str) -> Windowed:
    """A kernel that adds up `term` over all windows that reach an element: a transpose.

    Window p along an axis reaches element a with its place u if p·stride + u·dilation = a + top, or
    left. So the first that can is the one whose last place does, and the last one begins there.
    """
    return Windowed(
        name,
        inputs,
        "raw T x",
        f"""
        I rest = i, k = rest % c; rest /= c;
        I b = rest % w + left; rest /= w;
        I a = rest % h + top, n = rest / h;
        I tall = (kh - 1) * dh, broad = (kw - 1) * dw;
        I p0 = a > tall ? (a - tall + sh - 1) / sh : 0, p1 = a / sh + 1 < oh ? a / sh + 1 : oh;
        I q0 = b > broad ? (b - broad + sw - 1) / sw : 0, q1 = b / sw + 1 < ow ? b / sw + 1 : ow;
        Pack sum = {{}};
        for (I p = p1; p-- > p0;) {{  // u ascends, as it does on the CPU
            I u = a - p * sh;
            if (dh > 1) {{ if (u % dh) continue; u /= dh; }}
            for (I q = q1; q-- > q0;) {{
                I v = b - q * sw;
                if (dw > 1) {{ if (v % dw) continue; v /= dw; }}
                {term}
            }}
        }}
        ((Pack *)&x[0])[i] = sum;
        """,
    )


_ADD = "for (int l = 0; l < L; l++) sum.e[l] += e.e[l];"
col2im = _reaching(
    "col2im",
    "raw T cols, I length",
    f"""
    Pack e = ((const Pack *)&cols[0])[({_WINDOW}) * length + (u * kw + v) * c + k];
    {_ADD}
    """,
)
max_unpool = _reaching(
    "max_unpool",
    "raw T g, raw P argmax",
    f"""
    I at = ({_WINDOW}) * c + k;
    Places from = ((const Places *)&argmax[0])[at];
    Pack e = ((const Pack *)&g[0])[at];
    for (int l = 0; l < L; l++) if (from.e[l] == u * kw + v) sum.e[l] += e.e[l];
    """,
)
sum_unpool = _reaching(
    "sum_unpool", "raw T g", f"Pack e = ((const Pack *)&g[0])[({_WINDOW}) * c + k]; {_ADD}"
)

# --- tiles ---------------------------------------------------------------------------------------
# Winograd's transforms Y = m X mᵀ of small matrices, one for each tile and channel, in registers
# of a thread: X comes from the image, or Y goes to it, without a copy of all tiles in between.

Matrix = tuple[tuple[float, ...], ...]


def _along_both(m: Matrix) -> str:
    """C for Y = m X mᵀ: the columns of X first, then the rows of what that gives."""

    def times(row: tuple[float, ...], x: str) -> str:
        terms = [f"T({c!r}) * {x.format(i)}" for i, c in enumerate(row) if c]
        return " + ".join(terms).replace("T(1.0) * ", "").replace("T(-1.0) * ", "-") or "T(0)"

    j, k = len(m), len(m[0])
    half = [f"Z[{r}][{v}] = {times(m[r], f'X[{{}}][{v}]')};" for v in range(k) for r in range(j)]
    whole = [f"Y[{r}][{s}] = {times(m[s], f'Z[{r}][{{}}]')};" for r in range(j) for s in range(j)]
    return "\n".join([f"T Z[{j}][{k}], Y[{j}][{j}];", *half, *whole])


_TILE = """
    I rest = i, k = rest % c; rest /= c;
    I q = rest % tw; rest /= tw;
    I p = rest % th, n = rest / th;
"""


@cache
def gather_tiles(m: Matrix, wide: bool) -> Any:
    """tiles[·, i] = m X mᵀ for the i-th tile and channel, X its square of the image."""
    j, k = len(m), len(m[0])
    uint, c_type = _INDEX[wide]
    sizes = ", ".join(f"{uint} {each}" for each in ("h", "w", "c", "th", "tw", "step"))
    return _kernel(
        "gather_tiles",
        f"raw T x, {sizes}, int32 top, int32 left",
        "raw T tiles",
        f"""
        {_TILE}
        T X[{k}][{k}];
        #pragma unroll
        for (int u = 0; u < {k}; u++) {{
            I a = p * step + u - (I)top;
            #pragma unroll
            for (int v = 0; v < {k}; v++) {{
                I b = q * step + v - (I)left;
                X[u][v] = a < h && b < w ? x[{_PIXEL}] : T(0);
            }}
        }}
        {_along_both(m)}
        #pragma unroll
        for (int r = 0; r < {j * j}; r++) tiles[r * _ind.size() + i] = Y[r / {j}][r % {j}];
        """,
        f"typedef {c_type} I;",
    )


@cache
def scatter_tiles(m: Matrix, bias: bool, wide: bool) -> Any:
    """The square of y for the i-th tile and channel: m X mᵀ, X = tiles[·, i], and a bias."""
    j, k = len(m), len(m[0])
    uint, c_type = _INDEX[wide]
    sizes = ", ".join(f"{uint} {each}" for each in ("h", "w", "c", "th", "tw"))
    return _kernel(
        "scatter_tiles",
        f"raw T tiles, {'raw T bias, ' if bias else ''}{sizes}",
        "raw T y",
        f"""
        {_TILE}
        T X[{k}][{k}];
        #pragma unroll
        for (int r = 0; r < {k * k}; r++) X[r / {k}][r % {k}] = tiles[r * _ind.size() + i];
        {_along_both(m)}
        #pragma unroll
        for (int u = 0; u < {j}; u++) {{
            I a = p * {j} + u;
            #pragma unroll
            for (int v = 0; v < {j}; v++) {{
                I b = q * {j} + v;
                if (a < h && b < w) y[{_PIXEL}] = Y[u][v]{" + bias[k]" if bias else ""};
            }}
        }}
        """,
        f"typedef {c_type} I;",
    )
