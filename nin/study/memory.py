"""What a step allocates, as the allocator counts it."""

from __future__ import annotations

import tracemalloc

import minicnn
from minicnn import Tensor, nn

from ..kind import Kind
from ..presets import Preset


def drawn(n: int, preset: Preset, kind: Kind, device: minicnn.device) -> tuple[Tensor, Tensor]:
    """n images as a preset's network sees this kind, and their classes (n,): a batch at random."""
    x = minicnn.randn(n, kind.channels, *preset.input_size(kind), device=device)
    return x, minicnn.randint(0, len(kind.classes), (n,), device=device)


def allocated(model: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int | None, int | None]:
    """Bytes, as the allocator counts them.

    What a forward pass leaves for the backward pass, and the most at once in a training step and in
    a prediction (None for a GPU, whose pool does not count that).
    """
    if x.device.type == "cuda":
        pool = x.device.backend.xp.get_default_memory_pool()
        before = pool.used_bytes()
        loss = nn.CrossEntropyLoss()(model(x), y)
        kept = pool.used_bytes() - before
        loss.backward()
        return kept, None, None
    tracemalloc.start()  # NumPy reports its arrays to it
    try:
        with minicnn.no_grad():
            model(x)
        prediction = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        loss = nn.CrossEntropyLoss()(model(x), y)
        kept = tracemalloc.get_traced_memory()[0] - before
        loss.backward()
        return kept, tracemalloc.get_traced_memory()[1] - before, prediction
    finally:
        tracemalloc.stop()
