"""The data sets, under the names of `torchvision.datasets`."""

from .cifar import CIFAR10 as CIFAR10
from .cifar import CIFAR100 as CIFAR100
from .errors import DatasetError as DatasetError
from .errors import DatasetNotFound as DatasetNotFound
from .errors import FolderError as FolderError
from .fake import FakeData as FakeData
from .folder import ImageFolder as ImageFolder
from .mnist import EMNIST as EMNIST
from .mnist import KMNIST as KMNIST
from .mnist import MNIST as MNIST
from .mnist import FashionMNIST as FashionMNIST
