"""Training on several processes and machines: N ranks compute what one process computes.

Each rank takes its part of the same batch, in the same order of images and with the same masks, and
the gradients of all are added. So N ranks have the losses of one, step by step, to rounding. MPI
carries it, through mpi4py, and NCCL between GPUs. Names are those of `torch.distributed` where
they mean the same. Where `init_process_group` was not called, there is one rank, and nothing to
wait for.

Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training".
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import numpy as np

from . import context, installing, parallel
from .arguments import ArgumentError, one_of, whole
from .autograd import common_backend
from .backends import Array, backend_of, host, load
from .backends.layout import memory_order
from .backends.threads import parts
from .nn.utils.clip_grad import gradient_arrays
from .tensor import Tensor
from .versions import changed_in_place

# How many processes a launcher says that it has started, and which of this machine's this one is.
LAUNCHERS = (
    ("PMI_SIZE", "MPI_LOCALRANKID"),  # MPICH, Intel MPI
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),  # Open MPI
    ("SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),  # srun
)
GPUS = "CUDA_VISIBLE_DEVICES"
LAST_WORDS = 0.3  # seconds in which a launcher reads them, as it may drop what comes with the end
SPIN, NAP = 1e-4, 2e-5  # seconds that a wait keeps its core, and that it then sleeps at a time


class DistributedError(RuntimeError):
    """The processes can't work together; the message says why, in one line."""


class _Group:
    """The ranks of a program, as one of them sees them."""

    nccl: Any  # its communicator, where GPUs are connected by it

    def __init__(self, mpi: Any) -> None:
        self.mpi = mpi
        self.world = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self.world.Get_rank(), self.world.Get_size()
        here = self.world.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        self.seconds = 0.0
        self.cores = min(self.collect(_share_of_cores(here)))
        self.here, self.nccl = here, None

    def connect_gpus(self, with_nccl: bool) -> None:
        """See the function of this name."""
        visible = self.here.allgather(os.environ.get(GPUS))
        trouble = identity = None
        if len({*visible}) == 1:  # else the launcher has dealt them out
            names = visible[0].split(",") if visible[0] else None
            if names is None:
                os.environ[GPUS] = str(self.local_rank)
            elif self.local_rank < len(names):
                os.environ[GPUS] = names[self.local_rank]
            else:
                trouble = f"{GPUS} names {len(names)}"
        try:
            if trouble is None:
                load("cuda")
        except RuntimeError as error:
            trouble = f"this one finds none: {error}" if self.local_rank else str(error)
        if trouble is not None and self.local_rank:
            trouble = f"{self.local_size} ranks on a machine need as many GPUs, and {trouble}"
        elif trouble is None and with_nccl:
            from .backends import nccl

            try:
                identity = nccl.unique_id()
            except RuntimeError as error:
                trouble = str(error)
        for rank, each in enumerate(self.collect(trouble)):
            if each is not None:
                raise DistributedError(f"rank {rank}: {each}")
        if with_nccl:
            self.nccl = nccl.Communicator(self.size, self.world.bcast(identity), self.rank)

    @property
    def alone(self) -> bool:
        """Whether there is nothing to add up. NCCL does its work for one rank, too."""
        return self.size == 1 and self.nccl is None

    def wait(self, request: Any) -> None:
        """Wait so that signals are answered, and that other ranks on this core get on."""
        start = time.perf_counter()
        while not request.Test():
            if time.perf_counter() - start > SPIN:
                time.sleep(NAP)
        self.seconds += time.perf_counter() - start

    def collect(self, value: Any) -> list[Any]:
        return list(self.world.allgather(value))

    def sum_(self, array: Array) -> None:
        """Replace a contiguous array by the sum of all ranks'."""
        if self.nccl is not None and backend_of(array) is not host:
            self.nccl.all_reduce(array)
            return
        backend = backend_of(array)
        if backend.capturing():
            raise RuntimeError("all_reduce: MPI can't be part of a graph; init with 'nccl'")
        numbers = array if backend is host else backend.to_host(array)
        self.wait(self.world.Iallreduce(self.mpi.IN_PLACE, numbers))
        if backend is not host:
            array[...] = backend.from_host(numbers)


_group: _Group | None = None


def _share_of_cores(here: Any) -> int:
    """This rank's share of the cores that it may use: those of several are divided among them."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, parallel.available_cores() // here.Get_size())
    own = os.sched_getaffinity(0)
    everybodys = here.allgather(own)
    return max(1, int(sum(1 / sum(core in each for each in everybodys) for core in own) + 1e-9))


# --- the group -----------------------------------------------------------------------------------


def init_process_group(backend: str = "mpi") -> None:
    """Join the processes that mpiexec has started; without mpiexec there is one rank.

    `backend` is "mpi", where arrays of a GPU are added up by way of the host's memory, or "nccl",
    where each rank has a GPU of its own, which is chosen here and must not be in use before. A rank
    that ends by an exception from now on ends all others. Raises ArgumentError for another backend,
    and DistributedError if mpi4py or MPI is missing, if the launcher belongs to another MPI, or if
    there are more ranks on a machine than GPUs.
    """
    global _group
    one_of("init_process_group", "backend", backend, "mpi", "nccl")
    if _group is not None:
        raise RuntimeError("init_process_group: was called before")
    _group = _Group(_mpi())
    sys.excepthook = _end_all
    if backend == "nccl":
        connect_gpus()


def connect_gpus(with_nccl: bool = True) -> None:
    """Give each rank of a machine its own GPU and, if asked to, let NCCL add up their arrays.

    Those that CUDA_VISIBLE_DEVICES names are dealt out in order, unless the launcher has dealt them
    out. A rank must not have used a GPU before, beside the first rank of a machine. Raises
    DistributedError, on all ranks, if one finds no GPU or no NCCL.
    """
    if _group is not None:
        _group.connect_gpus(with_nccl)


def _mpi() -> Any:
    """mpi4py's MPI, which begins as it is imported."""
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"  # only one thread calls it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another MPI's launcher, which is refused below
            from mpi4py import MPI
    except ModuleNotFoundError:
        raise DistributedError(f"mpi4py is missing: {installing.how('mpi')}") from None
    except (ImportError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise DistributedError(
            f"mpi4py finds no MPI on this machine: {installing.how('mpi')} brings one ({line})"
        ) from None
    size, started = MPI.COMM_WORLD.Get_size(), launched()[0]
    if size == 1 and started > 1:
        library = MPI.Get_library_version().split("\n")[0].replace("\t", " ").strip(" \0")
        raise DistributedError(
            f"the launcher started {started} processes, each of which finds itself alone, as it is"
            f" not the launcher of mpi4py's MPI ({library}): use that one's mpiexec"
        )
    return MPI


def launched() -> tuple[int, int]:
    """How many processes the launcher has started, and the number of this one on its machine.

    They are read from its environment variables, without MPI. Without a launcher they are 1 and 0.
    """
    for size, local_rank in LAUNCHERS:
        with suppress(KeyError, ValueError):
            return int(os.environ[size]), int(os.environ[local_rank])
    return 1, 0


def _end_all(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Instead of waiting for ever for a rank that has failed, all end."""
    lines = traceback.format_exception(kind, error, where)
    lines.append(f"rank {get_rank()} of {get_world_size()} failed, so all end\n")
    sys.stderr.write("".join(lines))  # at once, as other ranks may write, too
    abort(1)


def abort(status: int) -> None:
    """End all ranks at once, with this exit status and without MPI's own messages."""
    if _group is None or _group.size == 1:
        destroy_process_group()
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    time.sleep(LAST_WORDS)
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    _group.mpi.COMM_WORLD.Abort(status)


def destroy_process_group() -> None:
    """Leave the group: from now on there is one rank."""
    global _group
    _group = None
    sys.excepthook = sys.__excepthook__


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return _group is not None


def get_rank() -> int:
    """The number of this rank, from 0."""
    return 0 if _group is None else _group.rank


def get_world_size() -> int:
    """How many ranks there are."""
    return 1 if _group is None else _group.size


def get_local_rank() -> int:
    """The number of this rank among those of its machine."""
    return 0 if _group is None else _group.local_rank


def available_cores() -> int:
    """The cores that a rank may use: its share of its machine, the smallest of all ranks'."""
    return parallel.available_cores() if _group is None else _group.cores


def capturable() -> bool:
    """Whether the sum of the gradients can be part of a captured graph: see `capture.Captured`."""
    return _group is None or _group.alone or _group.nccl is not None


def seconds() -> float:
    """How long this rank has waited for sums over all ranks, except those that NCCL makes."""
    return 0.0 if _group is None else _group.seconds


# --- what ranks tell each other ------------------------------------------------------------------


def barrier() -> None:
    """Wait until all ranks are here."""
    if _group is not None:
        _group.wait(_group.world.Ibarrier())


def all_reduce(tensor: Tensor) -> None:
    """Replace a tensor by the sum of all ranks' tensors, in place and outside of the tape.

    All must be of one shape and type.
    """
    if _group is not None and _group.size > 1:
        flat = backend_of(tensor.array).xp.array(tensor.array, order="C").reshape(-1)
        _group.sum_(flat)
        tensor.array[...] = flat.reshape(tensor.shape)
        changed_in_place(tensor.array, "all_reduce")


def broadcast(tensor: Tensor, src: int = 0) -> None:
    """Replace a tensor by that of rank `src`, in place and outside of the tape."""
    if not 0 <= whole("broadcast", "src", src, 0) < get_world_size():
        raise ArgumentError(f"broadcast: src must be one of {get_world_size()} ranks, got {src}")
    if _group is not None and _group.size > 1:
        backend = backend_of(tensor.array)
        numbers = np.ascontiguousarray(backend.to_host(tensor.array))
        _group.wait(_group.world.Ibcast(numbers, src))
        if _group.rank != src:
            tensor.array[...] = backend.from_host(numbers)
            changed_in_place(tensor.array, "broadcast")


def collect(value: Any) -> list[Any]:
    """The values of all ranks, in their order, on each rank. Anything that can be pickled."""
    return [value] if _group is None else _group.collect(value)


def largest(number: int) -> int:
    """The largest of the numbers of all ranks, which must be below 2⁶³."""
    if _group is None or _group.size == 1:
        return number
    numbers = np.array([number], "int64")
    _group.wait(_group.world.Iallreduce(_group.mpi.IN_PLACE, numbers, _group.mpi.MAX))
    return int(numbers[0])


# --- a step --------------------------------------------------------------------------------------


def part(n: int) -> slice:
    """Which of the n images of a batch this rank takes; some take none if ranks outnumber images.

    All ranks have as many, or one more.
    """
    return parts(whole("part", "n", n, 0), get_world_size())[get_rank()]


@contextmanager
def taking_part(n: int) -> Iterator[slice]:
    """`part(n)`. Within the block, dropout gives these images their masks of the whole batch."""
    mine = part(n)
    if get_world_size() == 1:
        yield mine
        return
    with context.using(first_image=mine.start, images=mine.stop - mine.start):
        yield mine


def all_reduce_gradients(
    parameters: Iterable[Tensor], loss: Tensor, weight: Any
) -> tuple[Tensor, Any]:
    """Turn the gradients of a part into those of the whole batch; return its loss and its weight.

    The loss of a part is a mean, and `weight` what its sum was divided by: the number of the part's
    images, or, with class weights or targets to ignore, the weight of the targets that count. With
    S_r and w_r of rank r, the whole batch's loss is Σ S_r / Σ w_r, and its gradients are
    Σ w_r·g_r / Σ w_r, all added up by one all-reduce of one array. A part without images has weight
    0 and gradients of 0, but it must have been through the network, as all ranks have to have
    gradients of the same parameters. Where a weight is 0, so must the sum be: labels that are
    smoothed over a class of weight 0 are not.
    """
    if _group is None or _group.alone:
        return loss, weight
    given = [p for p in parameters if p.grad_array is not None]
    backend = common_backend("all_reduce_gradients", *given, loss)
    xp = backend.xp
    arrays = gradient_arrays(given)
    along = arrays
    if arrays and arrays[0] is given[0].grad_array:  # each in an order that all ranks have
        along = [p.grad_array.transpose(memory_order(p.array)[0]) for p in given]  # type: ignore[union-attr]
    with backend.quiet():
        dtype = along[0].dtype if along else loss.dtype
        if isinstance(weight, Tensor):
            w = weight.array.reshape(1).astype(dtype)
        else:
            w = xp.full(1, weight, dtype)
        total = xp.where(w == 0, 0, loss.array.reshape(1).astype(w.dtype) * w)
        buffer = xp.concatenate([g.reshape(-1) * w for g in along] + [total, w])
        _group.sum_(buffer)
        weights = buffer[-1:]
        start = 0
        for g in along:
            # Where nothing counts, gradients are 0, as those of a loss are: see `mean_loss`.
            new = backend.divided(buffer[start : start + g.size], weights)
            g[...] = new.reshape(g.shape)
            start += g.size
        value = buffer[-2:-1] / weights
    for p in given:
        changed_in_place(p.grad_array, "all_reduce_gradients")
    return Tensor(value.reshape(())).to(loss.dtype), Tensor(weights.reshape(()))
