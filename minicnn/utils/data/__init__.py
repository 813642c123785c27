"""Datasets and the loader that makes batches of them, under the names of `torch.utils.data`."""

from .dataset import Dataset as Dataset
from .dataset import Subset as Subset
from .dataset import TensorDataset as TensorDataset
from .loader import DataLoader as DataLoader
