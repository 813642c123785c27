"""Python with the pretend device: `python -m tests.pretend_cuda -m nin.train --backend cupy`."""

import os
import sys

from . import SITE, VARIABLE

os.environ.setdefault(VARIABLE, "")
paths = [str(SITE), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
