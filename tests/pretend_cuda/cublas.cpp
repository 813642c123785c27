// cuBLAS on the pretend device, as far as CuPy's products of matrices and ours go: matrices are
// stored by columns. Every other function that CuPy links is made by build.py, and refuses.
//
// What cuBLAS promises to refuse is refused, and every matrix has to lie in one block of device
// memory. cuBLAS adds up in another order from one function to another, and with its workspace; so
// does this: what is to be the same bit for bit has to be the same call.

#include "device.h"

#include <algorithm>
#include <array>
#include <complex>
#include <cstring>
#include <vector>

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Operation { N = 0, T = 1, C = 2 };
enum Type { R_32F = 0, R_64F = 1, C_32F = 4, C_64F = 5 };  // cudaDataType_t
enum Compute {                                             // cublasComputeType_t
    COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_64F = 70, COMPUTE_64F_PEDANTIC = 71,
    COMPUTE_32F_FAST_TF32 = 77
};
enum { TF32_TENSOR_OP_MATH = 3 };  // cublasMath_t

struct Handle {
    intptr_t stream = 0;
    void *workspace = nullptr;
    size_t workspace_bytes = 0;
    int math = 0, on_device = 0;  // on_device: that is where alpha and beta are
};

// One product of matrices, or several: C = alpha op(A) op(B) + beta C.
struct Product {
    const char *name;
    int ta, tb, m, n, k;
    const void *alpha;
    int a_type, lda;
    int b_type, ldb;
    const void *beta;
    int c_type, ldc;
    int compute;
    int count = 1;
};
struct Places {  // of the matrices
    std::vector<const void *> a, b;
    std::vector<void *> c;
};

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

constexpr int ROWS = 16, COLUMNS = 4;

// sums += A B for strips of k: A is k × ROWS, B k × COLUMNS, each element added in the order of k.
template <class F>
__attribute__((target_clones("avx2", "default"))) void tile(int k, const F *a, const F *b, F *sums) {
    F s[COLUMNS][ROWS];
    memcpy((void *)s, sums, sizeof s);
    for (int l = 0; l < k; l++, a += ROWS, b += COLUMNS)
        for (int j = 0; j < COLUMNS; j++)
            for (int i = 0; i < ROWS; i++) s[j][i] += times(a[i], b[j]);
    memcpy((void *)sums, s, sizeof s);
}

template <class F> F element(const F *x, int ld, int transposed, int i, int j) {
    F value = transposed == N ? x[i + (size_t)j * ld] : x[j + (size_t)i * ld];
    return transposed == C ? conjugate(value) : value;
}

template <class F>
void multiply(const Product &p, F alpha, const F *a, const F *b, F beta, F *c, bool tf32, int parts) {
    int strips = (p.n + COLUMNS - 1) / COLUMNS;
    std::vector<F> rows((size_t)p.k * ROWS), columns((size_t)strips * p.k * COLUMNS);
    for (int j = 0; j < strips * COLUMNS; j++)
        for (int l = 0; l < p.k; l++) {
            F value = j < p.n ? element(b, p.ldb, p.tb, l, j) : F(0);
            columns[((size_t)(j / COLUMNS) * p.k + l) * COLUMNS + j % COLUMNS] =
                tf32 ? to_tf32(value) : value;
        }
    for (int top = 0; top < p.m; top += ROWS) {
        for (int l = 0; l < p.k; l++)
            for (int i = 0; i < ROWS; i++) {
                F value = top + i < p.m ? element(a, p.lda, p.ta, top + i, l) : F(0);
                rows[(size_t)l * ROWS + i] = tf32 ? to_tf32(value) : value;
            }
        for (int strip = 0; strip < strips; strip++) {
            F sums[COLUMNS * ROWS] = {};
            for (int part = 0; part < parts; part++) {
                int from = (int64_t)p.k * part / parts, to = (int64_t)p.k * (part + 1) / parts;
                F sum[COLUMNS * ROWS] = {};
                tile(to - from, &rows[(size_t)from * ROWS],
                     &columns[((size_t)strip * p.k + from) * COLUMNS], sum);
                for (int e = 0; e < COLUMNS * ROWS; e++) sums[e] += sum[e];
            }
            for (int j = 0; j < COLUMNS && strip * COLUMNS + j < p.n; j++)
                for (int i = 0; i < ROWS && top + i < p.m; i++) {
                    F &z = c[(size_t)(strip * COLUMNS + j) * p.ldc + top + i];
                    F sum = times(alpha, sums[j * ROWS + i]);
                    z = beta == F(0) ? sum : sum + times(beta, z);
                }
        }
    }
}

template <class F> int typed(Handle &handle, Product p, Places places, const void *lists[3]) {
    bool tf32 = p.compute == COMPUTE_32F_FAST_TF32 ||
                (p.compute == COMPUTE_32F && handle.math == TF32_TENSOR_OP_MATH);
    int parts = 1 + (handle.workspace != nullptr) + (p.name[6] != 'G') + (p.count > 1);
    size_t a_size = (p.ta == N ? (size_t)p.lda * (p.k - 1) + p.m : (size_t)p.lda * (p.m - 1) + p.k);
    size_t b_size = (p.tb == N ? (size_t)p.ldb * (p.n - 1) + p.k : (size_t)p.ldb * (p.k - 1) + p.n);
    size_t c_size = (size_t)p.ldc * (p.n - 1) + p.m;
    auto there = [=](const void *a, const void *b, const void *c) {
        return (!p.k || (inside("cuBLAS: A,", a, a_size * sizeof(F)) &&
                         inside("cuBLAS: B,", b, b_size * sizeof(F)))) &&
               inside("cuBLAS: C,", c, c_size * sizeof(F));
    };
    for (size_t each = 0; each < places.c.size(); each++)
        if (!there(places.a[each], places.b[each], places.c[each])) return EXECUTION_FAILED;
    if (lists[0])
        for (int each = 0; each < 3; each++)
            if (!inside("cuBLAS: a list of matrices,", lists[each], p.count * sizeof(void *)))
                return EXECUTION_FAILED;
    F alpha{}, beta{};
    bool on_device = handle.on_device;
    if (!on_device) {
        memcpy((void *)&alpha, p.alpha, sizeof alpha);
        memcpy((void *)&beta, p.beta, sizeof beta);
    }
    Node node{"cublas", p.name, {(unsigned)p.m, (unsigned)p.n, (unsigned)p.k}, {(unsigned)p.count, 1, 1}};
    node.work = [=, from = std::array<const void *, 3>{lists[0], lists[1], lists[2]}]() mutable {
        F x = on_device ? *(const F *)p.alpha : alpha, y = on_device ? *(const F *)p.beta : beta;
        for (int each = 0; each < p.count; each++) {
            auto a = from[0] ? ((const F *const *)from[0])[each] : (const F *)places.a[each];
            auto b = from[0] ? ((const F *const *)from[1])[each] : (const F *)places.b[each];
            auto c = from[0] ? ((F *const *)from[2])[each] : (F *)places.c[each];
            if (!from[0] || there(a, b, c)) multiply(p, x, a, b, y, c, tf32, parts);
        }
    };
    return submit(handle.stream, std::move(node)) ? EXECUTION_FAILED : SUCCESS;
}

int product(Handle *handle, const Product &p, Places places,
            std::array<const void *, 3> lists = {}) {
    if (!handle) return NOT_INITIALIZED;
    auto is_operation = [](int t) { return t == N || t == T || t == C; };
    if (!is_operation(p.ta) || !is_operation(p.tb)) return INVALID_VALUE;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.count < 0) return INVALID_VALUE;
    if (p.lda < std::max(1, p.ta == N ? p.m : p.k) || p.ldb < std::max(1, p.tb == N ? p.k : p.n) ||
        p.ldc < std::max(1, p.m))
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
    case R_32F: return typed<float>(*handle, p, places, lists.data());
    case R_64F: return typed<double>(*handle, p, places, lists.data());
    case C_32F: return typed<std::complex<float>>(*handle, p, places, lists.data());
    case C_64F: return typed<std::complex<double>>(*handle, p, places, lists.data());
    }
    return NOT_SUPPORTED;
}

size_t size_of(int type) { return type == R_32F ? 4 : type == C_64F ? 16 : 8; }

Places strided(const Product &p, const void *a, long long next_a, const void *b, long long next_b,
               void *c, long long next_c) {
    Places places;
    for (long long i = 0; i < p.count; i++) {
        places.a.push_back((const char *)a + i * next_a * (long long)size_of(p.a_type));
        places.b.push_back((const char *)b + i * next_b * (long long)size_of(p.b_type));
        places.c.push_back((char *)c + i * next_c * (long long)size_of(p.c_type));
    }
    return places;
}

}  // namespace

extern "C" {

int cublasCreate_v2(Handle **handle) { return *handle = new Handle, SUCCESS; }
int cublasDestroy_v2(Handle *handle) { return delete handle, SUCCESS; }
int cublasGetVersion_v2(Handle *, int *version) { return *version = 120900, SUCCESS; }
int cublasSetStream_v2(Handle *handle, intptr_t stream) {
    handle->stream = stream;
    handle->workspace = nullptr;  // as cuBLAS, whose own serves again
    return SUCCESS;
}
int cublasGetStream_v2(Handle *handle, intptr_t *stream) { return *stream = handle->stream, SUCCESS; }
int cublasSetWorkspace_v2(Handle *handle, void *workspace, size_t bytes) {
    if ((uintptr_t)workspace % 256) return INVALID_VALUE;
    if (!inside("cuBLAS: the workspace,", workspace, bytes)) return EXECUTION_FAILED;
    handle->workspace = workspace;
    handle->workspace_bytes = bytes;
    return SUCCESS;
}
int cublasSetMathMode(Handle *handle, int mode) { return handle->math = mode, SUCCESS; }
int cublasGetMathMode(Handle *handle, int *mode) { return *mode = handle->math, SUCCESS; }
int cublasSetPointerMode_v2(Handle *handle, int mode) { return handle->on_device = mode, SUCCESS; }
int cublasGetPointerMode_v2(Handle *handle, int *mode) { return *mode = handle->on_device, SUCCESS; }

int cublasGemmEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                 int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c,
                 int c_type, int ldc, int compute, int) {
    return product(h, {"cublasGemmEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, compute},
                   {{a}, {b}, {c}});
}
int cublasGemmStridedBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha,
                               const void *a, int a_type, int lda, long long next_a, const void *b,
                               int b_type, int ldb, long long next_b, const void *beta, void *c,
                               int c_type, int ldc, long long next_c, int count, int compute, int) {
    Product p{"cublasGemmStridedBatchedEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, compute, count};
    return product(h, p, strided(p, a, next_a, b, next_b, c, next_c));
}
int cublasGemmBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha,
                        const void *const *a, int a_type, int lda, const void *const *b, int b_type,
                        int ldb, const void *beta, void *const *c, int c_type, int ldc, int count,
                        int compute, int) {
    return product(h, {"cublasGemmBatchedEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, compute, count},
                   {}, {a, b, c});
}
int cublasSgemmEx(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const void *a,
                  int a_type, int lda, const void *b, int b_type, int ldb, const float *beta, void *c,
                  int c_type, int ldc) {
    return product(h, {"cublasSgemmEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, COMPUTE_32F},
                   {{a}, {b}, {c}});
}

// cublasSgemm_v2 and its like: for each letter the type and what is computed with.
#define GEMM(letter, TYPE, COMPUTE)                                                                 \
    int cublas##letter##gemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha,  \
                                const void *a, int lda, const void *b, int ldb, const void *beta,   \
                                void *c, int ldc) {                                                 \
        return product(h, {"cublas" #letter "gemm_v2", ta, tb, m, n, k, alpha, TYPE, lda, TYPE,     \
                           ldb, beta, TYPE, ldc, COMPUTE},                                          \
                       {{a}, {b}, {c}});                                                            \
    }                                                                                               \
    int cublas##letter##gemmBatched(Handle *h, int ta, int tb, int m, int n, int k,                 \
                                    const void *alpha, const void *const *a, int lda,               \
                                    const void *const *b, int ldb, const void *beta,                \
                                    void *const *c, int ldc, int count) {                           \
        return product(h, {"cublas" #letter "gemmBatched", ta, tb, m, n, k, alpha, TYPE, lda, TYPE, \
                           ldb, beta, TYPE, ldc, COMPUTE, count},                                   \
                       {}, {a, b, c});                                                              \
    }                                                                                               \
    int cublas##letter##gemmStridedBatched(                                                         \
        Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int lda,  \
        long long next_a, const void *b, int ldb, long long next_b, const void *beta, void *c,      \
        int ldc, long long next_c, int count) {                                                     \
        Product p{"cublas" #letter "gemmStridedBatched", ta, tb, m, n, k, alpha, TYPE, lda, TYPE,   \
                  ldb, beta, TYPE, ldc, COMPUTE, count};                                            \
        return product(h, p, strided(p, a, next_a, b, next_b, c, next_c));                          \
    }
GEMM(S, R_32F, COMPUTE_32F)
GEMM(D, R_64F, COMPUTE_64F)
GEMM(C, C_32F, COMPUTE_32F)
GEMM(Z, C_64F, COMPUTE_64F)
}
