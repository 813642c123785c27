"""cuDNN's switches, which programs for PyTorch set: there is no cuDNN here, and they do nothing.

Results are the same from run to run whatever they say.
"""

from __future__ import annotations

enabled = benchmark = deterministic = allow_tf32 = False


def is_available() -> bool:
    return False


def version() -> int | None:
    return None
