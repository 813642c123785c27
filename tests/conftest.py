"""Settings for all tests.

`pytest --backend cupy` runs on a GPU what can run there, and `--backend emulator` does the same
without one, on the stand-in for CuPy in tests/emulator.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, settings

# About the real CuPy, not the emulator; `make test` installs it where there is Linux.
REAL_CUPY = {"test_nvrtc.py", "test_cupy_api.py", "test_trouble.py"}

# The same examples every time, so that what passes here passes elsewhere.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
# For mutation testing, where it is enough to know that a test fails.
settings.register_profile("verdict", settings.get_profile("fixed"), phases=[Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


def pytest_addoption(parser):
    parser.addoption("--backend", choices=("numpy", "cupy", "emulator"), default="numpy")


def pytest_configure(config):
    if config.getoption("--backend") == "emulator":
        sys.path.insert(0, str(Path(__file__).parent / "emulator"))


def pytest_ignore_collect(collection_path, config):
    real = config.getoption("--backend") != "emulator" and sys.platform == "linux"
    return True if collection_path.name in REAL_CUPY and not real else None


@pytest.fixture(scope="session")
def backend(request):
    """The backend under test."""
    from minicnn import backends

    return backends.load("cpu" if request.config.getoption("--backend") == "numpy" else "cuda")
