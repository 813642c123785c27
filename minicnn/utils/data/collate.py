"""Putting samples together as a batch, as `torch.utils.data.default_collate` does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from ...arguments import ArgumentError
from ...creation import stack, tensor
from ...device import get_default_device
from ...dtype import float64
from ...tensor import Tensor


def as_tensor(values: Any) -> Tensor:
    """A Tensor as it is, an array as one in the same memory, other numbers copied, on the host.

    An array in another byte order than the machine's is copied, too. Raises TypeError for what is
    not numbers.
    """
    if isinstance(values, Tensor):
        return values
    if not hasattr(values, "dtype"):
        return tensor(values, device="cpu")
    if getattr(values.dtype, "kind", "none") not in "biuf":
        raise TypeError(f"expected numbers, got {type(values).__name__} ({values.dtype})")
    if isinstance(values, (np.ndarray, np.generic)):
        # Of a subclass, such as a memory map, the array itself.
        values = np.asarray(values, values.dtype.newbyteorder("="))
    return Tensor(values)


def collate(samples: Sequence[Any]) -> Any:
    """Samples as a batch, of the types that `torch.utils.data.default_collate` returns.

    Tensors, arrays and numbers are stacked (Python's floats as float64), tuples, lists and mappings
    go part by part, strings and bytes stay as they are. Raises ArgumentError, naming the sample,
    where one's shape or parts differ from the first's, and TypeError for other things.
    """
    if not len(samples):
        raise ArgumentError("collate: there are no samples to make a batch of")
    first = samples[0]
    if isinstance(first, (str, bytes)):
        return samples
    if isinstance(first, Mapping):
        _alike(samples, Mapping, lambda sample: f"of the keys {sorted(map(repr, sample))}")
        parts = {key: collate([sample[key] for sample in samples]) for key in first}
        if not isinstance(first, MutableMapping):
            return parts
        batch = copy.copy(first)  # an OrderedDict stays one
        batch.update(parts)
        return batch
    if isinstance(first, Sequence):
        _alike(samples, Sequence, lambda sample: f"of {len(sample)} parts")
        lists = [collate(part) for part in zip(*samples, strict=True)]
        return type(first)(*lists) if hasattr(first, "_fields") else lists
    _alike(samples, object, _shape)
    if all(isinstance(s, Tensor) for s in samples):
        return stack(samples)
    try:
        if hasattr(first, "dtype"):
            return stack([as_tensor(sample) for sample in samples]).to(get_default_device())
        return tensor(list(samples), dtype=float64 if isinstance(first, float) else None)
    except TypeError:
        raise TypeError(
            f"collate: can't make a batch of {type(first).__name__}; a transform such as ToTensor"
            " makes tensors of images"
        ) from None


def _shape(sample: Any) -> str:
    if hasattr(sample, "shape") or isinstance(sample, (bool, int, float)):
        return f"of shape {tuple(getattr(sample, 'shape', ()))}"
    return type(sample).__name__


def _alike(samples: Sequence[Any], kind: type, describe: Callable[[Any], str]) -> None:
    """Refuse samples that are not all of one kind and of one description."""
    found = [describe(s) if isinstance(s, kind) else type(s).__name__ for s in samples]
    for i, description in enumerate(found):
        if description != found[0]:
            raise ArgumentError(
                f"collate: sample {i} of the batch is {description}, sample 0 {found[0]}"
            )
