"""Modules, layers and initialisers under the names of `torch.nn`."""

from . import functional as functional
from . import init as init
from . import utils as utils
from .container import Sequential as Sequential
from .layers import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from .layers import AvgPool2d as AvgPool2d
from .layers import Conv2d as Conv2d
from .layers import CrossEntropyLoss as CrossEntropyLoss
from .layers import Dropout as Dropout
from .layers import Flatten as Flatten
from .layers import Linear as Linear
from .layers import MaxPool2d as MaxPool2d
from .layers import ReLU as ReLU
from .layers import Sigmoid as Sigmoid
from .layers import Softmax as Softmax
from .module import Module as Module
from .module import Parameter as Parameter
