// What cublas.cpp and sorting.cpp use of the device.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

// One piece of work on a stream, and one node of a graph.
struct Node {
    std::string kind;  // "kernel", "memcpy", "memset", "cublas", "sort" or "graph"
    std::string name = "";
    unsigned grid[3] = {0, 0, 0}, block[3] = {0, 0, 0};
    size_t bytes = 0;
    std::function<void()> work = nullptr;
};

// Put it at the end of what the stream has to do, or into the graph that it is captured into.
// Returns 0, or CUDA's status.
int submit(intptr_t stream, Node node);

// Whether these bytes lie within one block of device memory. If not, it is as if a kernel had
// touched memory that isn't its own: what is wrong is printed, and the device is lost.
bool inside(const std::string &what, const void *from, size_t bytes);
