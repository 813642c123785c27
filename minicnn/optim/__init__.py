"""Optimisers under the names of `torch.optim`."""

from . import lr_scheduler as lr_scheduler
from .sgd import SGD as SGD
