"""Python runs this first if this directory is on PYTHONPATH: the tests' children get the device."""

import os
import sys
from pathlib import Path

if "PRETEND_CUDA" in os.environ:
    sys.path.insert(0, str(Path(__file__).parents[3]))
    from tests import pretend_cuda

    del sys.path[0]
    pretend_cuda.install()
