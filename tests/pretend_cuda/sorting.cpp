// What CuPy has Thrust do: sort, argsort and lexsort, stable, each NaN after all numbers.
#include "device.h"

#include <algorithm>
#include <complex>
#include <numeric>
#include <vector>

namespace {

template <class T> bool before(T x, T y) { return x < y || (y != y && x == x); }
template <class T> bool before(std::complex<T> x, std::complex<T> y) {
    bool x_nan = x != x, y_nan = y != y;
    if (x_nan || y_nan) {  // as NumPy: by the real parts, then by the imaginary ones
        if (x.real() != y.real()) return before(x.real(), y.real());
        return before(x.imag(), y.imag());
    }
    return x.real() < y.real() || (x.real() == y.real() && x.imag() < y.imag());
}

template <class T> void sort_rows(T *data, ptrdiff_t rows, ptrdiff_t n) {
    for (; rows--; data += n) std::stable_sort(data, data + n, [](T x, T y) { return before(x, y); });
}
template <class T> void argsort_rows(T *data, int64_t *order, ptrdiff_t rows, ptrdiff_t n) {
    for (; rows--; data += n, order += n) {
        std::iota(order, order + n, int64_t(0));
        std::stable_sort(order, order + n, [=](int64_t a, int64_t b) {
            return before(data[a], data[b]);
        });
        std::vector<T> sorted;  // Thrust sorts the data too
        for (ptrdiff_t i = 0; i < n; i++) sorted.push_back(data[order[i]]);
        std::copy(sorted.begin(), sorted.end(), data);
    }
}
template <class T> void lexsort_keys(const T *keys, int64_t *order, ptrdiff_t k, ptrdiff_t n) {
    std::iota(order, order + n, int64_t(0));
    for (ptrdiff_t key = 0; key < k; key++)
        std::stable_sort(order, order + n, [=](int64_t a, int64_t b) {
            return before(keys[key * n + a], keys[key * n + b]);
        });
}

// f<T>() for the type of NumPy's letter and size, "f4" say; false if there is none.
template <class F> bool with_type(const std::string &type, F f) {
    if (type == "b1") f(bool());
    else if (type == "i1") f(int8_t());
    else if (type == "i2") f(int16_t());
    else if (type == "i4") f(int32_t());
    else if (type == "i8") f(int64_t());
    else if (type == "u1") f(uint8_t());
    else if (type == "u2") f(uint16_t());
    else if (type == "u4") f(uint32_t());
    else if (type == "u8") f(uint64_t());
    else if (type == "f4") f(float());
    else if (type == "f8") f(double());
    else if (type == "c8") f(std::complex<float>());
    else if (type == "c16") f(std::complex<double>());
    else return false;
    return true;
}

}  // namespace

// Sorts rows of n elements; with `order`, argsort; with k, lexsort of k keys. Returns CUDA's status,
// or -1 for a type that there is not.
extern "C" int pretend_sort(intptr_t stream, const char *type, void *data, int64_t *order,
                            ptrdiff_t rows, ptrdiff_t n, ptrdiff_t k) {
    int status = 0;
    bool known = with_type(type, [&](auto one) {
        using T = decltype(one);
        T *items = (T *)data;
        size_t count = (k ? k : rows) * n;
        if (!inside("sort", items, count * sizeof(T)) ||
            (order && !inside("sort", order, (k ? n : count) * sizeof *order))) {
            status = 700;
            return;
        }
        Node node{"sort", k ? "lexsort" : order ? "argsort" : "sort"};
        node.bytes = count * sizeof(T);
        node.work = [=] {
            if (k) lexsort_keys(items, order, k, n);
            else if (order) argsort_rows(items, order, rows, n);
            else sort_rows(items, rows, n);
        };
        status = submit(stream, std::move(node));
    });
    return known ? status : -1;
}
