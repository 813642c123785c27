"""One Markdown table of what `benchmarks.suite` measured: milliseconds an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLUMNS = (
    "PyTorch channels-last",
    "torch.compile",
    "JAX",
    "ONNX Runtime",
    "OpenVINO",
    "minicnn, auto",
    "minicnn, im2col",
    "own loop, auto",
    "own loop, im2col",
)
ROWS = (
    ("article", "train"),
    ("quick", "train"),
    ("paper", "train"),
    ("article", "predict"),
    ("quick", "predict"),
)


def table(directory: Path) -> str:
    """A row for each of `ROWS` that has a file of results, and the machine's line.

    Results of several machines, or of other versions, have a line each, with their rows' names.
    """
    lines = ["| ms an image | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    machines: dict[str, list[str]] = {}
    for preset, what in ROWS:
        path = directory / f"cpu-{preset}-{what}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        rows = [result["rows"].get(competitor) for competitor in COLUMNS]
        batch = next(row["batch"] for row in rows if row)
        name = f"`{preset}`, {'step' if what == 'train' else 'prediction'}, {batch} images"
        cells = [f"{row['ms_an_image']:.3g}" if row else "–" for row in rows]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        machines.setdefault(machine_line(result), []).append(name)
    for line, names in machines.items():
        lines += ["", line if len(machines) == 1 else f"{'; '.join(names)}: {line}"]
    return "\n".join(lines)


def machine_line(result: dict[str, Any]) -> str:
    """What a result was measured on."""
    machine = result["machine"]
    versions = {**result.get("versions", {}), "numpy": machine["numpy"], "torch": machine["torch"]}
    parts = [
        f"{machine['processor']} (family/model {machine['family_model']})",
        f"{machine['cores']} cores",
        f"Python {machine['python']}",
        *(f"{library} {versions[library]}" for library in sorted(versions)),
        *machine["numpy_blas"],
        f"PyTorch's kernels {machine['torch_cpu_capability']}",
    ]
    return ", ".join(parts)
