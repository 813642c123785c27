"""What a notebook needs that leaves the site for Jupyter or Colab.

There it stands alone: the package is not installed, pages and pictures beside it are missing, and
cells are folded away by other means. A notebook is the dict that its JSON says.
"""

from __future__ import annotations

import base64
import copy
import mimetypes
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

SETUP = """\
# Installs the package if it is missing: it is not on the package index,
# so {where}.
import importlib.util
import shutil

if importlib.util.find_spec("minicnn") is None:
    gpu = "[cuda12]" if shutil.which("nvidia-smi") else ""  # CuPy
    %pip install --quiet "{requirement}"\
"""
# Without this Jupyter asks, when the notebook is opened, what it is to be run with.
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)(\{[^}]*\})?")


def offered(notebook: Any, page: Path, wheel: str, site: str = "") -> Any:
    """A copy of the executed notebook of a page for others' computers.

    `wheel` is the package's file beside the page. `site` is the address of the page, if it is
    known: then the package is installed from there, and links lead there.
    """
    notebook = copy.deepcopy(notebook)
    cells = notebook["cells"]
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = standing_alone(cell["source"], page, site)
        elif {"solution", "folded"} & set(cell["metadata"].get("tags", [])):
            fold(cell)
    notebook["metadata"]["kernelspec"] = KERNEL
    cells.insert(1, setup(wheel, site))  # below the title
    return notebook


def setup(wheel: str, site: str) -> dict[str, Any]:
    """The cell that installs the package, by one line of pip."""
    where = "it is fetched from the site" if site else f"put {wheel} beside this notebook"
    requirement = f"nin-from-scratch{{gpu}} @ {urljoin(site, wheel)}" if site else f"{wheel}{{gpu}}"
    return {
        "cell_type": "code",
        "id": "setup",
        "metadata": {},
        "source": SETUP.format(where=where, requirement=requirement),
        "outputs": [],
        "execution_count": None,
    }


def standing_alone(text: str, page: Path, site: str) -> str:
    """A page's Markdown with its pictures within, and links that lead somewhere or are none."""

    def without_neighbours(link: re.Match[str]) -> str:
        picture, words, place, _ = link.groups()
        if "://" in place:
            return f"[{words}]({place})"
        if picture:
            path = page.parent / place
            kind = mimetypes.guess_type(path.name)[0]
            return f"![{words}](data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()})"
        return f"[{words}]({urljoin(site, place.replace('.md', '.html'))})" if site else words

    return LINK.sub(without_neighbours, text)


def fold(cell: Any) -> None:
    """Hide code, and of a solution its outputs, too, by Jupyter's means and by Colab's."""
    solution = "solution" in cell["metadata"]["tags"]
    cell["metadata"]["jupyter"] = {"source_hidden": True, "outputs_hidden": solution}
    cell["metadata"]["cellView"] = "form"
    cell["metadata"]["collapsed"] = solution
    cell["source"] = f"# @title {'A solution' if solution else 'The code'}\n{cell['source']}"
