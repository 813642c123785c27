// How a kernel is run: each thread is one call of its function.
#pragma once
#include <cstddef>

struct dim3 {
    unsigned x, y, z;
};
struct Parameter {  // PretendParameter and PretendKernel in kernel.h
    size_t size, item;
    int ndim;
};
struct Kernel {
    void (*run)(void **arguments);
    int parameters;
    const Parameter *parameter;
    int threads;
};
constexpr int WARP = 32, MOST_THREADS = 1024;  // of a block

void run_grid(const Kernel &kernel, void **arguments, dim3 grid, dim3 block, size_t shared);

// Forget the threads of a kernel that was left in its middle.
void abandon_grid();
