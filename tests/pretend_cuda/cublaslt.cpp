// cuBLASLt on the pretend device: cublasLtMatmul and the descriptions that it takes, of matrices stored
// by columns. The names are those of cublasLt.h.

#include "product.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace {

enum { DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS_POINTER = 8 };
enum { EPILOGUE_DEFAULT = 1, EPILOGUE_RELU = 2, EPILOGUE_BIAS = 4 };
enum { LAYOUT_BATCH_COUNT = 5, LAYOUT_STRIDED_BATCH_OFFSET = 6 };
enum { PREF_MAX_WORKSPACE_BYTES = 1, PREF_MIN_ALIGNMENT_A_BYTES = 5 };
constexpr size_t PROMISED_ALIGNMENT = 256;  // where a preference says nothing

// A description: attributes by their numbers.
struct Description {
    int type = 0, compute = 0;
    uint64_t rows = 0, columns = 0;
    int64_t leading = 0;
    std::map<int, uint64_t> attributes;

    uint64_t get(int attribute, uint64_t otherwise) const {
        auto it = attributes.find(attribute);
        return it == attributes.end() ? otherwise : it->second;
    }
    int count() const { return int(get(LAYOUT_BATCH_COUNT, 1)); }
    int64_t following() const { return int64_t(get(LAYOUT_STRIDED_BATCH_OFFSET, 0)); }
};

struct Algorithm {  // cublasLtMatmulAlgo_t, 64 bytes that are cuBLAS's own
    uint64_t mark;
    uint64_t workspace;
    uint32_t alignment[4];
    int32_t parts, unused[7];
};
struct Found {  // cublasLtMatmulHeuristicResult_t
    Algorithm algorithm;
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Algorithm) == 64 && sizeof(Found) == 96);
constexpr uint64_t MARK = 0x5EED0F00D5EED;

// The attributes that there are here, and their sizes.
typedef std::map<int, size_t> Sizes;
const Sizes of_MatmulDesc{{DESC_TRANSA, 4}, {DESC_TRANSB, 4}, {DESC_EPILOGUE, 4}, {DESC_BIAS_POINTER, 8}};
const Sizes of_MatrixLayout{{LAYOUT_BATCH_COUNT, 4}, {LAYOUT_STRIDED_BATCH_OFFSET, 8}};
const Sizes of_MatmulPreference{{PREF_MAX_WORKSPACE_BYTES, 8}, {5, 4}, {6, 4}, {7, 4}, {8, 4}};

int set(Description *description, const Sizes &sizes, int attribute, const void *value, size_t size) {
    auto known = sizes.find(attribute);
    if (!description || !value || known == sizes.end() || known->second != size)
        return INVALID_VALUE;
    uint64_t number = 0;
    memcpy(&number, value, size);
    description->attributes[attribute] = number;
    return SUCCESS;
}

// What the descriptions together ask for; a Status if that is nothing.
int described(const Description &work, const Description &a, const Description &b,
              const Description &c, const Description &d, Product &p) {
    int ta = int(work.get(DESC_TRANSA, N)), tb = int(work.get(DESC_TRANSB, N));
    int m = int(d.rows), n = int(d.columns), k = int(ta == N ? a.columns : a.rows);
    auto is = [](const Description &x, int transposed, int rows, int columns) {
        if (transposed != N) std::swap(rows, columns);
        return x.rows == uint64_t(rows) && x.columns == uint64_t(columns);
    };
    if (!is(a, ta, m, k) || !is(b, tb, k, n) || !is(c, N, m, n)) return INVALID_VALUE;
    if (a.count() != d.count() || b.count() != d.count() || c.count() != d.count())
        return INVALID_VALUE;
    int epilogue = int(work.get(DESC_EPILOGUE, EPILOGUE_DEFAULT));
    bool bias = epilogue & EPILOGUE_BIAS, relu = epilogue & EPILOGUE_RELU;
    if (epilogue & ~(EPILOGUE_DEFAULT | EPILOGUE_BIAS | EPILOGUE_RELU)) return NOT_SUPPORTED;
    if (d.type != c.type || work.type != d.type) return NOT_SUPPORTED;
    if ((bias || relu) && (d.type == C_32F || d.type == C_64F)) return NOT_SUPPORTED;
    p = {"cublasLtMatmul", ta, tb, m, n, k, nullptr, a.type, int(a.leading), b.type, int(b.leading),
         nullptr, c.type, int(c.leading), work.compute, d.count(), int(d.leading)};
    p.relu = relu;
    if (bias) p.bias = (const void *)work.get(DESC_BIAS_POINTER, 0);
    return SUCCESS;
}

bool aligned(const char *what, const void *p, size_t alignment) {
    if ((uintptr_t)p % alignment == 0) return true;
    fprintf(stderr, "pretend CUDA: cublasLtMatmul: %s at %p is not aligned to %zu bytes\n", what, p,
            alignment);
    return false;
}

}  // namespace

extern "C" {

int cublasLtCreate(void **handle) { return *handle = new char, SUCCESS; }
int cublasLtDestroy(void *handle) { return delete (char *)handle, SUCCESS; }

int cublasLtMatmulDescCreate(Description **made, int compute, int scale_type) {
    *made = new Description;
    (*made)->compute = compute;
    (*made)->type = scale_type;
    return SUCCESS;
}
int cublasLtMatrixLayoutCreate(Description **made, int type, uint64_t rows, uint64_t columns,
                               int64_t leading) {
    *made = new Description;
    (*made)->type = type;
    (*made)->rows = rows;
    (*made)->columns = columns;
    (*made)->leading = leading;
    return SUCCESS;
}
int cublasLtMatmulPreferenceCreate(Description **made) { return *made = new Description, SUCCESS; }
#define DESCRIPTION(name)                                                                           \
    int cublasLt##name##Destroy(Description *d) { return delete d, SUCCESS; }                       \
    int cublasLt##name##SetAttribute(Description *d, int attribute, const void *value, size_t n) {  \
        return set(d, of_##name, attribute, value, n);                                              \
    }
DESCRIPTION(MatmulDesc)
DESCRIPTION(MatrixLayout)
DESCRIPTION(MatmulPreference)

int cublasLtMatmulAlgoGetHeuristic(void *handle, const Description *work, const Description *a,
                                   const Description *b, const Description *c, const Description *d,
                                   const Description *preference, int asked, Found *found,
                                   int *count) {
    *count = 0;
    if (!handle) return NOT_INITIALIZED;
    if (!work || !a || !b || !c || !d || !preference || asked < 1) return INVALID_VALUE;
    Product p;
    if (int status = described(*work, *a, *b, *c, *d, p)) return status;
    p.alpha = p.beta = &p;
    p.m = 0;  // to be judged, not done
    if (int status = product(0, p, {})) return status;
    *found = {};
    found->algorithm.mark = MARK;
    for (int which = 0; which < 4; which++)
        found->algorithm.alignment[which] =
            preference->get(PREF_MIN_ALIGNMENT_A_BYTES + which, PROMISED_ALIGNMENT);
    // Long sums are cut in pieces, for which there must be room.
    size_t room = 2 * d->rows * d->columns * d->count() * size_of(d->type);
    bool cut = p.k > 128 && room <= preference->get(PREF_MAX_WORKSPACE_BYTES, 0);
    found->algorithm.parts = cut ? 2 : 1;
    found->algorithm.workspace = found->workspace = cut ? room : 0;
    *count = 1;
    return SUCCESS;
}

int cublasLtMatmul(void *handle, const Description *work, const void *alpha, const void *at_a,
                   const Description *a, const void *at_b, const Description *b, const void *beta,
                   const void *at_c, const Description *c, void *at_d, const Description *d,
                   const Algorithm *algorithm, void *workspace, size_t workspace_bytes,
                   intptr_t stream) {
    if (!handle) return NOT_INITIALIZED;
    if (!work || !a || !b || !c || !d || !algorithm || algorithm->mark != MARK) return INVALID_VALUE;
    Product p;
    if (int status = described(*work, *a, *b, *c, *d, p)) return status;
    if (work->get(DESC_EPILOGUE, EPILOGUE_DEFAULT) & EPILOGUE_BIAS && !p.bias) return INVALID_VALUE;
    const void *at[] = {at_a, at_b, at_c, at_d};
    const char *names[] = {"A", "B", "C", "D"};
    for (int which = 0; which < 4; which++)
        if (!aligned(names[which], at[which], algorithm->alignment[which])) return INVALID_VALUE;
    // A bias is read in vectors, as long as the alignment of D allows.
    if (!aligned("the bias", p.bias, std::min<size_t>(algorithm->alignment[3], 16)))
        return INVALID_VALUE;
    if (workspace_bytes < algorithm->workspace || (uintptr_t)workspace % 16) return INVALID_VALUE;
    p.alpha = alpha;
    p.beta = beta;
    p.parts = algorithm->parts;
    p.workspace = workspace;
    p.workspace_bytes = algorithm->workspace;
    Places places;
    size_t size = size_of(d->type);
    for (int64_t i = 0; i < d->count(); i++) {
        places.a.push_back((const char *)at_a + i * a->following() * (int64_t)size);
        places.b.push_back((const char *)at_b + i * b->following() * (int64_t)size);
        places.c.push_back((const char *)at_c + i * c->following() * (int64_t)size);
        places.d.push_back((char *)at_d + i * d->following() * (int64_t)size);
    }
    return product(stream, p, places);
}
}
