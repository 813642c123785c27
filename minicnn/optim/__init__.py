"""Optimisers under the names of `torch.optim`."""

from .sgd import SGD as SGD
