"""minicnn: a convolutional network engine written from scratch on NumPy and CuPy.

The names are PyTorch's. Start reading at `autograd.py`, then `operations/`, `tensor.py`, `nn/`.
"""

from __future__ import annotations

__version__ = "0.1.0"

from . import interruption as interruption  # first, as the others take their time

# isort: split
from . import accelerator, backends, context, creation, cuda, methods, nn, onnx, optim, utils
from .absent import leave_out as _leave_out
from .creation import *  # noqa: F403
from .device import device, get_default_device, set_default_device
from .dtype import bool_ as bool
from .dtype import float32, float64, get_default_dtype, int32, int64, set_default_dtype, uint8
from .dtype import float32 as float
from .dtype import float64 as double
from .dtype import int32 as int
from .dtype import int64 as long
from .environment import show_config
from .grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .grad_mode import no_grad as inference_mode
from .gradcheck import gradcheck
from .methods import *  # noqa: F403
from .nn.functional import log_softmax, relu, softmax
from .random import Generator, manual_seed
from .serialization import load, save
from .tensor import Size, Tensor

__all__ = ["Generator", "Size", "Tensor", "accelerator", "backends", "context", "cuda", "nn"]
__all__ += ["bool", "double", "float", "float32", "float64", "int", "int32", "int64", "long"]
__all__ += ["device", "get_default_device", "get_default_dtype", "load", "manual_seed", "save"]
__all__ += ["set_default_device", "set_default_dtype"]
__all__ += ["enable_grad", "gradcheck", "is_grad_enabled", "no_grad", "set_grad_enabled"]
__all__ += ["inference_mode", "log_softmax", "onnx", "optim", "relu", "show_config"]
__all__ += ["softmax", "uint8", "utils"]
__all__ += creation.__all__
__all__ += methods.__all__

_leave_out(__name__)
