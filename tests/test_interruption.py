"""Ctrl-C at any moment of a command is one line and status 130, imports included."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.cpu
COMMANDS = {
    "train": ["-m", "nin.train", "--dataset", "silhouettes", "--limit-train", "5000"],
    "nin": ["nin", "study", "ablate", "--dataset", "silhouettes"],
    "gradcheck": ["-m", "minicnn.gradcheck", *["conv2d"] * 1000],  # so that it takes a while
}
SHORT = {"minicnn": ["-m", "minicnn"]}
# Imported by Python for itself before any of ours, it sends the signal when a module is looked for,
# and leaves a file when ours are.
SITE = """
import os, signal, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == os.environ.get("INTERRUPTED_AT"):
            os.kill(os.getpid(), signal.SIGINT)
        if name == "numpy":
            open("begun", "w").close()
sys.meta_path.insert(0, Finder)
"""


@pytest.fixture
def begun(tmp_path):
    """A command as a process, perhaps with a Ctrl-C when it first imports a module."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    script = tmp_path / "nin"  # as pip writes it
    script.write_text("import sys\nfrom nin.__main__ import main\nsys.exit(main())\n")

    def begin(name, module=""):
        first, *rest = (COMMANDS | SHORT)[name]
        root = str(Path(__file__).parents[1])
        path = os.pathsep.join([str(tmp_path / "site"), root])
        return subprocess.Popen(
            [sys.executable, str(script) if first == "nin" else first, *rest],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "INTERRUPTED_AT": module},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def ended(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, err, out


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("train", "numpy"),
        ("train", "minicnn.nn"),
        ("train", "PIL.Image"),
        ("train", "nin.fit"),
        ("nin", "numpy"),
        ("nin", "nin.command_line"),
        ("nin", "nin.study.ablate"),
        ("gradcheck", "numpy"),
        ("gradcheck", "minicnn.gradcheck.cases"),
    ],
)
def test_it_is_one_line_while_a_module_is_imported(begun, name, module):
    assert ended(begun(name, module)) == (130, "Interrupted.\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_one_line_at_any_moment(begun, tmp_path, name):
    draw = random.Random(name)
    for _ in range(3):
        process = begun(name)
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1))
        process.send_signal(signal.SIGINT)
        status, err, _ = ended(process)
        (tmp_path / "begun").unlink()
        assert (status, "Traceback" in err) == (130, False), err
        assert err.splitlines()[-1].startswith("Interrupted") or "--resume" in err


def test_it_stays_ignored_where_it_was(begun):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = begun("minicnn", "numpy")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended(process)[0] == 0


@pytest.mark.parametrize("code", ["import nin", "import minicnn", "import nin.train"])
def test_a_program_that_imports_the_packages_keeps_its_own(code):
    code += "; import signal; assert signal.getsignal(2) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
