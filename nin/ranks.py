"""A training on several ranks (`--distributed`): who does what, and how all of them end.

Rank 0 has the run's directory, and alone prints, looks at the network's health and writes. The
others are told settings and state, take their parts of the same steps, and are silent. What one
rank finds after a step ends all of them after that step; what goes wrong on one ends all at once,
by MPI's Abort.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import minicnn
from minicnn import distributed
from minicnn.arguments import ArgumentError

from . import command_line, own_network
from . import data as datasets
from . import state as training_state
from .command_line import Failure, UsageError
from .data import Data
from .fit import Callback, Training
from .kind import Kind
from .presets import Preset
from .saving import Saver
from .signals import Interrupted, Signals
from .watch import Stuck

Result = TypeVar("Result")
STUCK = 1  # what a rank tells the others after a step; a signal is this and its number


class _EndedElsewhere(Exception):
    """Another rank says what ends the job; the argument is the exit status."""


def asked_for(flags: Sequence[str]) -> bool:
    """Whether a command line is one of several ranks'. It is asked before flags are understood."""
    return any(flag.partition("=")[0] == "--distributed" for flag in flags)


def run(
    prog: str,
    flags: Sequence[str],
    understood: Callable[[], Namespace],
    work: Callable[[Namespace], int],
) -> int:
    """`command_line.run` of `work(understood())` on every rank; if one of them fails, all end.

    One line says why, which names the rank. `understood` is the parsing of the flags, which may end
    the command.
    """
    try:
        distributed.init_process_group()
    except distributed.DistributedError as error:
        text = f"--distributed: {error}"
        if distributed.launched()[1]:  # another process of this machine says it
            return command_line.WRONG_USE

        def refused() -> int:
            understood()
            return _refuse(text)

        return command_line.run(prog, refused)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    if size > 1:
        prog = f"{prog}: rank {rank} of {size}"

    def quietly() -> int:
        with ExitStack() as quiet:
            if rank:
                nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
                quiet.enter_context(redirect_stdout(nowhere))
                quiet.enter_context(redirect_stderr(nowhere))
            try:
                compare("arguments", " ".join(flags))
                compare("minicnn", minicnn.__version__)
                compare("numpy", np.__version__)
                compare("Python", platform.python_version())
                status = work(understood())
                distributed.destroy_process_group()  # all have come to their end
                return status
            except _EndedElsewhere as end:
                return int(end.args[0])
            except KeyboardInterrupt:
                if rank:
                    time.sleep(1)  # rank 0 has mostly got it, too, and ends this one
                raise

    status = command_line.run(prog, quietly)
    if distributed.is_initialized():
        distributed.abort(status)
    return status


def _refuse(text: str) -> int:
    raise UsageError(text)


def together(work: Callable[[], Result]) -> Result:
    """work() on every rank. If it is refused on some, all end, and the first of those says why."""
    error: UsageError | Failure | None = None
    try:
        result = work()
    except (UsageError, Failure) as caught:
        error = caught
    statuses = [command_line.FAILED, command_line.WRONG_USE]
    found = distributed.collect(None if error is None else statuses[isinstance(error, UsageError)])
    for rank, status in enumerate(found):
        if status is not None:
            mine = rank == distributed.get_rank()
            distributed.destroy_process_group()
            if mine and error is not None:
                raise error
            raise _EndedElsewhere(status)
    return result


def compare(name: str, own: str) -> None:
    """End all ranks if this is not the same on all."""
    first, *others = distributed.collect(own)
    for rank, other in enumerate(others, 1):
        if other != first:
            text = f"rank {rank} has {name} {_short(other)}, rank 0 has {_short(first)}"
            together(partial(_refuse, text) if distributed.get_rank() == 0 else int)


def _short(text: str) -> str:
    return repr(text if len(text) < 100 else f"{text[:100]}…")


class Begun(NamedTuple):
    """What begins a run."""

    preset: Preset
    environment: dict[str, Any]
    data: Data


def begun(
    begin: Callable[[], Begun], data_dir: Path | None, with_nccl: bool
) -> tuple[dict[str, Any], Data]:
    """The environment of what rank 0 begins, and the data, which each rank reads from its own disk.

    The data are compared, and GPUs dealt out. Ends all ranks for what is wrong on one.
    """
    rank = distributed.get_rank()
    first = together(lambda: None if rank else begin())
    if distributed.get_world_size() == 1:
        assert first is not None
        return first.environment, first.data
    preset, environment = distributed.collect(first and (first.preset, first.environment))[0]
    kind = Kind.of_json(environment["kind"])
    data = together(lambda: first.data if first else datasets.load(preset, data_dir, kind)[0])
    compare("data", f"of SHA-256 {data.sha256()[:16]}…")
    if preset.own_network:
        compare("a network", f"of SHA-256 {together(partial(_code, preset))[:16]}…")
    if environment["backend"] == "cupy":
        try:
            distributed.connect_gpus(with_nccl)
        except distributed.DistributedError as error:
            text = f"--distributed: {error}"
            together(lambda: 0 if rank else _refuse(text))
        except RuntimeError as error:  # of NCCL, which another rank may be waiting in
            raise Failure(f"--distributed: {error}") from None
    return environment, data


def _code(preset: Preset) -> str:
    """The hash of the file that the network is made by."""
    try:
        return own_network.digest(preset.network)
    except ArgumentError as error:
        raise Failure(f"--network: {error}") from None


def threads(environment: dict[str, Any]) -> int:
    """The threads of each rank: as many as the run had, if it goes on with as many ranks."""
    if environment["ranks"] == distributed.get_world_size():
        return int(environment["threads"])
    return distributed.available_cores()


class Together(Callback):
    """Callbacks that end the training of all ranks after the same step, whichever they end."""

    def __init__(self, callbacks: Sequence[Callback], signals: Signals) -> None:
        self.callbacks, self.signals = callbacks, signals
        self.since, self.waited = time.perf_counter(), distributed.seconds()

    def on_batch(self, training: Training) -> None:
        self._agree(lambda each: each.on_batch(training))

    def on_epoch(self, training: Training) -> None:
        self._agree(lambda each: each.on_epoch(training))

    def on_end(self, training: Training) -> None:
        for each in self.callbacks:
            each.on_end(training)

    def share(self) -> float:
        """The part of the time since it was made that this rank has waited for the others' sums."""
        return (distributed.seconds() - self.waited) / (time.perf_counter() - self.since)

    def _agree(self, call: Callable[[Callback], None]) -> None:
        found = 0
        try:
            for each in self.callbacks:
                call(each)
        except Stuck:
            found = STUCK
        except Interrupted:
            assert self.signals.came is not None
            found = STUCK + self.signals.came
        found = distributed.largest(found)
        if found == STUCK:
            raise Stuck
        if found:
            self.signals.came = found - STUCK
            raise Interrupted


def lead(start: Callable[[], Saver]) -> Saver:
    """What `start` gives, and its training on all ranks, as it stands."""
    saver = together(start)
    if distributed.get_world_size() > 1:
        distributed.collect((saver.training.preset, training_state.take(saver.training)))
    return saver


def follow(start: Callable[[Preset], Training], data: Data, signals: Signals) -> int:
    """What a rank does that is not the first: the exit status, which rank 0 tells."""
    while True:
        together(lambda: None)
        preset, state = distributed.collect(None)[0]
        training = start(preset)
        training_state.restore(training, state)
        training.callbacks.append(Together([signals], signals))
        try:
            training.fit()
            if data.validation is not None:
                training.test(data.test.to(training.device))
        except (Interrupted, Stuck):
            pass
        except Exception as error:
            said = own_network.said(error, preset.network)
            if said is None or training.device.backend.out_of_memory(error):
                raise
            raise Failure(said) from None
        status = told(None, training)
        if status is not None:
            return status


def told(status: int | None, training: Training) -> int | None:
    """Rank 0's exit status, on all; None to start again. Rank 0 says what the ranks have cost."""
    (steps,) = (each for each in training.callbacks if isinstance(each, Together))
    found = distributed.collect((status, steps.share()))
    status, _ = found[0]
    if status is not None and distributed.get_rank() == 0 and len(found) > 1:
        shares = [f"{share:.1%}" for _, share in found]
        text = f"Ranks    {', '.join(shares)} of the time waited for one another"
        print(text, file=sys.stderr, flush=True)
    return status


def described() -> str:
    """The ranks, in words: where they are, and which processes."""
    found = distributed.collect((platform.node(), os.getpid()))
    machines = {node: [pid for other, pid in found if other == node] for node, _ in found}
    where = [f"{node}: processes {', '.join(map(str, p))}" for node, p in machines.items()]
    return f"{len(found)}, of {distributed.available_cores()} cores each ({'; '.join(where)})"
