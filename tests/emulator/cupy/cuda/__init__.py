"""A device with 16 GiB, streams on which everything is done already, and graphs."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import Any

from .. import _array
from . import cublas as cublas
from . import device as device


class memory:
    class OutOfMemoryError(MemoryError):
        pass


class runtime:
    class CUDARuntimeError(RuntimeError):
        pass

    driverGetVersion = staticmethod(lambda: 13000)
    runtimeGetVersion = staticmethod(lambda: 13000)
    memGetInfo = staticmethod(lambda: (2**34, 2**34))
    getDevice = staticmethod(lambda: 0)
    getDeviceCount = staticmethod(lambda: 1)
    getDeviceProperties = staticmethod(
        lambda number: {"name": b"emulator", "major": 0, "minor": 0, "totalGlobalMem": 2**34}
    )
    deviceSynchronize = staticmethod(lambda: _array._not_while_capturing("deviceSynchronize"))


class MemoryPool:
    def malloc(self, size: int) -> None:
        raise AssertionError("arrays of the emulator come from NumPy")

    def total_bytes(self) -> int:
        return 0

    def used_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        _array._not_while_capturing("free_all_blocks")


_default_pool = MemoryPool()


@contextmanager
def using_allocator(allocator: Any = None) -> Any:
    yield


def alloc_pinned_memory(size: int) -> bytearray:
    _array._not_while_capturing("alloc_pinned_memory")
    return bytearray(size)


class Event:
    done = True

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.time = perf_counter()

    def record(self, stream: Any = None) -> None:
        self.time = perf_counter()

    def synchronize(self) -> None:
        _array._not_while_capturing("a wait for an event")


def get_elapsed_time(start: Event, end: Event) -> float:
    return 1000 * (end.time - start.time)


class Graph:
    def __init__(self, recording: Any) -> None:
        self._recording = recording

    def launch(self, stream: Any = None) -> None:
        for work in self._recording.work:
            work()

    def upload(self, stream: Any = None) -> None:
        pass


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr, self.null = id(self), null
        self._before: list[Stream] = []

    def __enter__(self) -> Stream:
        global _current
        self._before.append(_current)
        _current = self
        return self

    def __exit__(self, *exc: object) -> None:
        global _current
        _current = self._before.pop()

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record()
        return event

    def wait_event(self, event: Event) -> None:
        pass

    def synchronize(self) -> None:
        _array._not_while_capturing("a wait for a stream")

    def begin_capture(self, mode: Any = None) -> None:
        if self.null:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: the default stream")
        assert _current is self, "what is done now would go to another stream"
        _array.recording = _array.Recording()

    def end_capture(self) -> Graph:
        recording, _array.recording = _array.recording, None
        assert recording is not None
        recording.undo()
        return Graph(recording)


Stream.null = _current = Stream(null=True)  # type: ignore[attr-defined, assignment]


def get_current_stream() -> Stream:
    return _current
