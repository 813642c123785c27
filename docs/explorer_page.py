"""For `make docs`: the explorer, as a page of the site.

`docs/figures/explore.json` is what `python -m nin.study explore` has written of a run; the page
around it is made anew, from the files in nin/study/explorer as they are now.
"""

from __future__ import annotations

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from nin.study.explore import page

CONTENTS = Path(__file__).parent / "figures" / "explore.json"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """MkDocs' hook: all pages, and the explorer's."""
    html = page(json.loads(CONTENTS.read_text(encoding="utf-8")))
    files.append(File.generated(config, "explore.html", content=html))
