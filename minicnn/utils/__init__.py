"""`minicnn.utils.data`, where PyTorch's users look for the DataLoader."""

from . import data as data
