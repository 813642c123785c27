// What the source of a kernel sees where NVRTC would give it a GPU's C++: this is in front of it,
// precompiled. One thread of a kernel is one call of its function; threads.cpp makes the calls, and
// switches between the threads of a block where they wait for one another.
#pragma once
#include <cstddef>
#undef _GLIBCXX_USE_STD_SPEC_FUNCS  // C++17's Bessel functions and the like: a third of all the time
#include <algorithm>
#include <cassert>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
// libstdc++'s, with exp(float), abs(double) and the like in the global namespace, as on a GPU.
#include <math.h>
#include <stdlib.h>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __CUDACC_VER_MAJOR__ 12
#define __CUDA_ARCH__ 800
#define THRUST_NAMESPACE_BEGIN namespace thrust {
#define THRUST_NAMESPACE_END }
#define THRUST_NS_QUALIFIER ::thrust

// --- threads and blocks ----------------------------------------------------------------------------

struct dim3 {
    unsigned x, y, z;
};
typedef dim3 uint3;

extern "C" {
extern dim3 pretend_thread, pretend_block, pretend_block_size, pretend_grid;
void pretend_barrier();             // of the block
void pretend_warp_barrier();        // of the warp
char *pretend_lanes(unsigned lane);  // 16 bytes for each thread of this warp to show to the others
unsigned pretend_alive();            // the lanes of this warp that have not returned
extern char *pretend_dynamic_shared;
}
#define threadIdx pretend_thread
#define blockIdx pretend_block
#define blockDim pretend_block_size
#define gridDim pretend_grid
constexpr int warpSize = 32;

inline void __syncthreads() { pretend_barrier(); }
inline void __syncwarp(unsigned = 0xffffffff) { pretend_warp_barrier(); }
inline void __threadfence() {}
inline void __threadfence_block() {}

inline unsigned pretend_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % warpSize;
}

// What lane `from` shows; its own where there is no such lane.
template <class T> T pretend_shuffle(T value, unsigned from) {
    static_assert(sizeof(T) <= 16);
    memcpy(pretend_lanes(pretend_lane()), &value, sizeof(T));
    pretend_warp_barrier();
    if (from < warpSize && pretend_alive() >> from & 1) memcpy(&value, pretend_lanes(from), sizeof(T));
    pretend_warp_barrier();
    return value;
}

inline unsigned pretend_segment(int width) { return pretend_lane() / width * width; }

template <class T> T __shfl_sync(unsigned, T value, int lane, int width = warpSize) {
    return pretend_shuffle(value, pretend_segment(width) + lane % width);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int width = warpSize) {
    unsigned from = pretend_lane() ^ mask;
    return pretend_shuffle(value, from < pretend_segment(width) + width ? from : pretend_lane());
}
template <class T> T __shfl_down_sync(unsigned, T value, unsigned delta, int width = warpSize) {
    unsigned from = pretend_lane() + delta;
    return pretend_shuffle(value, from < pretend_segment(width) + width ? from : pretend_lane());
}
template <class T> T __shfl_up_sync(unsigned, T value, unsigned delta, int width = warpSize) {
    bool inside = pretend_lane() >= pretend_segment(width) + delta;
    return pretend_shuffle(value, inside ? pretend_lane() - delta : pretend_lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned votes = 0, lane = pretend_lane();
    memcpy(pretend_lanes(lane), &predicate, sizeof predicate);
    pretend_warp_barrier();
    for (unsigned from = 0; from < warpSize; from++) {
        int vote;
        memcpy(&vote, pretend_lanes(from), sizeof vote);
        if (vote && (pretend_alive() & mask) >> from & 1) votes |= 1u << from;
    }
    pretend_warp_barrier();
    return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

// Threads take turns, so that what is read and written in one call is atomic.
template <class T> T pretend_exchange(T *place, T value) {
    T old = *place;
    *place = value;
    return old;
}
#define PRETEND_ATOMIC(T)                                                                           \
    inline T atomicAdd(T *p, T v) { return pretend_exchange(p, static_cast<T>(*p + v)); }                        \
    inline T atomicExch(T *p, T v) { return pretend_exchange(p, v); }
#define PRETEND_ATOMIC_INTEGER(T)                                                                   \
    PRETEND_ATOMIC(T)                                                                               \
    inline T atomicSub(T *p, T v) { return pretend_exchange(p, static_cast<T>(*p - v)); }                        \
    inline T atomicMin(T *p, T v) { return pretend_exchange(p, std::min(*p, v)); }                  \
    inline T atomicMax(T *p, T v) { return pretend_exchange(p, std::max(*p, v)); }                  \
    inline T atomicAnd(T *p, T v) { return pretend_exchange(p, static_cast<T>(*p & v)); }                        \
    inline T atomicOr(T *p, T v) { return pretend_exchange(p, static_cast<T>(*p | v)); }                         \
    inline T atomicXor(T *p, T v) { return pretend_exchange(p, static_cast<T>(*p ^ v)); }                        \
    inline T atomicCAS(T *p, T expected, T v) {                                                     \
        return pretend_exchange(p, *p == expected ? v : *p);                                        \
    }
PRETEND_ATOMIC(float)
PRETEND_ATOMIC(double)
PRETEND_ATOMIC_INTEGER(int)
PRETEND_ATOMIC_INTEGER(unsigned)
PRETEND_ATOMIC_INTEGER(unsigned long long)

// --- arithmetic ------------------------------------------------------------------------------------

template <class To, class From> To pretend_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline int __float_as_int(float x) { return pretend_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return pretend_bits<unsigned>(x); }
inline float __int_as_float(int x) { return pretend_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return pretend_bits<float>(x); }
inline long long __double_as_longlong(double x) { return pretend_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return pretend_bits<double>(x); }
inline int __double2hiint(double x) { return int(__double_as_longlong(x) >> 32); }
inline int __double2loint(double x) { return int(__double_as_longlong(x)); }
inline double __hiloint2double(int high, int low) {
    return __longlong_as_double((long long)high << 32 | (unsigned)low);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
inline long long __float2ll_rn(float x) { return llrintf(x); }
inline long long __double2ll_rn(double x) { return llrint(x); }
inline int __float2int_rn(float x) { return int(lrintf(x)); }
inline int __double2int_rn(double x) { return int(lrint(x)); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
template <class T> T __ldg(const T *p) { return *p; }

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;
// As CUDA's: of two types that differ, in the one that arithmetic gives; a NaN is no number.
template <class A, class B> auto pretend_min(A a, B b) -> decltype(a + b) { return b < a ? b : a; }
template <class A, class B> auto pretend_max(A a, B b) -> decltype(a + b) { return a < b ? b : a; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
#define PRETEND_EXTREMES(A, B)                                                                      \
    inline auto min(A a, B b) { return pretend_min(a, b); }                                         \
    inline auto max(A a, B b) { return pretend_max(a, b); }
#define PRETEND_INTEGERS(P)                                                                         \
    P(int, int) P(int, unsigned) P(int, long) P(int, unsigned long) P(int, long long)               \
    P(int, unsigned long long)
PRETEND_INTEGERS(PRETEND_EXTREMES)
#define PRETEND_SAME(T) PRETEND_EXTREMES(T, T) PRETEND_EXTREMES(T, int)
PRETEND_SAME(unsigned)
PRETEND_SAME(long)
PRETEND_SAME(unsigned long)
PRETEND_SAME(long long)
PRETEND_SAME(unsigned long long)
PRETEND_EXTREMES(long, long long)
PRETEND_EXTREMES(long long, long)

// --- numbers and vectors that are types in CUDA's headers ------------------------------------------

struct __half_raw {
    unsigned short x;
};
// Half precision: stored so, computed with as float, rounded to the nearest, as the compiler does it.
struct half {
    _Float16 value;
    half() = default;
    half(float v) : value(_Float16(v)) {}
    explicit half(const __half_raw &raw) : value(pretend_bits<_Float16>(raw.x)) {}
    template <class T> explicit half(T v) : value(_Float16(float(v))) {}
    operator float() const { return float(value); }
    operator __half_raw() const { return {pretend_bits<unsigned short>(value)}; }
};
inline unsigned short __half_as_ushort(half x) { return __half_raw(x).x; }
inline half __ushort_as_half(unsigned short bits) { return half(__half_raw{bits}); }
#define PRETEND_VECTOR(T, name)                                                                     \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                              \
    struct name##3 { T x, y, z; };                                                                  \
    struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; };              \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                      \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                              \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
PRETEND_VECTOR(signed char, char)
PRETEND_VECTOR(unsigned char, uchar)
PRETEND_VECTOR(short, short)
PRETEND_VECTOR(unsigned short, ushort)
PRETEND_VECTOR(int, int)
PRETEND_VECTOR(long long, longlong)
PRETEND_VECTOR(unsigned long long, ulonglong)
PRETEND_VECTOR(float, float)
PRETEND_VECTOR(double, double)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// --- what device.cpp has to know of a kernel -------------------------------------------------------

#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>

// Of each parameter its size and that of what it points to, and the axes of the array that it is: -1
// is a pointer, -2 a number.
struct PretendParameter {
    size_t size, item;
    int ndim;
};
template <class T> constexpr PretendParameter pretend_parameter(const T *) { return {sizeof(T), 0, -2}; }
template <class T> constexpr PretendParameter pretend_parameter(T *const *) {
    return {sizeof(T *), 1, -1};
}
template <class T, int n, bool c, bool b>
constexpr PretendParameter pretend_parameter(const CArray<T, n, c, b> *array) {
    return {sizeof *array, sizeof(T), n};
}
struct PretendKernel {
    void (*run)(void **arguments);
    int parameters;
    const PretendParameter *parameter;
    int threads;  // 0: a loop for any number of threads, 1: threads by themselves, 2: that wait
};
template <auto f, int threads> struct PretendEntry;
template <class... P, void (*f)(P...), int threads> struct PretendEntry<f, threads> {
    static constexpr PretendParameter parameter[sizeof...(P) + 1] = {
        pretend_parameter((const P *)nullptr)...};
    template <class T> static T &argument(void **&next) { return *(T *)*next++; }
    struct Call {
        // Braces, as their order of evaluation is from left to right.
        template <class... A> Call(A &&...a) { f(a...); }
    };
    static void run(void **arguments) { Call{argument<P>(arguments)...}; }
    static constexpr PretendKernel kernel = {run, sizeof...(P), parameter, threads};
};
#define PRETEND_KERNEL(name, f, threads)                                                            \
    extern "C" __attribute__((visibility("default"), used)) const PretendKernel name =              \
        PretendEntry<f, threads>::kernel;
