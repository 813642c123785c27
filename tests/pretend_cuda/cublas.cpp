// cuBLAS on the pretend device, as far as CuPy's products of matrices go. Every other function that
// CuPy links is made by build.py, and refuses.
//
// cuBLAS adds up in another order from one function to another, and with a workspace; so does this:
// what is to be the same bit for bit has to be the same call.

#include "product.h"

#include <cstring>

namespace {

enum { TF32_TENSOR_OP_MATH = 3 };  // cublasMath_t

struct Handle {
    intptr_t stream = 0;
    void *workspace = nullptr;
    size_t workspace_bytes = 0;
    int math = 0, on_device = 0;  // on_device: that is where alpha and beta are
};

int run(Handle *handle, Product p, Places places, std::array<const void *, 3> lists = {}) {
    if (!handle) return NOT_INITIALIZED;
    if (p.compute == COMPUTE_32F && handle->math == TF32_TENSOR_OP_MATH)
        p.compute = COMPUTE_32F_FAST_TF32;
    p.scalars_on_device = handle->on_device;
    p.workspace = handle->workspace;
    p.workspace_bytes = handle->workspace_bytes;
    bool plain = strcmp(p.name, "cublasGemmEx") == 0;
    p.parts = 1 + (handle->workspace != nullptr) + !plain + (p.count > 1);
    return product(handle->stream, p, places, lists);
}

Places strided(const Product &p, const void *a, long long next_a, const void *b, long long next_b,
               void *c, long long next_c) {
    Places places;
    for (long long i = 0; i < p.count; i++) {
        places.a.push_back((const char *)a + i * next_a * (long long)size_of(p.a_type));
        places.b.push_back((const char *)b + i * next_b * (long long)size_of(p.b_type));
        places.d.push_back((char *)c + i * next_c * (long long)size_of(p.c_type));
        places.c.push_back(places.d.back());
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
    handle->workspace_bytes = 0;
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
    return run(h, {"cublasGemmEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, compute},
                   {{a}, {b}, {c}, {c}});
}
int cublasGemmStridedBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha,
                               const void *a, int a_type, int lda, long long next_a, const void *b,
                               int b_type, int ldb, long long next_b, const void *beta, void *c,
                               int c_type, int ldc, long long next_c, int count, int compute, int) {
    Product p{"cublasGemmStridedBatchedEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, compute, count};
    return run(h, p, strided(p, a, next_a, b, next_b, c, next_c));
}
int cublasGemmBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha,
                        const void *const *a, int a_type, int lda, const void *const *b, int b_type,
                        int ldb, const void *beta, void *const *c, int c_type, int ldc, int count,
                        int compute, int) {
    return run(h, {"cublasGemmBatchedEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, compute, count},
                   {}, {a, b, c});
}
int cublasSgemmEx(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const void *a,
                  int a_type, int lda, const void *b, int b_type, int ldb, const float *beta, void *c,
                  int c_type, int ldc) {
    return run(h, {"cublasSgemmEx", ta, tb, m, n, k, alpha, a_type, lda, b_type, ldb, beta, c_type, ldc, COMPUTE_32F},
                   {{a}, {b}, {c}, {c}});
}

// cublasSgemm_v2 and its like: for each letter the type and what is computed with.
#define GEMM(letter, TYPE, COMPUTE)                                                                 \
    int cublas##letter##gemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha,  \
                                const void *a, int lda, const void *b, int ldb, const void *beta,   \
                                void *c, int ldc) {                                                 \
        return run(h, {"cublas" #letter "gemm_v2", ta, tb, m, n, k, alpha, TYPE, lda, TYPE,     \
                           ldb, beta, TYPE, ldc, COMPUTE},                                          \
                       {{a}, {b}, {c}, {c}});                                                            \
    }                                                                                               \
    int cublas##letter##gemmBatched(Handle *h, int ta, int tb, int m, int n, int k,                 \
                                    const void *alpha, const void *const *a, int lda,               \
                                    const void *const *b, int ldb, const void *beta,                \
                                    void *const *c, int ldc, int count) {                           \
        return run(h, {"cublas" #letter "gemmBatched", ta, tb, m, n, k, alpha, TYPE, lda, TYPE, \
                           ldb, beta, TYPE, ldc, COMPUTE, count},                                   \
                       {}, {a, b, c});                                                              \
    }                                                                                               \
    int cublas##letter##gemmStridedBatched(                                                         \
        Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int lda,  \
        long long next_a, const void *b, int ldb, long long next_b, const void *beta, void *c,      \
        int ldc, long long next_c, int count) {                                                     \
        Product p{"cublas" #letter "gemmStridedBatched", ta, tb, m, n, k, alpha, TYPE, lda, TYPE,   \
                  ldb, beta, TYPE, ldc, COMPUTE, count};                                            \
        return run(h, p, strided(p, a, next_a, b, next_b, c, next_c));                          \
    }
GEMM(S, R_32F, COMPUTE_32F)
GEMM(D, R_64F, COMPUTE_64F)
GEMM(C, C_32F, COMPUTE_32F)
GEMM(Z, C_64F, COMPUTE_64F)
}
