"""The kernels of the CuPy backend: each the body of a loop over the elements of its result, as C.

`i` counts the elements of the output, one thread each. Every element is computed by itself, from
all that it depends on, so nothing is added up in an order that chance decides, no thread waits for
another, and the results are the same from run to run. `raw` arguments are indexed by the body, the
others are the i-th element themselves.

Kernels are compiled when they are first called, for the types of the arrays that they are given: T
and P are such types. A number has no type to CuPy, so the numbers have theirs written out.
"""

from __future__ import annotations

from typing import Any

import cupy as xp


def _kernel(name: str, inputs: str, outputs: str, body: str, preamble: str = "") -> Any:
    """`body` for each element i of the outputs; profilers show the name."""
    return xp.ElementwiseKernel(inputs, outputs, body, f"minicnn_{name}", preamble=preamble)


# --- elementwise ---------------------------------------------------------------------------------

relu = _kernel("relu", "T x", "T y", "y = x <= 0 ? T(0) : x;")
relu_vjp = _kernel("relu_vjp", "T g, T y", "T dx", "dx = y <= 0 ? T(0) : g;")

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
    "T grad, raw T lr, T momentum, T share, T decay, bool nesterov",
    "T p, T v",
    """
    T g = decay ? grad + decay * p : grad;
    v = momentum * v + share * g;
    p -= lr[0] * (nesterov ? g + momentum * v : v);
    """,
)

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
    "P factor = most / (norm[0] + P(1e-6)); g *= factor >= 1 ? T(1) : T(factor);",
)

# --- windows -------------------------------------------------------------------------------------
# n, a, b, k is an element of the image (N, H, W, C); p, q a window and u, v a place in it.


def _windowed(name: str, inputs: str, outputs: str, body: str) -> dict[bool, Any]:
    """Two kernels, for arrays of at least 2³¹ elements (True) and for smaller ones (False).

    They spend their time on divisions, and by 32 bits those are several times faster.
    """

    def kernel(uint: str, c_type: str) -> Any:
        lengths = "h w c oh ow kh kw sh sw dh dw".split()  # noqa: SIM905
        sizes = ", ".join(f"{uint} {each}" for each in lengths)
        return _kernel(
            name,
            f"{inputs}, {sizes}".replace("I ", f"{uint} "),
            outputs,
            body,
            f"typedef {c_type} I;",
        )

    return {False: kernel("uint32", "unsigned int"), True: kernel("uint64", "unsigned long long")}


_PLACE = "((n * h + p * sh + u * dh) * w + q * sw + v * dw) * c + k"

im2col = _windowed(
    "im2col",
    "raw T x",
    "T cols",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I v = rest % kw; rest /= kw;
    I u = rest % kh; rest /= kh;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    cols = x[{_PLACE}];
    """,
)
gather_tiles = _windowed(
    "gather_tiles",
    "raw T x, I images",
    "T tiles",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh; rest /= oh;
    I n = rest % images; rest /= images;
    I v = rest % kw, u = rest / kw;
    tiles = x[{_PLACE}];
    """,
)
max_pool = _windowed(
    "max_pool",
    "raw T x",
    "T y, P place",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    T best = 0;
    I at = 0;
    for (I u = 0; u < kh; u++) for (I v = 0; v < kw; v++) {{
        T e = x[{_PLACE}];
        if (e > best || e != e || u + v == 0) {{ best = e; at = u * kw + v; }}
    }}
    y = best;
    place = at;
    """,
)
sum_pool = _windowed(
    "sum_pool",
    "raw T x",
    "T y",
    f"""
    I rest = i, k = rest % c; rest /= c;
    I q = rest % ow; rest /= ow;
    I p = rest % oh, n = rest / oh;
    T sum = 0;
    for (I u = 0; u < kh; u++) for (I v = 0; v < kw; v++) sum += x[{_PLACE}];
    y = sum;
    """,
)


def _reaching(name: str, inputs: str, term: str) -> dict[bool, Any]:
    """The kernels that add up `term` over all windows that reach an element: a transpose.

    Window p along an axis reaches element a with its place u if p·stride + u·dilation = a.
    """
    return _windowed(
        name,
        inputs,
        "T x",
        f"""
        I rest = i, k = rest % c; rest /= c;
        I b = rest % w; rest /= w;
        I a = rest % h, n = rest / h;
        T sum = 0;
        for (I u = 0; u < kh && u * dh <= a; u++) {{
            I p = (a - u * dh) / sh;
            if (p >= oh || p * sh + u * dh != a) continue;
            for (I v = 0; v < kw && v * dw <= b; v++) {{
                I q = (b - v * dw) / sw;
                if (q >= ow || q * sw + v * dw != b) continue;
                {term}
            }}
        }}
        x = sum;
        """,
    )


_WINDOW = "((n * oh + p) * ow + q)"
col2im = _reaching(
    "col2im", "raw T cols", f"sum += cols[({_WINDOW} * kh * kw + u * kw + v) * c + k];"
)
scatter_tiles = _reaching(
    "scatter_tiles",
    "raw T tiles, I images",
    "sum += tiles[((((u * kw + v) * images + n) * oh + p) * ow + q) * c + k];",
)
max_unpool = _reaching(
    "max_unpool",
    "raw T g, raw P place",
    f"if (place[{_WINDOW} * c + k] == u * kw + v) sum += g[{_WINDOW} * c + k];",
)
sum_unpool = _reaching("sum_unpool", "raw T g", f"sum += g[{_WINDOW} * c + k];")
