"""For `make docs`: the package as a file on the site, for the notebooks to install.

It is not on the package index, so a notebook that runs elsewhere needs it from here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PATTERN = "nin_from_scratch-*-py3-none-any.whl"


def built() -> tuple[str, bytes]:
    """The wheel's name and what is in it, built by way of a source distribution.

    Raises RuntimeError, with what the build has printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the package can't be built:\n{done.stdout}{done.stderr}")
        (wheel,) = Path(folder).glob(PATTERN)
        return wheel.name, wheel.read_bytes()


def on_files(files: Files, config: MkDocsConfig) -> None:
    """MkDocs' hook: all pages, and the wheel beside those of the path."""
    name, content = built()
    files.append(File.generated(config, f"path/{name}", content=content))
