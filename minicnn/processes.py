"""A training step in micro-batches on several processes, with the results of as many threads.

Threads share Python's lock, which one of them holds between any two operations. Where operations
are short, as on small images, waiting for it takes longer than the way to another process. So
workers are forked, which have the model with all that it is. Parameters are moved to memory that
the processes share, so that an update reaches the workers by itself; a batch goes through a pipe.
"""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import signal
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .backends import Array, backend_of, host
from .backends import threads as cpu_threads
from .backends.layout import memory_order
from .nn.module import Module, Parameter
from .operations.winograd import FixedFilters
from .parallel import MicroBatches, Share, Taken
from .versions import owner

AVAILABLE = sys.platform == "linux"  # macOS's libraries do not work in a fork, Windows has none
Found = list[Any]  # of a model, what workers must know of


class WorkerDied(RuntimeError):
    """A worker has ended in the middle of its work; the message says how."""


class Shared(mmap.mmap):
    """Memory that a process shares with its forks."""


def shared(size: int, dtype: Any) -> Array:
    """Zeros (size,) in shared memory of their own."""
    return np.frombuffer(Shared(-1, max(1, size * np.dtype(dtype).itemsize)), dtype, size)


def share_memory(p: Parameter) -> None:
    """Move a parameter's values, in the same layout, to shared memory, unless they are there."""
    if not isinstance(getattr(owner(p.array).base, "obj", None), Shared):
        order, back = memory_order(p.array)
        along = p.array.transpose(order)
        moved = shared(p.array.size, p.array.dtype).reshape(along.shape)
        moved[...] = along
        p.array = moved.transpose(back)


class Processes(MicroBatches):
    """`MicroBatches`, bit for bit, on as many processes as that has threads: this one and forks.

    The workers have the model as it was when they were forked. The next call notices a change and
    forks new workers; the values of parameters, and `train` and `eval`, reach the workers without
    that. The state of your own classes can't be compared, so a model that does not consist of
    minicnn's layers alone runs on threads; so do a model with buffers or with parameters that share
    memory, and images that require grad. A program that replaces a function or class of minicnn
    must do so before workers are forked.

    The memory of parameters is moved: what was a view of it, as by `detach()`, is none any more. In
    a child that somebody else forks it becomes the child's own.

    Raises RuntimeError where `AVAILABLE` is False, and WorkerDied if a worker is killed, when no
    gradients have been added.
    """

    def __init__(
        self,
        model: Module,
        *,
        threads: int | None = None,
        micro_batch: int = 8,
        blas_threads: int = 1,
    ) -> None:
        if not AVAILABLE:
            raise RuntimeError("Processes: only Linux forks reliably; use MicroBatches")
        super().__init__(model, threads=threads, micro_batch=micro_batch, blas_threads=blas_threads)
        self._workers_now: _Workers | None = None
        self._up_to_date()  # before the program has more threads, which a fork is without

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_workers_now": None}

    @property
    def forked(self) -> bool:
        """Whether there are workers now: a model that they can't have runs on threads."""
        return self._workers_now is not None

    def close(self) -> None:
        """End the workers; the next call forks others."""
        workers, self._workers_now = self._workers_now, None
        if workers is not None:
            workers.end()

    def _all_taken(self, shares: list[Share]) -> list[Taken]:
        x = shares[0].work.x
        on_threads = x.requires_grad or backend_of(x.array) is not host
        workers = None if on_threads else self._up_to_date()
        if workers is None:
            return super()._all_taken(shares)
        try:
            answers = workers.all_taken(shares)
        except BaseException:  # one has died, or they are at work still, as after Ctrl-C
            self.close()
            raise
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers  # type: ignore[return-value]

    def _up_to_date(self) -> _Workers | None:
        """Workers that have the model as it is, or None for a model that runs on threads."""
        found = self._found()
        if self._workers_now is not None and self._workers_now.found != found:
            self.close()
        if self._workers_now is None and found is not None and self.threads > 1:
            parameters = list(self.model.parameters())
            if len({id(owner(p.array)) for p in parameters}) == len(parameters):
                for p in parameters:
                    share_memory(p)
                self._workers_now = _Workers(self, parameters, self._found() or [])
        return self._workers_now

    def _found(self) -> Found | None:
        """What the model goes by, but for values and modes; None where that can't be compared."""
        found: Found = [self.threads, self.blas_threads]
        for module in self.model.modules():
            if not type(module).__module__.startswith("minicnn.nn."):
                return None
            found += id(module), type(module)
            for name, value in vars(module).items():
                if isinstance(value, Module):
                    found += name, id(value)
                elif isinstance(value, Parameter) and backend_of(value.array) is host:
                    found += name, id(value), id(value.array), value.needs_grad
                elif not isinstance(value, bool | int | float | str | tuple | None):
                    if name != "_kinds":
                        return None
                elif name != "training":
                    found += name, value
        return found


class _Worker(NamedTuple):
    """A fork, the pipe to it, and where it leaves its sums: flat memory for each parameter."""

    pid: int
    pipe: Connection
    room: list[Array]

    def died(self) -> WorkerDied:
        how = "has ended"
        with suppress(ChildProcessError):  # somebody else has waited for it
            end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            if end is not None and end.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                how = f"was ended by signal {end.si_status}, {signal.strsignal(end.si_status)}"
        return WorkerDied(
            f"Processes: worker {self.pid} {how}; if that was for want of memory, take smaller"
            " micro-batches or fewer processes"
        )

    def end(self) -> None:
        self.pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # it has nothing to save
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class _Workers:
    """The workers that were forked with a model of which that was found."""

    def __init__(self, whose: Processes, parameters: list[Parameter], found: Found) -> None:
        self.model, self.modules = whose.model, list(whose.model.modules())
        self.parameters, self.arrays = parameters, [p.array for p in parameters]
        self.found: Found | None = found
        self.blas_threads = whose.blas_threads
        self.workers: list[_Worker] = []
        self.end = weakref.finalize(whose, _end, self.workers, os.getpid())  # at exit, too
        try:
            while len(self.workers) < whose.threads - 1:
                self._fork()
        except BaseException:
            self.end()
            raise
        _in_use.add(self)

    def _fork(self) -> None:
        here, there = Pipe()
        room = [shared(array.size, array.dtype) for array in self.arrays]
        # A worker leaves it to the parent what these end, and is born with them blocked.
        ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
        try:
            with warnings.catch_warnings():
                # Python warns that a lock may be held by a thread that the fork is without. A
                # worker uses NumPy, the BLAS and minicnn, which see to theirs when a fork is made.
                warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                self._work(there, room)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()
        self.workers.append(_Worker(pid, here, room))
        try:
            here.recv_bytes()  # once it holds none of this process's files any more
        except (EOFError, OSError):
            raise self.workers[-1].died() from None

    def leave(self) -> None:
        """In another's fork: the workers are the parent's, and so is the parameters' memory."""
        for worker in self.workers:
            worker.pipe.close()  # a worker goes when nobody holds the other end any more
        self.found = None
        for p, array in zip(self.parameters, self.arrays, strict=True):
            if p.array is array:
                p.array = array.copy(order="K")

    # --- in the parent ---------------------------------------------------------------------------

    def all_taken(self, shares: list[Share]) -> list[Taken | Exception]:
        """What has become of the shares, of which the first is taken here."""
        message = pickle.dumps((shares, [module.training for module in self.modules]), -1)
        asked = [w for w, each in zip(self.workers, shares[1:], strict=True) if each.pieces]
        for worker in asked:
            try:
                worker.pipe.send_bytes(message)
            except OSError:
                raise worker.died() from None
        answers = [self._take(shares[0]), *map(self._answer, asked)]
        return answers + [Taken([], {}, []) for _ in shares[len(answers) :]]

    def _answer(self, worker: _Worker) -> Taken | Exception:
        try:
            answer = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            raise worker.died() from None
        if isinstance(answer, Exception):
            return answer
        results, places, draws = answer
        sums = {
            self.parameters[i]: worker.room[i].reshape(shape).transpose(back)
            for i, shape, back in places
        }
        return Taken(results, sums, draws)

    # --- in the parent and in a worker -----------------------------------------------------------

    def _take(self, share: Share) -> Taken | Exception:
        fixed = FixedFilters(p.array for p in self.parameters)
        try:
            return share.take(self.model, fixed, threading.Event())
        except Exception as error:
            return error

    # --- in a worker -----------------------------------------------------------------------------

    def _work(self, pipe: Connection, room: list[Array]) -> NoReturn:
        """Take shares until the parent closes the pipe. Nothing else of the parent's runs here."""
        number, own = len(self.workers) + 1, pipe.fileno()
        try:
            gc.freeze()  # the parent's objects are not finalized here
            # Not its files: a lock that it lets go is free, and pipes of siblings end with it.
            os.closerange(3, own)
            os.closerange(max(3, own + 1), 1 + max(map(int, os.listdir("/proc/self/fd"))))
            for p, array in zip(self.parameters, self.arrays, strict=True):
                p.array = array  # where others that run this model have left it (see `leave`)
            pipe.send_bytes(b"ready")
            with cpu_threads.blas_threads(self.blas_threads):
                while True:
                    shares, modes = pickle.loads(pipe.recv_bytes())
                    for module, mode in zip(self.modules, modes, strict=True):
                        module.training = mode
                    pipe.send_bytes(self._packed(self._take(shares[number]), room))
        except (EOFError, OSError):
            os._exit(0)
        finally:
            os._exit(1)

    def _packed(self, taken: Taken | Exception, room: list[Array]) -> bytes:
        """A worker's answer; its sums go into `room`, along memory."""
        if isinstance(taken, Exception):
            try:
                message = pickle.dumps(taken, -1)
                pickle.loads(message)
            except Exception:
                message = pickle.dumps(RuntimeError(f"{type(taken).__name__}: {taken}"), -1)
            return message
        numbers = {p: i for i, p in enumerate(self.parameters)}
        places = []
        for p, g in taken.sums.items():
            order, back = memory_order(g)
            along, i = g.transpose(order), numbers[p]  # type: ignore[index]
            room[i].reshape(along.shape)[...] = along
            places.append((i, along.shape, back))
        return pickle.dumps((taken.results, places, taken.draws), -1)


def _end(workers: list[_Worker], parent: int) -> None:
    if os.getpid() == parent:
        for worker in workers:
            worker.end()


_in_use: weakref.WeakSet[_Workers] = weakref.WeakSet()


def _leave_behind() -> None:
    for workers in _in_use:
        workers.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
