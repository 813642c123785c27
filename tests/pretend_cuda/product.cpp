// Products of matrices, element by element in a fixed order, and what cuBLAS refuses of them.
#include "product.h"

#include <algorithm>
#include <complex>
#include <cstring>

namespace {

float to_tf32(float x) {  // 11 digits of the fraction, the nearest
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0x1000) & ~0x1fffu;
    memcpy(&x, &bits, 4);
    return x;
}
double to_tf32(double x) { return x; }
template <class F> std::complex<F> to_tf32(std::complex<F> x) {
    return {to_tf32(x.real()), to_tf32(x.imag())};
}
template <class F> F conjugate(F x) { return x; }
template <class F> std::complex<F> conjugate(std::complex<F> x) { return std::conj(x); }
template <class F> F times(F x, F y) { return x * y; }
template <class F> std::complex<F> times(std::complex<F> x, std::complex<F> y) {
    return {x.real() * y.real() - x.imag() * y.imag(), x.real() * y.imag() + x.imag() * y.real()};
}

template <class F> F relu(F x) { return x > 0 ? x : 0; }  // of NaN 0, as cuBLASLt's
template <class F> std::complex<F> relu(std::complex<F> x) { return x; }

// A tile of the result: as many rows as fill 64 bytes, and so many columns.
constexpr int COLUMNS = 6;
template <class F> constexpr int ROWS = 64 / sizeof(F);

// sums += A B, for A k × ROWS and B k × COLUMNS: each element is added to in the order of k.
template <class F> void tile(int k, const F *a, const F *b, F *sums) {
    for (int l = 0; l < k; l++, a += ROWS<F>, b += COLUMNS)
        for (int j = 0; j < COLUMNS; j++)
            for (int i = 0; i < ROWS<F>; i++) sums[j * ROWS<F> + i] += times(a[i], b[j]);
}
#define TILE(F)                                                                                     \
    template <>                                                                                     \
    __attribute__((target_clones("avx512f", "avx2", "default"))) void tile<F>(                      \
        int k, const F *a, const F *b, F *sums) {                                                   \
        typedef F Vector __attribute__((vector_size(64)));                                          \
        Vector s[COLUMNS], column;                                                                  \
        memcpy(s, sums, sizeof s);                                                                  \
        for (int l = 0; l < k; l++, a += ROWS<F>, b += COLUMNS) {                                   \
            memcpy(&column, a, sizeof column);                                                      \
            for (int j = 0; j < COLUMNS; j++) s[j] += column * b[j];                                \
        }                                                                                           \
        memcpy(sums, s, sizeof s);                                                                  \
    }
TILE(float)
TILE(double)

template <class F> F element(const F *x, int ld, int transposed, int i, int j) {
    F value = transposed == N ? x[i + (size_t)j * ld] : x[j + (size_t)i * ld];
    return transposed == C ? conjugate(value) : value;
}

template <class F>
void multiply(const Product &p, F alpha, const F *a, const F *b, F beta, const F *c, F *d) {
    bool tf32 = p.compute == COMPUTE_32F_FAST_TF32;
    int ldd = p.ldd ? p.ldd : p.ldc, strips = (p.n + COLUMNS - 1) / COLUMNS;
    std::vector<F> rows((size_t)p.k * ROWS<F>), columns((size_t)strips * p.k * COLUMNS);
    for (int j = 0; j < strips * COLUMNS; j++)
        for (int l = 0; l < p.k; l++) {
            F value = j < p.n ? element(b, p.ldb, p.tb, l, j) : F(0);
            columns[((size_t)(j / COLUMNS) * p.k + l) * COLUMNS + j % COLUMNS] =
                tf32 ? to_tf32(value) : value;
        }
    for (int top = 0; top < p.m; top += ROWS<F>) {
        for (int l = 0; l < p.k; l++)
            for (int i = 0; i < ROWS<F>; i++) {
                F value = top + i < p.m ? element(a, p.lda, p.ta, top + i, l) : F(0);
                rows[(size_t)l * ROWS<F> + i] = tf32 ? to_tf32(value) : value;
            }
        for (int strip = 0; strip < strips; strip++) {
            F sums[COLUMNS * ROWS<F>] = {};
            for (int part = 0; part < p.parts; part++) {
                int from = (int64_t)p.k * part / p.parts, to = (int64_t)p.k * (part + 1) / p.parts;
                F sum[COLUMNS * ROWS<F>] = {};
                tile(to - from, &rows[(size_t)from * ROWS<F>],
                     &columns[((size_t)strip * p.k + from) * COLUMNS], sum);
                for (int e = 0; e < COLUMNS * ROWS<F>; e++) sums[e] += sum[e];
            }
            for (int j = 0; j < COLUMNS && strip * COLUMNS + j < p.n; j++)
                for (int i = 0; i < ROWS<F> && top + i < p.m; i++) {
                    size_t column = strip * COLUMNS + j, row = top + i;
                    F sum = times(alpha, sums[j * ROWS<F> + i]);
                    if (beta != F(0)) sum += times(beta, c[column * p.ldc + row]);
                    if (p.bias) sum += ((const F *)p.bias)[row];
                    if (p.relu) sum = relu(sum);
                    d[column * ldd + row] = sum;
                }
        }
    }
}

template <class F>
int typed(intptr_t stream, const Product &p, Places places, std::array<const void *, 3> lists) {
    int ldd = p.ldd ? p.ldd : p.ldc;
    auto extent = [](int rows, int columns, int ld) {
        return ((size_t)ld * (columns - 1) + rows) * sizeof(F);
    };
    size_t a_size = p.ta == N ? extent(p.m, p.k, p.lda) : extent(p.k, p.m, p.lda);
    size_t b_size = p.tb == N ? extent(p.k, p.n, p.ldb) : extent(p.n, p.k, p.ldb);
    std::string name = p.name;
    auto there = [=](const void *a, const void *b, const void *d) {
        return (!p.k || (inside(name + ": A,", a, a_size) && inside(name + ": B,", b, b_size))) &&
               inside(name + ": D,", d, extent(p.m, p.n, ldd));
    };
    for (size_t each = 0; each < places.d.size(); each++)
        if (!there(places.a[each], places.b[each], places.d[each])) return EXECUTION_FAILED;
    for (const void *list : lists)
        if (list && !inside(name + ": a list,", list, p.count * sizeof(void *)))
            return EXECUTION_FAILED;
    if (p.bias && !inside(name + ": the bias,", p.bias, p.m * sizeof(F))) return EXECUTION_FAILED;
    if (!inside(name + ": the workspace,", p.workspace, p.workspace_bytes)) return EXECUTION_FAILED;
    F alpha{}, beta{};
    if (!p.scalars_on_device) {
        memcpy((void *)&alpha, p.alpha, sizeof alpha);
        memcpy((void *)&beta, p.beta, sizeof beta);
    }
    Node node{"cublas", p.name, {(unsigned)p.m, (unsigned)p.n, (unsigned)p.k},
              {(unsigned)p.count, 1, 1}};
    node.work = [=] {
        F x = alpha, y = beta;
        if (p.scalars_on_device) {
            x = *(const F *)p.alpha;
            y = *(const F *)p.beta;
        }
        for (int each = 0; each < p.count; each++) {
            auto pick = [&](int which, const std::vector<const void *> &at) {
                return lists[0] ? ((const F *const *)lists[which])[each] : (const F *)at[each];
            };
            auto a = pick(0, places.a), b = pick(1, places.b), c = pick(2, places.c);
            auto d = lists[0] ? (F *)c : (F *)places.d[each];
            if (!lists[0] || there(a, b, d)) multiply(p, x, a, b, y, c, d);
        }
        memset(p.workspace, 0xFF, p.workspace_bytes);
    };
    return submit(stream, std::move(node)) ? EXECUTION_FAILED : SUCCESS;
}

}  // namespace

size_t size_of(int type) { return type == R_32F ? 4 : type == C_64F ? 16 : 8; }

int product(intptr_t stream, const Product &p, Places places, std::array<const void *, 3> lists) {
    auto is_operation = [](int t) { return t == N || t == T || t == C; };
    if (!is_operation(p.ta) || !is_operation(p.tb)) return INVALID_VALUE;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.count < 0) return INVALID_VALUE;
    if (p.lda < std::max(1, p.ta == N ? p.m : p.k) || p.ldb < std::max(1, p.tb == N ? p.k : p.n) ||
        p.ldc < std::max(1, p.m) || (p.ldd && p.ldd < p.m))
        return INVALID_VALUE;
    if (!p.alpha || !p.beta) return INVALID_VALUE;
    if (p.a_type != p.b_type || p.b_type != p.c_type) return NOT_SUPPORTED;
    bool single = p.a_type == R_32F || p.a_type == C_32F;
    bool takes = single ? p.compute == COMPUTE_32F || p.compute == COMPUTE_32F_PEDANTIC ||
                              p.compute == COMPUTE_32F_FAST_TF32
                        : p.compute == COMPUTE_64F || p.compute == COMPUTE_64F_PEDANTIC;
    if (!takes) return NOT_SUPPORTED;
    if (!p.m || !p.n || !p.count) return SUCCESS;
    switch (p.a_type) {
    case R_32F: return typed<float>(stream, p, places, lists);
    case R_64F: return typed<double>(stream, p, places, lists);
    case C_32F: return typed<std::complex<float>>(stream, p, places, lists);
    case C_64F: return typed<std::complex<double>>(stream, p, places, lists);
    }
    return NOT_SUPPORTED;
}
