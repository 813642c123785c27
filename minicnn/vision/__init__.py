"""Image data, under the names of `torchvision`."""

from .. import __version__ as __version__
from ..absent import leave_out as _leave_out
from . import datasets as datasets
from . import transforms as transforms
from . import utils as utils

_leave_out(__name__)
