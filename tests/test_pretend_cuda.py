"""The pretend CUDA device does what a GPU does, and refuses what CUDA and cuBLAS refuse."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

from . import pretend_cuda

pytestmark = pytest.mark.pretend


@pytest.fixture(scope="module")
def cupy():
    import cupy

    return cupy


@pytest.fixture
def stream(cupy):
    with cupy.cuda.Stream(non_blocking=True) as stream:
        yield stream


def alone(code, **options):
    """What a program prints and how it ends, in a process of its own with a device like this."""
    said = ",".join(f"{name}={value}" for name, value in options.items())
    code = "import cupy, numpy, os\nfrom tests import pretend_cuda\n" + code
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, pretend_cuda.VARIABLE: said},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


# --- memory --------------------------------------------------------------------------------------


def test_new_memory_is_not_a_number(cupy):
    with cupy.cuda.using_allocator(None):
        assert np.isnan(cupy.empty(1000).get()).all()


def test_what_is_allocated_is_counted(cupy):
    pretend_cuda.reset_peak()
    before = pretend_cuda.used()
    with cupy.cuda.using_allocator(None):
        x = cupy.empty(2**20, "uint8")
        assert pretend_cuda.used() == before + 2**20
        del x
    assert pretend_cuda.used() == before
    assert pretend_cuda.peak() == before + 2**20


LOSE = """
cupy.cuda.set_allocator(None)
copy = cupy.RawKernel('extern "C" __global__ void copy(const float *x, int i, float *y) '
                      '{ y[0] = x[i]; }', 'copy')
def read(x, i):
    try:
        copy((1,), (1,), (x, numpy.int32(i), cupy.empty(1, 'float32')))
        cupy.cuda.runtime.deviceSynchronize()
    except Exception as error:
        print("caught:", str(error).split(":")[0])
x, z = cupy.zeros(1024, 'float32'), cupy.zeros(1, 'float32')
"""


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("read(x, 1024)", "kernel copy touches byte 4096 of a block of 4096"),
        ("p = x.data.ptr; del x; read(p, 0)", "memory that was given back"),
        ("read(numpy.zeros(9).ctypes.data, 0)", "argument 0 of kernel copy 1 bytes from"),
    ],
    ids=["behind its end", "freed", "of the host"],
)
def test_a_kernel_that_reads_what_is_not_there_loses_the_device(code, what):
    output = alone(LOSE + code.replace("p, 0", "cupy.uint64(p), 0") + "\nread(z, 0)")
    assert what in output
    first, second = (line for line in output.splitlines() if line.startswith("caught:"))
    assert first == second == "caught: cudaErrorIllegalAddress"


def test_a_graph_that_uses_freed_memory_loses_the_device():
    output = alone("""
cupy.cuda.set_allocator(None)
x = cupy.zeros(1024)
with cupy.cuda.Stream(non_blocking=True) as stream:
    stream.begin_capture()
    x += 1
    graph = stream.end_capture()
    graph.launch()
    stream.synchronize()
    print(x.sum())
    del x
    graph.launch()
    stream.synchronize()
""")
    assert output.startswith("1024.0\n")
    assert "kernel cupy_add__float64_float_float64 touches" in output
    assert "memory that was given back" in output


def test_pinned_memory_is_written_when_the_copy_is_done(cupy):
    memory = cupy.cuda.alloc_pinned_memory(8)
    host = np.frombuffer(memory, float, 1)
    host[0] = 5
    cupy.ones(1).get(out=host, blocking=False)
    assert host[0] == 5
    cupy.cuda.get_current_stream().synchronize()
    assert host[0] == 1


def test_a_forked_process_has_no_device():
    output = alone("""
x = cupy.zeros(1)
if not os.fork():
    x.get()
os.wait()
""")
    assert "cudaErrorInitializationError" in output


# --- threads -------------------------------------------------------------------------------------


def kernel(cupy, name, body):
    source = f'extern "C" __global__ void {name}(const int *x, int *y) {{ {body} }}'
    return cupy.RawKernel(source, name)


def test_threads_of_a_block_wait_for_one_another(cupy):
    reverse = kernel(
        cupy,
        "reverse",
        """
        extern __shared__ int all[];
        all[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
        __syncthreads();
        y[blockIdx.x * blockDim.x + threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
        """,
    )
    x, y = cupy.arange(3000, dtype="int32"), cupy.empty(3000, "int32")
    reverse((3,), (1000,), (x, y), shared_mem=4000)
    assert (y.get() == x.get().reshape(3, 1000)[:, ::-1].ravel()).all()


def test_threads_of_a_warp_show_one_another_what_they_have(cupy):
    sums = kernel(
        cupy,
        "sums",
        """
        int sum = x[threadIdx.x];
        for (int k = 16; k; k /= 2) sum += __shfl_down_sync(0xffffffff, sum, k);
        unsigned odd = __ballot_sync(0xffffffff, x[threadIdx.x] % 2);
        if (threadIdx.x % 32 == 0) { y[threadIdx.x / 16] = sum; y[threadIdx.x / 16 + 1] = odd; }
        """,
    )
    x, y = cupy.arange(64, dtype="int32"), cupy.empty(4, "int32")
    sums((1,), (64,), (x, y))
    assert y.get().tolist() == [496, -1431655766, 1520, -1431655766]


@pytest.mark.parametrize("n", [1, 31, 700, 70_000])
def test_cupys_scans_masks_and_reductions(cupy, n):
    x = np.random.default_rng(n).integers(-9, 9, n)
    y = cupy.asarray(x)
    assert (cupy.cumsum(y).get() == x.cumsum()).all()
    assert (y[y > 3].get() == x[x > 3]).all()
    assert y.sum() == x.sum() and y.argmax() == x.argmax()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "float64", "complex64"])
def test_sorting(cupy, dtype):
    x = np.random.default_rng(0).integers(0, 9, (4, 50)).astype(dtype)
    if x.dtype.kind in "fc":
        x[1, 7] = np.nan
    y = cupy.asarray(x)
    assert np.array_equal(cupy.sort(y).get(), np.sort(x), equal_nan=x.dtype.kind in "fc")
    assert (cupy.argsort(y, axis=0).get() == np.argsort(x, axis=0, kind="stable")).all()


# --- streams and graphs --------------------------------------------------------------------------


def test_what_is_captured_is_done_when_the_graph_is_launched(cupy, stream):
    x = cupy.arange(4.0)
    stream.begin_capture()
    y = x * 2
    graph = stream.end_capture()
    for k in range(2):
        x[...] = k
        graph.launch()
        assert y.get().tolist() == [2 * k] * 4


def test_a_graphs_nodes_can_be_listed(cupy, stream):
    x, y = cupy.ones((5, 3)), cupy.empty((5, 3))
    x + y  # compiled now
    stream.begin_capture()
    x += y
    y.data.copy_from_device_async(x.data, x.nbytes)
    x.data.memset_async(0, 8)
    graph = stream.end_capture()
    nodes = pretend_cuda.nodes(graph)
    assert [node.kind for node in nodes] == ["kernel", "memcpy", "memset"]
    assert nodes[0].name == "cupy_add__float64_float64_float64"
    assert (nodes[0].grid, nodes[0].block) == ((1, 1, 1), (15, 1, 1))
    assert (nodes[1].name, nodes[1].bytes, nodes[2].bytes) == ("device to device", 120, 8)


@pytest.mark.parametrize(
    ("forbidden", "status"),
    [
        ("stream.synchronize()", 900),
        ("stream.done", 900),
        ("cupy.cuda.runtime.deviceSynchronize()", 900),
        ("stream.record().synchronize()", 907),
        ("stream.wait_event(before)", 905),
        ("stream.begin_capture()", 903),
    ],
)
def test_what_cuda_forbids_in_a_capture_ends_it(cupy, stream, forbidden, status):
    scope = {"cupy": cupy, "stream": stream, "x": cupy.ones(1), "before": stream.record()}
    stream.begin_capture()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as caught:
        eval(forbidden, scope)
    assert caught.value.status == status
    with pytest.raises(RuntimeError):
        scope["x"].fill(0)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
        stream.end_capture()


def test_the_legacy_stream_waits_for_blocking_streams_so_not_while_one_is_captured(cupy):
    x = cupy.ones(1)
    with cupy.cuda.Stream() as stream:
        stream.begin_capture()
        with (
            cupy.cuda.Stream.null,
            pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Implicit"),
        ):
            x.fill(0)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()


@pytest.mark.parametrize(("mode", "allowed"), [(0, False), (1, False), (2, True)])
def test_memory_is_allocated_in_a_relaxed_capture_alone(cupy, stream, mode, allowed):
    stream.begin_capture(mode)
    if allowed:
        cupy.cuda.runtime.free(cupy.cuda.runtime.malloc(1))
        stream.end_capture()
    else:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Unsupported"):
            cupy.cuda.runtime.malloc(1)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()


@pytest.mark.parametrize("joined", [True, False])
def test_a_stream_that_waits_for_a_captured_one_is_captured_too(cupy, stream, joined):
    x, other = cupy.zeros(3), cupy.cuda.Stream(non_blocking=True)
    x += 1
    stream.begin_capture()
    other.wait_event(stream.record())
    with other:
        x += 1
    if joined:
        stream.wait_event(other.record())
        assert len(pretend_cuda.nodes(stream.end_capture())) == 1
    else:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Unjoined"):
            stream.end_capture()


# --- cuBLAS --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shapes", [((5, 7), (7, 3)), ((4, 5, 70), (4, 70, 9)), ((300,), (300,))])
def test_cupys_products(cupy, dtype, shapes):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    assert np.allclose((cupy.asarray(x) @ cupy.asarray(y)).get(), x @ y, rtol=1e-4, atol=1e-4)


def test_tf32_has_eleven_digits(cupy):
    from cupy._core import get_compute_type, set_compute_type
    from cupy._core._routines_linalg import COMPUTE_TYPE_TF32

    x, before = cupy.full((4, 4), 1 + 2**-12, "float32"), get_compute_type(np.float32)
    assert (x @ x).get()[0, 0] > 4
    set_compute_type(np.float32, COMPUTE_TYPE_TF32)
    try:
        assert (x @ x).get()[0, 0] == 4
    finally:
        set_compute_type(np.float32, before)


@pytest.fixture
def sgemm(cupy):
    """y = x x by cublasSgemm, for a square x, with a leading dimension and a workspace."""
    from cupy.cuda.device import get_cublas_handle

    def product(x, leading=None, workspace=None):
        handle, n, y = ctypes.c_void_p(get_cublas_handle()), len(x), cupy.empty_like(x)
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        px, py = ctypes.c_void_p(x.data.ptr), ctypes.c_void_p(y.data.ptr)
        library = pretend_cuda.cublas()
        library.cublasSetStream_v2(handle, ctypes.c_void_p(0))
        if workspace is not None:
            address, size = ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(workspace.nbytes)
            assert library.cublasSetWorkspace_v2(handle, address, size) == 0
        factors = ctypes.byref(one), px, leading or n, px, n, ctypes.byref(zero)
        status = library.cublasSgemm_v2(handle, 0, 0, n, n, n, *factors, py, n)
        return y.get() if status == 0 else status

    return product


def test_a_workspace_changes_the_last_digit_and_is_overwritten(cupy, sgemm):
    x = cupy.asarray(np.random.default_rng(0).standard_normal((100, 100)), "float32")
    workspace = cupy.zeros(2**10, "uint8")
    plain, cut = sgemm(x), sgemm(x, workspace=workspace)
    assert np.allclose(plain, cut, atol=1e-4) and not np.array_equal(plain, cut)
    assert workspace.all()


def test_a_leading_dimension_below_the_rows_is_refused(cupy, sgemm):
    x = cupy.ones((9, 9), "float32")
    assert (sgemm(x, leading=9) == 9).all()
    assert sgemm(x, leading=8) == 7  # CUBLAS_STATUS_INVALID_VALUE


# --- what it can be told to be -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "call", "says"),
    [
        ({"driver": 0}, "print(cupy.cuda.runtime.driverGetVersion())", "0"),
        ({"driver": 11080}, "cupy.zeros(1)", "cudaErrorInsufficientDriver"),
        ({"runtime": 13000, "driver": 12090}, "cupy.zeros(1)", "cudaErrorInsufficientDriver"),
        ({"devices": 0}, "cupy.zeros(1)", "cudaErrorNoDevice"),
        ({"devices": 2}, "cupy.cuda.Device(2).use()", "cudaErrorInvalidDevice"),
        ({"memory": 2**20}, "cupy.zeros(2**18)", "Out of memory allocating 2,097,152 bytes"),
        ({"memory": 2**20, "taken": 2**20}, "cupy.zeros(1)", "Out of memory allocating 512 bytes"),
        ({"fail_malloc": 2}, "cupy.zeros(1); y = cupy.zeros(1000)", "(allocated so far"),
        ({"nvrtc": "missing"}, "cupy.zeros(1) + 1", 'Failure finding "libnvrtc.so"'),
        ({"headers": "missing"}, "cupy.zeros(1) + 1", "Failed to find CUDA headers"),
        ({"cublas": "missing"}, "x = cupy.ones((2, 2)); x @ x", "libcublas.so"),
        (
            {"mig": "1g.10gb"},
            "print(cupy.cuda.runtime.getDeviceProperties(0)['name'])",
            "MIG 1g.10gb",
        ),
        ({"capability": 70}, "print(cupy.cuda.Device().compute_capability)", "70"),
        ({"nonsense": 1}, "", "has no option 'nonsense'"),
    ],
    ids=str,
)
def test_it_can_be_told_to_be(options, call, says):
    assert says in alone(call, **options)


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("7", 0), ("1", 1), ("1,0", 2), ("0,x,1", 1)]
)
def test_cuda_visible_devices_hides_the_others(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    output = alone("print(cupy.cuda.runtime.getDeviceCount())", devices=2)
    assert output.startswith(f"{count}\n") if count else "cudaErrorNoDevice" in output


def test_each_device_has_its_own_memory():
    output = alone(
        """
cupy.cuda.set_allocator(None)
with cupy.cuda.Device(1):
    x = cupy.ones(4)
    print((x + 1).device.id, pretend_cuda.used(0), pretend_cuda.used(1))
try:
    x + 1
except ValueError as error:
    print(error)
""",
        devices=2,
    )
    assert output.startswith("1 0 32\n")
    assert "Peer access is unavailable" in output


def test_in_a_block_it_is_something_else(cupy):
    with pretend_cuda.being(memory=2**30, taken=2**29):
        free, whole = cupy.cuda.runtime.memGetInfo()
        assert whole == 2**30 and free <= 2**29
    assert cupy.cuda.runtime.memGetInfo()[1] > 2**30
