"""How more of what this package can use is installed, in words that work where the user stands.

The distribution has a name of its own, as `minicnn` and `nin` are other people's on the package
index; `import minicnn` and `import nin` are unaffected.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from pathlib import Path

from .invocation import on_path, python, quoted

NAME = "nin-from-scratch"
ROOT = Path(__file__).resolve().parents[1]  # a checkout, or where packages are installed


def how(extra: str = "") -> str:
    """The command that installs an extra of pyproject.toml, or what is needed in any case.

    From a checkout it is `pip install -e '.[EXTRA]'`; otherwise it names the distribution, with the
    file or the address that this one came from, if that was not the package index.
    """
    wanted = f"[{extra}]" if extra else ""
    if _is_checkout(ROOT):
        place = "." if os.path.samefile(".", ROOT) else str(ROOT)
        what = f"-e {quoted(place + wanted)}"
    else:
        what = quoted(f"{NAME}{wanted}{_source()}")
    return f"{_pip()} install {what}"


def _pip() -> str:
    pip = Path(sys.executable).with_name("pip")
    return "pip" if on_path("pip", pip) else f"{python()} -m pip"


def _is_checkout(root: Path) -> bool:
    try:
        text = (root / "pyproject.toml").read_text("utf-8")
    except (OSError, ValueError):
        return False
    return f'\nname = "{NAME}"\n' in text


def _source() -> str:
    """Where this was installed from, " @ URL" (PEP 610); "" if that was the package index."""
    try:
        text = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ""
    if not text:
        return ""
    origin = json.loads(text)
    url = origin["url"]
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f" @ {url}"
