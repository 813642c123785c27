"""Stands in for CuPy on a machine without a GPU, for the tests.

Arrays wrap NumPy's, but as CuPy's do they refuse to become NumPy arrays by themselves and to be
mixed with them, and results without axes stay arrays. New memory holds rubbish. The body of an
`ElementwiseKernel` is compiled by the machine's C++ compiler into a loop over its index, under
CuPy's rules for types; unlike on a GPU, an index outside a raw array is an error. cuBLAS is a few
lines of C with its interface.

Work happens at once, except while a stream is captured: then it is noted down, and what it did is
undone when the capture ends, so that only a launch of the graph does it. Asking for a number, and
cuBLAS by way of CuPy, are errors meanwhile, as with CuPy.
"""

from . import _core as _core
from . import cuda as cuda
from ._array import *  # noqa: F403
from ._kernel import ElementwiseKernel as ElementwiseKernel

__version__ = "emulator"
