"""What a measurement was made on: it stands beside every figure."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy
import threadpoolctl
import torch

from minicnn.parallel import available_cores


def describe() -> dict[str, Any]:
    """Processor, cores, libraries, and the matrix kernels that they run."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    pairs = (line.partition(":") for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    blas = [
        f"{lib['internal_api']} {lib['version']} ({lib.get('architecture', '?')})"
        for lib in threadpoolctl.threadpool_info()
        if lib["user_api"] == "blas" and "numpy" in lib["filepath"]
    ]
    return {
        "processor": fields.get("model name", platform.processor()),
        "family_model": f"{fields.get('cpu family', '?')}/{fields.get('model', '?')}",
        "cores": available_cores(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numpy_blas": blas,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
