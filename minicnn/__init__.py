"""minicnn: a convolutional network engine, written from nothing on arrays.

The names are PyTorch's. Start reading at `autograd.py`, then `operations/`, `tensor.py`, `nn/`.
"""

from __future__ import annotations

__version__ = "0.1.0"

from . import context, creation, cuda, methods, nn, onnx, optim, utils
from .creation import *  # noqa: F403
from .device import device, get_default_device, set_default_device
from .dtype import bool_, double, float32, float64, int32, int64, long, uint8
from .environment import show_config
from .grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .gradcheck import gradcheck
from .methods import *  # noqa: F403
from .nn.functional import log_softmax, relu, softmax
from .random import Generator, manual_seed
from .serialization import load, save
from .tensor import Tensor

__all__ = ["Generator", "Tensor", "context", "cuda", "nn", "onnx", "optim", "utils"]
__all__ += ["bool_", "double", "float32", "float64", "int32", "int64", "long", "uint8"]
__all__ += ["device", "get_default_device", "load", "manual_seed", "save", "set_default_device"]
__all__ += ["enable_grad", "gradcheck", "is_grad_enabled", "no_grad", "set_grad_enabled"]
__all__ += ["log_softmax", "relu", "show_config", "softmax"]
__all__ += creation.__all__
__all__ += methods.__all__
