"""Settings for all tests.

    pytest                          on NumPy
    pytest --backend cupy           on a GPU
    pytest --backend pretend        on CuPy and the pretend device of tests/pretend_cuda
    pytest -n auto                  in as many processes as there are cores

The device under test is the default device, so tests make tensors as programs do. Nothing is
skipped: tests marked `cpu`, of threads, files and the like, run in the first session alone, those
marked `cuda` in the others alone.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

import minicnn
from minicnn import backends

from . import pretend_cuda

collect_ignore = [] if sys.platform == "linux" else ["test_trouble.py"]  # it imports CuPy

# The same examples every time, so that what passes here passes elsewhere.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
# For mutation testing, where it is enough to know that a test fails.
settings.register_profile("verdict", settings.get_profile("fixed"), phases=[Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_addoption(parser):
    parser.addoption("--backend", choices=("numpy", "cupy", "pretend"), default="numpy")


def pytest_configure(config):
    # As in an environment that was activated: what commands say is to be typed begins so.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    config.addinivalue_line("markers", "cpu: about the CPU alone, in the NumPy session only")
    config.addinivalue_line("markers", "cuda: about a device, in the other sessions only")
    config.addinivalue_line("markers", "pretend: about the pretend device, in its session only")
    name = config.getoption("--backend")
    if name == "pretend":
        pretend_cuda.install()
    if name != "numpy":
        minicnn.set_default_device("cuda")


def pytest_collection_modifyitems(config, items):
    others = {"numpy": {"cuda", "pretend"}, "cupy": {"cpu", "pretend"}, "pretend": {"cpu"}}
    without = others[config.getoption("--backend")]
    left_out = [i for i in items if any(mark.name in without for mark in i.iter_markers())]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


drawn: set[str] = set()  # what tells apart the examples of tests/table.py that were drawn


def pytest_sessionfinish(session):
    drawn.update(getattr(sys.modules.get("tests.table"), "DRAWN", ()))
    if hasattr(session.config, "workeroutput"):  # one process of several
        session.config.workeroutput["drawn"] = drawn


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    drawn.update(getattr(node, "workeroutput", {}).get("drawn", ()))


def pytest_terminal_summary(terminalreporter):
    if drawn:
        terminalreporter.write_line(f"{len(drawn):,} cases drawn from tests/table.py")


@pytest.fixture(scope="session")
def backend():
    """The backend under test."""
    return minicnn.get_default_device().backend


@pytest.fixture(scope="session")
def backend_name():
    """What commands take after --backend: "numpy" or "cupy"."""
    return backends.NAMES[minicnn.get_default_device().type]


@pytest.fixture
def without_cupy(monkeypatch):
    """A machine on which CuPy is not installed."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "minicnn.backends.cupy", raising=False)


@pytest.fixture
def on_noise(capsys, monkeypatch):
    """A call of one of nin's commands in this process, on noise: status, stdout and stderr."""
    from . import noise

    noise.install(monkeypatch.setattr)

    def call(module, *arguments):
        try:
            status = module.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call
