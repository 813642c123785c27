"""Image transforms, under the names of `torchvision.transforms`."""

from .colour import ColorJitter as ColorJitter
from .colour import Grayscale as Grayscale
from .compose import Compose as Compose
from .crop import CenterCrop as CenterCrop
from .crop import RandomCrop as RandomCrop
from .crop import RandomResizedCrop as RandomResizedCrop
from .erasing import RandomErasing as RandomErasing
from .flip import RandomHorizontalFlip as RandomHorizontalFlip
from .lambda_ import Lambda as Lambda
from .resampling import InterpolationMode as InterpolationMode
from .resize import Resize as Resize
from .tensors import Normalize as Normalize
from .tensors import PILToTensor as PILToTensor
from .tensors import ToTensor as ToTensor
from .transform import Transform as Transform
