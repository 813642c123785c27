// The CUDA runtime and driver on a pretend device: what CuPy calls, under the names of its own C
// functions (cupy_backends.cuda.api.runtime and driver), each with `pretend_` before it. entries.py
// puts them in the place of those. README.md says what is as on a GPU and what is not.
//
// All of it runs under Python's lock, so one thing at a time, in one order.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "device.h"
#include "threads.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

// cudaError_t
enum {
    INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INSUFFICIENT_DRIVER = 35,
    NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
    ILLEGAL_ADDRESS = 700, LAUNCH_FAILURE = 719, PEER_UNSUPPORTED = 217,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_MERGE = 902,
    CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905,
    CAPTURE_IMPLICIT = 906, CAPTURED_EVENT = 907, CAPTURE_WRONG_THREAD = 908,
};
enum { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };  // cudaStreamCaptureMode
enum { HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2, DEVICE_TO_DEVICE = 3, ANY_DIRECTION = 4 };

constexpr size_t PAGE = 4096, ALIGNMENT = 512;
constexpr size_t ADDRESSES = size_t(1) << 44;  // 16 TiB to hand out, none of them twice
constexpr size_t MOST_PENDING = 256;
constexpr int MOST_DEVICES = 16;

struct Block {
    size_t size;
    char *map;
    size_t mapped;
    int device;
};
struct Graph {
    std::vector<Node> nodes;
};
struct Capture;
struct Event;
struct Stream {
    bool blocking;
    int device;
    int priority = 0;
    std::shared_ptr<Capture> capture;
    long done = 0, joined = 0;  // how much was captured here, and how much the origin waits for
};
struct Capture {
    intptr_t origin;
    int mode;
    std::thread::id thread;
    std::unique_ptr<Graph> graph = std::make_unique<Graph>();
    std::set<intptr_t> streams;
    bool invalid = false;
};
struct Event {
    bool passed = true;
    double milliseconds = 0;
    std::shared_ptr<Capture> capture;
    intptr_t stream = 0;
    long done = 0;
};
struct Options {
    long driver = 13000, runtime = 0, devices = 1;
    long capability = 90, multiprocessors = 132;
    long memory = 16L << 30, taken = 0;  // bytes of each device, and how many others have
    long fail_malloc = 0;                // from which allocation on there is no memory; 0: none
    long lag = 1;                        // whether work waits until the host asks for it
    std::string name = "Pretend GPU";
} options;
const std::map<std::string, long *> numbers = {
    {"driver", &options.driver}, {"runtime", &options.runtime}, {"devices", &options.devices},
    {"capability", &options.capability}, {"multiprocessors", &options.multiprocessors},
    {"memory", &options.memory}, {"taken", &options.taken}, {"lag", &options.lag},
    {"fail_malloc", &options.fail_malloc},
};
struct Counts {
    long launches = 0, copies = 0, memsets = 0, synchronizations = 0, mallocs = 0, frees = 0;
    long products = 0, sorts = 0, graph_launches = 0;
} counts;

std::map<intptr_t, Stream> streams;
std::map<intptr_t, std::shared_ptr<Event>> events;
std::map<intptr_t, Block> blocks;
std::map<intptr_t, size_t> pinned;
std::set<Graph *> graphs;
std::deque<std::pair<std::shared_ptr<Event>, Node>> pending;
std::map<std::string, long> launched;  // kernels, how often
char *next_address = nullptr, *last_address = nullptr;
size_t used[MOST_DEVICES], peak[MOST_DEVICES];
intptr_t next_handle = 0x5EED0000;  // a handle is never used twice
int lost = 0;                       // the status that everything has after a fault
bool forked = false;
thread_local int device = 0;
PyObject *runtime_error, *driver_error, *attributes;  // of entries.py: functions

struct Gil {  // cuBLAS is called without Python's lock
    PyGILState_STATE state = PyGILState_Ensure();
    ~Gil() { PyGILState_Release(state); }
};

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

intptr_t new_handle() { return next_handle += 16; }

// --- faults ----------------------------------------------------------------------------------------

sigjmp_buf before_fault;
const Node *running = nullptr;
int fault_signal = 0;
char *fault_address = nullptr;

void on_fault(int signal, siginfo_t *info, void *) {
    fault_signal = signal;
    fault_address = (char *)info->si_addr;
    siglongjmp(before_fault, 1);
}

std::string where(const char *p) {
    char text[200];
    auto after = blocks.upper_bound((intptr_t)p);
    if (after != blocks.begin()) {
        auto [start, block] = *std::prev(after);
        if (p < (char *)start + block.size + 2 * PAGE) {
            snprintf(text, sizeof text, "byte %td of a block of %zu", p - (char *)start, block.size);
            return text;
        }
    }
    bool once = next_address && p < next_address && p >= last_address - ADDRESSES;
    snprintf(text, sizeof text, "%p, %s", (void *)p,
             once ? "memory that was given back" : "no device memory");
    return text;
}

int lose(const std::string &what, int status = ILLEGAL_ADDRESS) {
    fprintf(stderr, "pretend CUDA: %s\n", what.c_str());
    fflush(stderr);
    pending.clear();
    return lost = status;
}

void run(const Node &node) {
    if (sigsetjmp(before_fault, 0)) {
        abandon_grid();
        bool memory = fault_signal != SIGFPE;
        lose(running->kind + " " + running->name +
                 (memory ? " touches " + where(fault_address) : " divides by zero"),
             memory ? ILLEGAL_ADDRESS : LAUNCH_FAILURE);
        return;
    }
    running = &node;
    node.work();
}

// Do what is pending, all of it or up to a number.
void drain(size_t most = SIZE_MAX) {
    static bool draining = false;
    if (draining || pending.empty()) return;
    draining = true;
    struct sigaction mine = {}, segv, bus, fpe;
    mine.sa_sigaction = on_fault;
    mine.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &mine, &segv);
    sigaction(SIGBUS, &mine, &bus);
    sigaction(SIGFPE, &mine, &fpe);
    while (!pending.empty() && most--) {
        auto [event, node] = std::move(pending.front());
        pending.pop_front();
        if (node.work) run(node);
        if (event) {
            event->passed = true;
            event->milliseconds = now();
        }
    }
    sigaction(SIGSEGV, &segv, nullptr);
    sigaction(SIGBUS, &bus, nullptr);
    sigaction(SIGFPE, &fpe, nullptr);
    draining = false;
}

void enqueue(std::shared_ptr<Event> event, Node node) {
    pending.emplace_back(std::move(event), std::move(node));
    if (!options.lag)
        drain();
    else if (pending.size() > MOST_PENDING)
        drain(pending.size() - MOST_PENDING);
}

// --- what may be called when -----------------------------------------------------------------------

// The status that every call has: no driver, no device, a lost device, a forked process.
int usable() {
    if (forked) return NOT_INITIALIZED;
    if (options.driver == 0 || options.driver / 1000 < options.runtime / 1000)
        return INSUFFICIENT_DRIVER;
    if (options.devices < 1) return NO_DEVICE;
    return lost;
}

int invalidate(Capture &capture, int status) {
    capture.invalid = true;
    return status;
}

template <class F> int of_captures(F f) {
    int status = 0;
    for (auto &[handle, stream] : streams)
        if (stream.capture)
            if (int found = f(*stream.capture, stream)) status = found;
    return status;
}

// cudaMalloc and others that CUDA calls potentially unsafe: forbidden to a thread that captures
// otherwise than relaxed, and to all while one captures globally.
int unsafe() {
    return of_captures([](Capture &c, Stream &) {
        bool mine = c.thread == std::this_thread::get_id();
        bool forbidden = mine ? c.mode != RELAXED : c.mode == GLOBAL;
        return forbidden ? invalidate(c, CAPTURE_UNSUPPORTED) : 0;
    });
}

// The legacy stream waits for all blocking streams, so for one that is captured, which can't be.
int legacy() {
    return of_captures([](Capture &c, Stream &s) {
        return s.blocking && s.device == device ? invalidate(c, CAPTURE_IMPLICIT) : 0;
    });
}

// A stream for work or a question. `found` is null for the legacy stream.
int find(intptr_t handle, Stream *&found) {
    found = nullptr;
    if (int status = usable()) return status;
    if (handle == 0 || handle == 1 || handle == 2) return legacy();
    auto it = streams.find(handle);
    if (it == streams.end()) return INVALID_HANDLE;
    found = &it->second;
    if (found->capture && found->capture->invalid) return CAPTURE_INVALIDATED;
    return 0;
}

// Wait for a stream, which can't be done for one that is captured.
int wait_for(intptr_t handle) {
    Stream *stream;
    if (int status = find(handle, stream)) return status;
    if (stream && stream->capture) return invalidate(*stream->capture, CAPTURE_UNSUPPORTED);
    counts.synchronizations++;
    drain();
    return lost;
}

// --- memory ----------------------------------------------------------------------------------------

const std::pair<const intptr_t, Block> *block_of(intptr_t p) {
    auto after = blocks.upper_bound(p);
    if (after == blocks.begin()) return nullptr;
    auto before = std::prev(after);
    return p < before->first + (intptr_t)std::max<size_t>(before->second.size, 1) ? &*before
                                                                                  : nullptr;
}

bool is_pinned(intptr_t p, size_t n) {
    auto after = pinned.upper_bound(p);
    if (after == pinned.begin()) return false;
    auto [start, size] = *std::prev(after);
    return p + n <= start + size;
}

size_t free_bytes() {
    size_t all = used[device] + options.taken;
    return (size_t)options.memory > all ? options.memory - all : 0;
}

int allocate(size_t n, intptr_t &p) {
    if (int status = usable()) return status;
    if (int status = unsafe()) return status;
    counts.mallocs++;
    if (options.fail_malloc && counts.mallocs >= options.fail_malloc) return OUT_OF_MEMORY;
    if (n > free_bytes()) return OUT_OF_MEMORY;
    if (!next_address) {
        void *all_addresses = mmap(nullptr, ADDRESSES, PROT_NONE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all_addresses == MAP_FAILED) return OUT_OF_MEMORY;
        next_address = (char *)all_addresses;
        last_address = next_address + ADDRESSES;
    }
    // The block ends where its last page does, as far as its alignment allows, and the next page
    // is not there.
    size_t rounded = (std::max<size_t>(n, 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t mapped = (rounded + PAGE - 1) / PAGE * PAGE;
    char *map = next_address;
    if (map + mapped + PAGE > last_address) return OUT_OF_MEMORY;
    if (mprotect(map, mapped, PROT_READ | PROT_WRITE)) return OUT_OF_MEMORY;
    next_address += mapped + PAGE;
    p = (intptr_t)(map + mapped - rounded);
    memset((void *)p, 0xFF, rounded);  // NaN, -1, true
    blocks[p] = {n, map, mapped, device};
    used[device] += n;
    peak[device] = std::max(peak[device], used[device]);
    return 0;
}

int release(intptr_t p) {
    if (!p) return 0;
    if (int status = usable()) return status;
    if (int status = unsafe()) return status;
    auto it = blocks.find(p);
    if (it == blocks.end()) return INVALID_VALUE;
    drain();  // cudaFree waits for the device
    counts.frees++;
    Block b = it->second;
    mmap(b.map, b.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    used[b.device] -= b.size;
    blocks.erase(it);
    return lost;
}

bool copy_inside(intptr_t to, intptr_t from, size_t n, int kind) {
    bool to_device = kind == HOST_TO_DEVICE || kind == DEVICE_TO_DEVICE || block_of(to);
    bool from_device = kind == DEVICE_TO_HOST || kind == DEVICE_TO_DEVICE || block_of(from);
    return (!to_device || inside("memcpy to", (void *)to, n)) &&
           (!from_device || inside("memcpy from", (void *)from, n));
}

int copy(intptr_t to, intptr_t from, size_t n, int kind) {  // waits, on the legacy stream
    if (int status = usable()) return status;
    if (int status = unsafe()) return status;
    if (int status = legacy()) return status;
    counts.copies++;
    counts.synchronizations++;
    drain();
    if (lost || !copy_inside(to, from, n, kind)) return lost;
    memmove((void *)to, (void *)from, n);
    return 0;
}

int copy_on(intptr_t stream, intptr_t to, intptr_t from, size_t n, int kind) {
    Stream *s;
    if (int status = find(stream, s)) return status;
    if (!copy_inside(to, from, n, kind)) return lost;
    counts.copies++;
    Node node{"memcpy"};
    bool up = !block_of(from), down = !block_of(to);
    node.name = up && down ? "host to host" : up ? "host to device" : down ? "device to host"
                                                                          : "device to device";
    node.bytes = n;
    node.work = [=] { memmove((void *)to, (void *)from, n); };
    if (int status = submit(stream, std::move(node))) return status;
    // Host memory that isn't pinned goes through CUDA's own: the call returns when it was read, or
    // was written.
    bool pageable = (up && !is_pinned(from, n)) || (down && !is_pinned(to, n));
    if (pageable && !(s && s->capture)) drain();
    return lost;
}

int fill(intptr_t p, int value, size_t n, intptr_t stream) {
    Stream *s;
    if (int status = find(stream, s)) return status;
    if (!inside("memset of", (void *)p, n)) return lost;
    counts.memsets++;
    Node node{"memset"};
    node.bytes = n;
    node.work = [=] { memset((void *)p, value, n); };
    return submit(stream, std::move(node));
}

// --- streams, events and graphs --------------------------------------------------------------------

int new_stream(bool blocking, int priority, intptr_t &handle) {
    if (int status = usable()) return status;
    handle = new_handle();
    streams.emplace(handle, Stream{blocking, device, priority, nullptr});
    return 0;
}

int begin_capture(intptr_t handle, int mode) {
    Stream *stream;
    if (int status = find(handle, stream)) return status;
    if (!stream) return CAPTURE_UNSUPPORTED;  // the legacy stream
    if (stream->capture) return invalidate(*stream->capture, CAPTURE_UNMATCHED);
    auto capture = std::make_shared<Capture>();
    capture->origin = handle;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->streams = {handle};
    stream->capture = capture;
    return 0;
}

int end_capture(intptr_t handle, Graph *&graph) {
    if (int status = usable()) return status;
    auto it = streams.find(handle);
    if (it == streams.end()) return INVALID_HANDLE;
    std::shared_ptr<Capture> capture = it->second.capture;
    if (!capture) return INVALID_VALUE;
    if (capture->origin != handle) return invalidate(*capture, CAPTURE_UNMATCHED);
    if (capture->mode != RELAXED && capture->thread != std::this_thread::get_id())
        return CAPTURE_WRONG_THREAD;
    bool unjoined = false;
    for (intptr_t each : capture->streams) {
        auto found = streams.find(each);
        if (found == streams.end()) continue;
        unjoined |= each != handle && found->second.done > found->second.joined;
        found->second.capture = nullptr;
    }
    if (capture->invalid) return CAPTURE_INVALIDATED;
    if (unjoined) return CAPTURE_UNJOINED;
    graph = capture->graph.release();
    graphs.insert(graph);
    return 0;
}

int record(intptr_t handle, intptr_t on) {
    Stream *stream;
    if (int status = find(on, stream)) return status;
    auto it = events.find(handle);
    if (it == events.end()) return INVALID_HANDLE;
    // What waits for the event as it was keeps that one.
    auto event = it->second = std::make_shared<Event>();
    if (stream && stream->capture) {
        event->capture = stream->capture;
        event->stream = on;
        event->done = stream->done;
        return 0;
    }
    event->passed = false;
    enqueue(event, {});
    return lost;
}

int event_status(intptr_t handle, bool wait) {
    if (int status = usable()) return status;
    auto it = events.find(handle);
    if (it == events.end()) return INVALID_HANDLE;
    auto event = it->second;
    if (event->capture) return invalidate(*event->capture, CAPTURED_EVENT);
    if (int status = unsafe()) return status;
    if (wait) {
        counts.synchronizations++;
        while (!event->passed && !lost) drain(1);
        return lost;
    }
    bool passed = event->passed;
    drain(1);  // the device goes on while the host asks
    return passed ? lost : NOT_READY;
}

int wait_event(intptr_t handle, intptr_t event_handle) {
    Stream *stream;
    if (int status = find(handle, stream)) return status;
    auto it = events.find(event_handle);
    if (it == events.end()) return INVALID_HANDLE;
    auto event = it->second;
    if (!event->capture) {
        if (stream && stream->capture) return invalidate(*stream->capture, CAPTURE_ISOLATION);
        return 0;  // all streams do their work in one order
    }
    if (event->capture->invalid || !event->capture->graph) return CAPTURE_INVALIDATED;
    if (!stream) return invalidate(*event->capture, CAPTURE_IMPLICIT);
    if (stream->capture && stream->capture != event->capture) {
        invalidate(*stream->capture, 0);
        return invalidate(*event->capture, CAPTURE_MERGE);
    }
    if (!stream->capture) {  // it joins the capture
        stream->capture = event->capture;
        stream->done = 1;
        stream->joined = 0;
        event->capture->streams.insert(handle);
    }
    auto other = streams.find(event->stream);
    if (handle == event->capture->origin && other != streams.end())
        other->second.joined = std::max(other->second.joined, event->done);
    return 0;
}

int launch_graph(Graph *graph, intptr_t stream) {
    if (int status = usable()) return status;
    if (!graphs.count(graph)) return INVALID_VALUE;
    counts.graph_launches++;
    Node node{"graph", std::to_string(graph->nodes.size()) + " nodes"};
    auto nodes = std::make_shared<std::vector<Node>>(graph->nodes);
    node.work = [nodes] {
        for (const Node &each : *nodes) {
            running = &each;
            each.work();
        }
    };
    return submit(stream, std::move(node));
}

// --- kernels ---------------------------------------------------------------------------------------

struct Function {
    const Kernel *kernel;
    std::string name;
};

// The arrays among the arguments lie in device memory, all of each in one block; pointers begin there.
bool arrays_inside(const Function &function, void **arguments) {
    for (int k = 0; k < function.kernel->parameters; k++) {
        auto [size, item, ndim] = function.kernel->parameter[k];
        if (ndim < -1) continue;
        const ptrdiff_t *array = (const ptrdiff_t *)arguments[k];  // CArray of CuPy's carray.cuh
        intptr_t first = array[0], last = first;
        if (ndim >= 0 && (array[1] == 0 || first == 0)) continue;
        if (ndim == -1 && first == 0) continue;
        for (int axis = 0; axis < ndim; axis++) {
            ptrdiff_t way = (array[2 + axis] - 1) * array[2 + ndim + axis];
            (way < 0 ? first : last) += way;
        }
        if (is_pinned(first, last + item - first)) continue;
        std::string what = "argument " + std::to_string(k) + " of kernel " + function.name;
        if (!inside(what, (void *)first, last + item - first)) return false;
        if (block_of(first)->second.device != device) {
            lose(what + " is memory of another device");
            return false;
        }
    }
    return true;
}

int launch(Function *function, dim3 grid, dim3 block, size_t shared, intptr_t stream,
           void **arguments) {
    Stream *s;
    if (int status = find(stream, s)) return status;
    size_t threads = size_t(block.x) * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || !threads || threads > MOST_THREADS) return INVALID_VALUE;
    if (grid.y > 65535 || grid.z > 65535 || block.z > 64 || shared > 227 * 1024)
        return INVALID_VALUE;
    if (!arrays_inside(*function, arguments)) return lost;
    counts.launches++;
    launched[function->name]++;
    const Kernel &kernel = *function->kernel;
    // Arguments are read when a kernel is launched, not when it runs.
    std::vector<size_t> at;
    size_t size = 0;
    for (int k = 0; k < kernel.parameters; k++) {
        at.push_back(size);
        size += (kernel.parameter[k].size + 15) / 16 * 16;
    }
    auto values = std::make_shared<std::vector<long double>>(size / sizeof(long double) + 1);
    for (int k = 0; k < kernel.parameters; k++)
        memcpy((char *)values->data() + at[k], arguments[k], kernel.parameter[k].size);
    Node node{"kernel", function->name, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}};
    node.work = [&kernel, values, at, grid, block, shared] {
        std::vector<long double> copy = *values;  // parameters are a kernel's own to change
        std::vector<void *> pointers;
        for (size_t each : at) pointers.push_back((char *)copy.data() + each);
        run_grid(kernel, pointers.data(), grid, block, shared);
    };
    return submit(stream, std::move(node));
}

// --- results for Python ----------------------------------------------------------------------------

PyObject *raise_status(PyObject *error, int status) {
    return PyObject_CallFunction(error, "i", status);  // it raises
}
PyObject *none_or(int status, PyObject *error = runtime_error) {
    if (status) return raise_status(error, status);
    Py_RETURN_NONE;
}
template <class T> T value_or(int status, T value, T on_error = 0) {
    if (!status) return value;
    raise_status(runtime_error, status);
    return on_error;
}

}  // namespace

int submit(intptr_t handle, Node node) {
    Gil hold;
    Stream *stream;
    if (int status = find(handle, stream)) return status;
    if (node.kind == "cublas") counts.products++;
    if (node.kind == "sort") counts.sorts++;
    if (stream && stream->capture) {
        stream->capture->graph->nodes.push_back(std::move(node));
        stream->done++;
        return 0;
    }
    enqueue(nullptr, std::move(node));
    return lost;
}

bool inside(const std::string &what, const void *from, size_t bytes) {
    Gil hold;
    if (!bytes) return true;
    auto block = block_of((intptr_t)from);
    if (block && (intptr_t)from + bytes <= block->first + block->second.size) return true;
    lose(what + " " + std::to_string(bytes) + " bytes from " + where((const char *)from));
    return false;
}

extern "C" {

// --- the runtime ----------------------------------------------------------------------------------
// The last int is Cython's: whether a subclass may answer instead.

int pretend_driverGetVersion(int) { return options.driver; }
int pretend_runtimeGetVersion(int) { return options.runtime; }
PyObject *pretend__ensure_context() { return none_or(usable()); }

int pretend_getDevice(int) {
    return value_or(usable(), device, -1);
}
PyObject *pretend_setDevice(int d, int) {
    int status = usable();
    if (!status && (d < 0 || d >= options.devices)) status = INVALID_DEVICE;
    if (!status) device = d;
    return none_or(status);
}
int pretend_getDeviceCount(int) {
    return value_or<int>(usable(), options.devices, -1);
}
int pretend_deviceCanAccessPeer(int, int, int) { return value_or(usable(), 0, -1); }
PyObject *pretend__deviceEnsurePeerAccess(int, int) { return none_or(PEER_UNSUPPORTED); }

int pretend_deviceGetAttribute(int attribute, int d, int) {
    int status = usable();
    if (!status && (d < 0 || d >= options.devices)) status = INVALID_DEVICE;
    int value = 0;
    switch (attribute) {  // cudaDeviceAttr
    case 1: value = MOST_THREADS; break;                       // threads a block
    case 2: case 3: value = 1024; break;                       // the same in x and y
    case 4: value = 64; break;                                 // and z
    case 5: value = INT32_MAX; break;                          // blocks in x
    case 6: case 7: value = 65535; break;                      // in y and z
    case 8: value = 48 * 1024; break;                          // shared memory a block
    case 9: value = 64 * 1024; break;                          // constant memory
    case 10: value = WARP; break;
    case 12: value = 65536; break;                             // registers a block
    case 13: value = 1980000; break;                           // kHz
    case 14: value = ALIGNMENT; break;                         // of textures
    case 16: value = options.multiprocessors; break;
    case 39: value = 2048; break;                              // threads a multiprocessor
    case 75: value = options.capability / 10; break;
    case 76: value = options.capability % 10; break;
    case 81: value = 228 * 1024; break;                        // shared memory a multiprocessor
    case 82: value = 65536; break;                             // registers a multiprocessor
    case 97: value = 227 * 1024; break;                        // shared memory a block may ask for
    }
    return value_or(status, value, -1);
}

PyObject *pretend_getDeviceProperties(int d, int) {
    int status = usable();
    if (!status && (d < 0 || d >= options.devices)) status = INVALID_DEVICE;
    if (status) return raise_status(runtime_error, status);
    return Py_BuildValue(
        "{s:y,s:n,s:n,s:i,s:i,s:i,s:(iii),s:(iii),s:l,s:l,s:i,s:l,s:i,s:i,s:i,s:i}",
        "name", options.name.c_str(), "totalGlobalMem", (Py_ssize_t)options.memory,
        "sharedMemPerBlock", (Py_ssize_t)(48 * 1024), "regsPerBlock", 65536, "warpSize", WARP,
        "maxThreadsPerBlock", MOST_THREADS, "maxThreadsDim", 1024, 1024, 64,
        "maxGridSize", INT32_MAX, 65535, 65535, "major", options.capability / 10,
        "minor", options.capability % 10, "clockRate", 1980000,
        "multiProcessorCount", options.multiprocessors, "maxThreadsPerMultiProcessor", 2048,
        "l2CacheSize", 50 << 20, "memoryClockRate", 2619000, "memoryBusWidth", 5120);
}

PyObject *pretend_memGetInfo(int) {
    if (int status = usable()) return raise_status(runtime_error, status);
    return Py_BuildValue("(nn)", (Py_ssize_t)free_bytes(), (Py_ssize_t)options.memory);
}

PyObject *pretend_deviceSynchronize(int) {
    int status = usable();
    if (!status)
        status = of_captures([](Capture &c, Stream &s) {
            return s.device == device ? invalidate(c, CAPTURE_UNSUPPORTED) : 0;
        });
    if (!status) {
        counts.synchronizations++;
        drain();
        status = lost;
    }
    return none_or(status);
}

intptr_t pretend_malloc(size_t n, int) {
    intptr_t p = 0;
    int status = allocate(n, p);
    return value_or(status, p);
}
PyObject *pretend_free(intptr_t p, int) {
    return none_or(release(p));
}
intptr_t pretend_hostAlloc(size_t n, unsigned, int) {
    int status = usable();
    if (!status) status = unsafe();
    void *p = nullptr;
    if (!status && posix_memalign(&p, 64, std::max<size_t>(n, 1))) status = OUT_OF_MEMORY;
    if (p) {
        memset(p, 0xFF, n);
        pinned[(intptr_t)p] = n;
    }
    return value_or(status, (intptr_t)p);
}
PyObject *pretend_freeHost(intptr_t p, int) {
    int status = usable();
    if (!status) status = unsafe();
    if (!status && !pinned.count(p)) status = INVALID_VALUE;
    if (!status) {
        drain();
        pinned.erase(p);
        free((void *)p);
    }
    return none_or(status);
}
int pretend_pointerGetMemoryType(intptr_t p, int) {  // cudaMemoryType
    return value_or(usable(), block_of(p) ? 2 : is_pinned(p, 1) ? 1 : 0, -1);
}
PyObject *pretend_pointerGetAttributes(intptr_t p, int) {
    if (int status = usable()) return raise_status(runtime_error, status);
    auto block = block_of(p);
    int type = block ? 2 : is_pinned(p, 1) ? 1 : 0;
    return PyObject_CallFunction(attributes, "inni", block ? block->second.device : -2,
                                 (Py_ssize_t)(block ? p : 0), (Py_ssize_t)(type == 1 ? p : 0), type);
}

PyObject *pretend_memcpy(intptr_t to, intptr_t from, size_t n, int kind, int) {
    return none_or(copy(to, from, n, kind));
}
PyObject *pretend_memcpyAsync(intptr_t to, intptr_t from, size_t n, int kind, intptr_t stream, int) {
    return none_or(copy_on(stream, to, from, n, kind));
}
PyObject *pretend_memcpyPeer(intptr_t to, int, intptr_t from, int, size_t n, int) {
    return none_or(copy(to, from, n, DEVICE_TO_DEVICE));
}
PyObject *pretend_memcpyPeerAsync(intptr_t to, int, intptr_t from, int, size_t n, intptr_t stream,
                                  int) {
    return none_or(copy_on(stream, to, from, n, DEVICE_TO_DEVICE));
}
PyObject *pretend_memset(intptr_t p, int value, size_t n, int) {
    int status = unsafe();
    return none_or(status ? status : fill(p, value, n, 0));
}
PyObject *pretend_memsetAsync(intptr_t p, int value, size_t n, intptr_t stream, int) {
    return none_or(fill(p, value, n, stream));
}

intptr_t pretend_streamCreateWithPriority(unsigned flags, int priority, int) {
    intptr_t handle = 0;
    int status = new_stream(!(flags & 1), priority, handle);  // cudaStreamNonBlocking
    return value_or(status, handle);
}
intptr_t pretend_streamCreateWithFlags(unsigned flags, int) {
    return pretend_streamCreateWithPriority(flags, 0, 0);
}
intptr_t pretend_streamCreate(int) { return pretend_streamCreateWithPriority(0, 0, 0); }
PyObject *pretend_streamDestroy(intptr_t handle, int) {
    int status = usable();
    auto it = streams.find(handle);
    if (!status && it == streams.end()) status = INVALID_HANDLE;
    if (!status) {
        if (it->second.capture) it->second.capture->invalid = true;
        streams.erase(it);
    }
    return none_or(status);
}
PyObject *pretend_streamSynchronize(intptr_t handle, int) {
    return none_or(wait_for(handle));
}
PyObject *pretend_streamQuery(intptr_t handle, int) {
    Stream *stream;
    int status = find(handle, stream);
    if (!status && stream && stream->capture)
        status = invalidate(*stream->capture, CAPTURE_UNSUPPORTED);
    if (status) return raise_status(runtime_error, status);
    bool idle = pending.empty();
    drain(1);
    return PyLong_FromLong(idle ? 0 : NOT_READY);
}
int pretend_streamIsCapturing(intptr_t handle, int) {
    Stream *stream;
    int status = find(handle, stream);
    if (status == CAPTURE_INVALIDATED) {  // CuPy's own words
        PyErr_SetString(PyExc_RuntimeError, "the stream was capturing, but an error has "
                                            "invalidated the capture sequence");
        return -1;
    }
    return value_or(status, int(stream && stream->capture), -1);
}
struct OptionalInt {  // Cython's: how many of the optional arguments are given, and they
    int given, value;
};
PyObject *pretend_streamBeginCapture(intptr_t handle, int, OptionalInt *mode) {
    return none_or(begin_capture(handle, mode && mode->given ? mode->value : RELAXED));
}
intptr_t pretend_streamEndCapture(intptr_t handle, int) {
    Graph *graph = nullptr;
    int status = end_capture(handle, graph);
    return value_or(status, (intptr_t)graph);
}
PyObject *pretend_streamWaitEvent(intptr_t stream, intptr_t event, int, OptionalInt *) {
    return none_or(wait_event(stream, event));
}
unsigned pretend_streamGetFlags(intptr_t handle, int) {
    Stream *stream;
    int status = find(handle, stream);
    return value_or<unsigned>(status, stream && !stream->blocking, -1);
}
int pretend_streamGetPriority(intptr_t handle, int) {
    Stream *stream;
    int status = find(handle, stream);
    return value_or(status, stream ? stream->priority : 0, -1);
}

intptr_t pretend_eventCreateWithFlags(unsigned, int) {
    if (int status = usable()) return value_or<intptr_t>(status, 0);
    intptr_t handle = new_handle();
    events[handle] = std::make_shared<Event>();
    return handle;
}
intptr_t pretend_eventCreate(int) { return pretend_eventCreateWithFlags(0, 0); }
PyObject *pretend_eventDestroy(intptr_t handle, int) {
    return none_or(events.erase(handle) ? 0 : INVALID_HANDLE);
}
PyObject *pretend_eventRecord(intptr_t event, intptr_t stream, int) {
    return none_or(record(event, stream));
}
PyObject *pretend_eventQuery(intptr_t event, int) {
    int status = event_status(event, false);
    if (status && status != NOT_READY) return raise_status(runtime_error, status);
    return PyLong_FromLong(status);
}
PyObject *pretend_eventSynchronize(intptr_t event, int) {
    return none_or(event_status(event, true));
}
float pretend_eventElapsedTime(intptr_t from, intptr_t to, int) {
    int status = usable();
    auto a = events.find(from), b = events.find(to);
    if (!status && (a == events.end() || b == events.end())) status = INVALID_HANDLE;
    if (!status && !(a->second->passed && b->second->passed)) status = NOT_READY;
    if (status) return value_or<float>(status, 0, -1);
    return b->second->milliseconds - a->second->milliseconds;
}

intptr_t pretend_graphInstantiate(intptr_t graph, int) {
    if (!graphs.count((Graph *)graph)) return value_or<intptr_t>(INVALID_VALUE, 0);
    Graph *copy = new Graph(*(Graph *)graph);
    graphs.insert(copy);
    return (intptr_t)copy;
}
PyObject *pretend_graphDestroy(intptr_t graph, int) {
    if (!graphs.erase((Graph *)graph)) return none_or(INVALID_VALUE);
    delete (Graph *)graph;
    Py_RETURN_NONE;
}
PyObject *pretend_graphExecDestroy(intptr_t graph, int) { return pretend_graphDestroy(graph, 0); }
PyObject *pretend_graphLaunch(intptr_t graph, intptr_t stream, int) {
    return none_or(launch_graph((Graph *)graph, stream));
}
PyObject *pretend_graphUpload(intptr_t graph, intptr_t, int) {
    return none_or(graphs.count((Graph *)graph) ? usable() : INVALID_VALUE);
}

// --- the driver ------------------------------------------------------------------------------------

intptr_t pretend_ctxGetCurrent(int) { return usable() ? 0 : 0xC0DE + device; }
int pretend_ctxGetDevice(int) { return device; }

// A module is a shared library that modules.py has made; dlopen wants a file.
intptr_t pretend_moduleLoadData(PyObject *image, int) {
    int status = usable();
    if (!status) status = unsafe();
    if (status) {
        raise_status(driver_error, status);
        return 0;
    }
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(image, &bytes, &size)) return 0;
    char path[] = "/tmp/pretend-cuda-XXXXXX";  // a name that dlopen has not seen yet
    int file = mkstemp(path);
    bool written = file >= 0 && write(file, bytes, size) == size;
    void *library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (!library) PyErr_Format(PyExc_RuntimeError, "pretend CUDA: %s", written ? dlerror() : path);
    if (file >= 0) {
        close(file);
        unlink(path);
    }
    return (intptr_t)library;
}
PyObject *pretend_moduleUnload(intptr_t, int) { Py_RETURN_NONE; }  // graphs may hold its kernels

intptr_t pretend_moduleGetFunction(intptr_t library, PyObject *name, int) {
    const char *text = PyUnicode_AsUTF8(name);
    if (!text) return 0;
    auto kernel = (const Kernel *)dlsym((void *)library, (std::string("pretend_") + text).c_str());
    if (kernel) return (intptr_t) new Function{kernel, text};
    raise_status(driver_error, NOT_FOUND);
    return 0;
}
int pretend_funcGetAttribute(int attribute, intptr_t, int) {
    return attribute == 0 ? MOST_THREADS : 0;  // CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
}
PyObject *pretend_funcSetAttribute(intptr_t, int, int, int) { Py_RETURN_NONE; }
int pretend_occupancyMaxActiveBlocksPerMultiprocessor(intptr_t, int block, size_t, int) {
    return 2048 / std::max(block, 1);
}
PyObject *pretend_launchKernel(intptr_t function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                               unsigned by, unsigned bz, unsigned shared, intptr_t stream,
                               intptr_t arguments, intptr_t, int) {
    int status = launch((Function *)function, {gx, gy, gz}, {bx, by, bz}, shared, stream,
                        (void **)arguments);
    return none_or(status, driver_error);
}

// --- what tests ask of it and tell it --------------------------------------------------------------

void pretend_setup(PyObject *of_runtime, PyObject *of_driver, PyObject *pointer_attributes) {
    Py_INCREF(runtime_error = of_runtime);
    Py_INCREF(driver_error = of_driver);
    Py_INCREF(attributes = pointer_attributes);
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
}
// One option's value as text; null if there is none of that name.
PyObject *pretend_get(const char *name) {
    std::string n = name;
    if (n == "name") return PyUnicode_FromString(options.name.c_str());
    if (n == "fail_malloc")
        return PyUnicode_FromFormat("%ld", std::max(options.fail_malloc - counts.mallocs, 0L));
    auto it = numbers.find(n);
    if (it == numbers.end()) Py_RETURN_NONE;
    return PyUnicode_FromFormat("%ld", *it->second);
}
int pretend_set(const char *name, const char *text) {  // whether there is one of that name
    std::string n = name;
    if (n == "name") return options.name = text, 1;
    auto it = numbers.find(n);
    if (it == numbers.end()) return 0;
    drain();
    *it->second = atol(text);
    if (n == "fail_malloc" && options.fail_malloc) options.fail_malloc += counts.mallocs;
    options.devices = std::min<long>(options.devices, MOST_DEVICES);
    return 1;
}
size_t pretend_used(int d) { return used[d]; }
size_t pretend_peak(int d) { return peak[d]; }
void pretend_reset_peak() {
    for (int d = 0; d < MOST_DEVICES; d++) peak[d] = used[d];
}
PyObject *pretend_counts() {
    return Py_BuildValue("{s:l,s:l,s:l,s:l,s:l,s:l,s:l,s:l,s:l}", "launches", counts.launches,
                         "copies", counts.copies, "memsets", counts.memsets, "synchronizations",
                         counts.synchronizations, "mallocs", counts.mallocs, "frees", counts.frees,
                         "products", counts.products, "sorts", counts.sorts, "graph_launches",
                         counts.graph_launches);
}
PyObject *pretend_launched() {
    PyObject *found = PyDict_New();
    for (auto &[name, times] : launched) {
        PyObject *number = PyLong_FromLong(times);
        PyDict_SetItemString(found, name.c_str(), number);
        Py_DECREF(number);
    }
    return found;
}
PyObject *pretend_nodes(intptr_t graph) {
    if (!graphs.count((Graph *)graph)) return raise_status(runtime_error, INVALID_VALUE);
    PyObject *list = PyList_New(0);
    for (const Node &n : ((Graph *)graph)->nodes) {
        PyObject *item = Py_BuildValue("(ss(III)(III)n)", n.kind.c_str(), n.name.c_str(), n.grid[0],
                                       n.grid[1], n.grid[2], n.block[0], n.block[1], n.block[2],
                                       (Py_ssize_t)n.bytes);
        PyList_Append(list, item);
        Py_DECREF(item);
    }
    return list;
}
}
