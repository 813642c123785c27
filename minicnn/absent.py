"""What PyTorch has and this engine leaves out on purpose: names, and what to do without them."""

from __future__ import annotations

import sys
from typing import Any

NORMALISATION = "networks here go without; an initialiser and a lower rate do instead"
NUMBERS = "numbers are float32 or float64; context.set_default(tf32=True) uses tensor cores"
COMPILER = "there is no compiler; minicnn.capture makes a step one graph on a GPU"
TIMES = "Python's cProfile shows where time goes"

ABSENT: dict[str, dict[str, str]] = {
    "minicnn": {
        **dict.fromkeys(("compile", "jit"), COMPILER),
        **dict.fromkeys(("amp", "autocast", "bfloat16", "float16", "half"), NUMBERS),
        "multiprocessing": "minicnn.processes trains on forked processes",
        "profiler": TIMES,
    },
    "minicnn.autograd": {
        "Function": "a function with the decorator minicnn.autograd.operation is an operation",
        "profiler": TIMES,
    },
    "minicnn.nn": {
        **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "LazyBatchNorm2d"), NORMALISATION),
        **dict.fromkeys(("LayerNorm", "GroupNorm", "LocalResponseNorm"), NORMALISATION),
        **dict.fromkeys(("RNN", "LSTM", "GRU", "Embedding"), "the engine is for images"),
        **dict.fromkeys(("Conv1d", "Conv3d", "ConvTranspose2d"), "Conv2d is the convolution here"),
        "DataParallel": "minicnn.parallel and minicnn.processes use all cores",
    },
    "minicnn.vision": {
        "models": "nin.networks has networks, and none comes with trained weights",
        "io": "datasets.ImageFolder reads picture files",
    },
}


def leave_out(module: str) -> None:
    """Let a module say, of a name that it leaves out, why, where it says that it has none."""

    def __getattr__(name: str) -> Any:
        why = ABSENT[module].get(name)
        reason = f": it is left out on purpose; {why}" if why else ""
        raise AttributeError(f"module {module!r} has no attribute {name!r}{reason}")

    sys.modules[module].__getattr__ = __getattr__  # type: ignore[method-assign]
