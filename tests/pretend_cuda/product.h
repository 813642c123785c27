// One product of matrices, or several: D = alpha op(A) op(B) + beta C, as cuBLAS and cuBLASLt are asked
// for it. Matrices are stored by columns.
#pragma once
#include "device.h"

#include <array>
#include <vector>

enum Status {  // cublasStatus_t
    SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15
};
enum Operation { N = 0, T = 1, C = 2 };                     // cublasOperation_t
enum Type { R_32F = 0, R_64F = 1, C_32F = 4, C_64F = 5 };   // cudaDataType_t
enum Compute {                                              // cublasComputeType_t
    COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_64F = 70, COMPUTE_64F_PEDANTIC = 71,
    COMPUTE_32F_FAST_TF32 = 77
};

struct Product {
    const char *name;  // of the function
    int ta, tb, m, n, k;
    const void *alpha;
    int a_type, lda;
    int b_type, ldb;
    const void *beta;
    int c_type, ldc;
    int compute;
    int count = 1;
    int ldd = 0;                   // 0: that of C
    bool scalars_on_device = false;  // that is where alpha and beta are
    const void *bias = nullptr;    // m numbers, added to each column
    bool relu = false;
    int parts = 1;                 // in how many the sum over k is cut; they are added up last
    void *workspace = nullptr;     // what is in it is lost
    size_t workspace_bytes = 0;
};

struct Places {  // of the matrices, `count` of each
    std::vector<const void *> a, b, c;
    std::vector<void *> d;
};

size_t size_of(int type);

// Do it on this stream. The matrices are at `places`, or where lists in device memory (of A, B, C and
// D, for cublas*gemmBatched) say when it runs. Returns a Status.
int product(intptr_t stream, const Product &p, Places places,
            std::array<const void *, 3> lists = {});
