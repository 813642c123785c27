"""For `make docs`: the site says at its foot from what it was built, and when."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[1]


def commit() -> str:
    """The commit that is checked out and its day; empty where there is no Git, or no commit."""
    command = ["git", "log", "-1", "--format=commit %h of %cs"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def on_config(config: MkDocsConfig) -> None:
    """MkDocs' hook: the line at the foot of every page."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    config.copyright = f"Built on {today} from {commit() or 'a copy without its history'}."
