"""Programs on several ranks, started by the mpiexec that pip's mpich brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import minicnn
from minicnn import distributed

ROOT = Path(__file__).parents[1]
MPIEXEC = Path(sys.executable).with_name("mpiexec")


def command(n, *arguments):
    """The command line that starts Python on n ranks."""
    return [str(MPIEXEC), "-n", str(n), sys.executable, *map(str, arguments)]


def start(n, *arguments, **environment):
    """A job on n ranks, as a Popen with pipes for stdout and stderr, in a group of its own."""
    return subprocess.Popen(
        command(n, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment_now(), **environment},
    )


def environment_now():
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def run(n, *arguments, **environment):
    """Such a job's status, stdout and stderr. Raises TimeoutExpired for one that hangs."""
    job = start(n, *arguments, **environment)
    try:
        out, err = job.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        job.kill()
        raise
    return job.returncode, out, err


def results(n, function, *arguments):
    """function(*arguments) on each of n ranks of a group: what they return, in their order."""
    call = f"{function.__name__}(*{arguments!r})"
    device = minicnn.get_default_device().type
    code = (
        f"from {function.__module__} import {function.__name__}; from tests import mpi;"
        f" mpi.report({device!r}, lambda: {call})"
    )
    status, out, err = run(n, "-c", code)
    assert status == 0, err
    return json.loads(out)


def report(device, work):
    """Within a job: print what work() has returned on the ranks of a group."""
    distributed.init_process_group()
    minicnn.set_default_device(device)
    found = distributed.collect(work())
    if distributed.get_rank() == 0:
        print(json.dumps(found))
