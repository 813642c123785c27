// The threads of a kernel: one after another, or, where those of a block wait for one another, in
// turns. Blocks run one after another.
#include "threads.h"

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

extern "C" {  // what kernel.h calls threadIdx, blockIdx, blockDim and gridDim
dim3 pretend_thread, pretend_block, pretend_block_size, pretend_grid;
char *pretend_dynamic_shared;
}

namespace {

// The threads of a block that wait for one another: each has a stack of its own, and the one that
// waits lets the next go on.
constexpr size_t STACK = 256 * 1024;
enum State { RUNNING, AT_BARRIER, AT_WARP_BARRIER, RETURNED };
struct Fibre {
    State state = RETURNED;
    dim3 index;
    jmp_buf at;
    ucontext_t start;
    bool started = false;
    alignas(16) char shown[16];
};
std::vector<Fibre> fibres;
jmp_buf scheduler;
int current = 0, in_block = 0;
const Kernel *kernel_of_fibres;
void **arguments_of_fibres;

void fibre_main() {
    for (;;) {
        kernel_of_fibres->run(arguments_of_fibres);
        fibres[current].state = RETURNED;
        if (!_setjmp(fibres[current].at)) _longjmp(scheduler, 1);
    }
}

__attribute__((noinline)) void resume(int k) {
    current = k;
    Fibre &f = fibres[k];
    pretend_thread = f.index;
    f.state = RUNNING;
    if (_setjmp(scheduler)) return;
    if (f.started) _longjmp(f.at, 1);
    f.started = true;
    static char *stacks = (char *)mmap(nullptr, MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = stacks + k * STACK;
    f.start.uc_stack.ss_size = STACK;
    makecontext(&f.start, fibre_main, 0);
    setcontext(&f.start);
}

void wait(State at) {
    if (fibres.empty() || !in_block) return;  // a block of one thread
    Fibre &f = fibres[current];
    f.state = at;
    if (!_setjmp(f.at)) _longjmp(scheduler, 1);
}

void run_block_that_waits(const Kernel &kernel, void **arguments) {
    if (fibres.empty()) fibres.resize(MOST_THREADS);
    kernel_of_fibres = &kernel;
    arguments_of_fibres = arguments;
    dim3 size = pretend_block_size;
    in_block = size.x * size.y * size.z;
    for (int k = 0; k < in_block; k++) {
        fibres[k].index = {k % size.x, k / size.x % size.y, k / size.x / size.y};
        fibres[k].state = AT_BARRIER;
    }
    for (bool some = true; some;) {
        some = false;
        for (int warp = 0; warp < in_block; warp += WARP) {
            int end = std::min(warp + WARP, in_block);
            State go_on = AT_BARRIER;
            for (bool again = true; again;) {
                again = false;
                for (int k = warp; k < end; k++)
                    if (fibres[k].state == go_on) {
                        resume(k);
                        some = true;
                        again |= fibres[k].state == AT_WARP_BARRIER;
                    }
                go_on = AT_WARP_BARRIER;
            }
        }
    }
    in_block = 0;
}

}  // namespace

void run_grid(const Kernel &kernel, void **arguments, dim3 grid, dim3 block, size_t shared) {
    std::vector<long double> memory(shared / sizeof(long double) + 1);
    memset(memory.data(), 0xFF, memory.size() * sizeof(long double));
    pretend_dynamic_shared = (char *)memory.data();
    pretend_thread = pretend_block = {0, 0, 0};
    pretend_grid = pretend_block_size = {1, 1, 1};
    if (kernel.threads == 0) return kernel.run(arguments);
    pretend_grid = grid;
    pretend_block_size = block;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                pretend_block = {x, y, z};
                if (kernel.threads == 2) {
                    run_block_that_waits(kernel, arguments);
                    continue;
                }
                for (unsigned c = 0; c < block.z; c++)
                    for (unsigned b = 0; b < block.y; b++)
                        for (unsigned a = 0; a < block.x; a++) {
                            pretend_thread = {a, b, c};
                            kernel.run(arguments);
                        }
            }
}

void abandon_grid() {
    in_block = 0;
    for (auto &fibre : fibres) fibre.started = false;
}

extern "C" {

void pretend_barrier() { wait(AT_BARRIER); }
void pretend_warp_barrier() { wait(AT_WARP_BARRIER); }
char *pretend_lanes(unsigned lane) {
    static char alone[16];
    return in_block ? fibres[current / WARP * WARP + lane].shown : alone;
}
unsigned pretend_alive() {
    if (!in_block) return 1;
    unsigned alive = 0;
    int warp = current / WARP * WARP;
    for (int k = warp; k < std::min(warp + WARP, in_block); k++)
        if (fibres[k].state != RETURNED) alive |= 1u << (k - warp);
    return alive;
}
}
