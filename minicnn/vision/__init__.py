"""Image data, under the names of `torchvision`."""

from . import datasets as datasets
from . import transforms as transforms
from . import utils as utils
