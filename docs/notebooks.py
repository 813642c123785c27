"""For `make docs`: pages that are notebooks, executed, with what they printed and drew.

The pages of docs/path are Markdown that jupytext reads as notebooks: each ``` python block is a
cell. They are run from top to bottom here, and a cell that fails stops the build. The site shows
the outputs, and offers the executed notebook. A cell with the tag "solution" is folded away with
its outputs, and of one with the tag "folded" the code. docs/offered.py makes the notebook of it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import textwrap
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from offered import offered  # beside this file
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "notebooks"  # executed ones, by what decides their outputs
PICTURES = ROOT / "docs" / "matplotlibrc"
TAGS = ("solution", "folded")
KERNEL = Config({"KernelManager": {"transport": "ipc"}})  # no TCP, of which a kernel warns
DRAWN, SHOWN = 160, 112  # pixels of an inch of a picture: its own (matplotlibrc), and a page's
WIDTH = 75  # characters of a line of code, so that a page need not be moved sideways
PRINTED = 80  # those of a printed line, as commands print tables for a terminal
HEADING = "Type it yourself, or run this page in Jupyter or on Colab"
HOW = """\
1. Download [this page as a notebook]({notebook}){{ download }}, and
   [the package]({wheel}){{ download }}, which is not on the package index.
2. *On your own computer:* put both into one folder, and open the notebook with Jupyter there.
   *On [Colab](https://colab.research.google.com/):* upload the notebook, and put the package into
   its files (the folder symbol at the left).
3. Run the cells from the top. The first one installs the package, if it is missing, by one line of
   pip; with a GPU it installs CuPy, too, and page 7 then trains there.

Solutions stay folded until you open them. In a checkout of the code you need no package, but
Jupyter in its environment: `.venv/bin/python -m pip install notebook`, then
`.venv/bin/jupyter notebook`.
"""


def executed(path: Path) -> Any:
    """The notebook with its outputs; run again only if it, or the code that it runs, has changed.

    Raises nbclient's CellExecutionError, with the cell and its traceback, and ValueError for a line
    of code that is too long.
    """
    text = path.read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="md")
    for cell in cells(notebook):
        for line in cell.source.splitlines():
            if len(line) > WIDTH:
                raise ValueError(f"{path}: more than {WIDTH} characters: {line}")
    code = [p for name in ("minicnn", "nin") for p in sorted((ROOT / name).rglob("*.py"))]
    decisive = [text.encode(), *(p.read_bytes() for p in [PICTURES, *code])]
    key = hashlib.sha256(b"".join(decisive)).hexdigest()[:16]
    kept = KEPT / f"{path.stem}-{key}.ipynb"
    if not kept.exists():
        where = {"metadata": {"path": str(ROOT)}}
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "MATPLOTLIBRC": str(PICTURES),
        }
        client = nbclient.NotebookClient(
            notebook, timeout=600, resources=where, record_timing=False, config=KERNEL
        )
        client.execute(env=environment)
        KEPT.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)


def cells(notebook: Any) -> list[Any]:
    """Those of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tag(cell: Any) -> str | None:
    """The one of a cell's tags that folds it away."""
    return next((each for each in cell.metadata.get("tags", []) if each in TAGS), None)


def page(notebook: Any, stem: str) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, and its pictures by their names."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        code, shown = f"``` python\n{cell.source}\n```", []
        for output in joined(cell.outputs):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                width = int.from_bytes(pictures[name][16:20], "big") * SHOWN // DRAWN
                shown.append(f'![{alternative(cell.source)}]({name}){{ width="{width}" }}')
            else:
                text = narrow(output.get("text", data.get("text/plain", "")))
                shown.append(f"``` {{ .text .output .no-copy }}\n{text.rstrip()}\n```")
        if tag(cell) == "solution":
            parts.append(folded("A solution", [code, *shown]))
        else:
            parts += [folded("The code", [code]) if tag(cell) else code, *shown]
    return "\n\n".join(parts), pictures


def joined(outputs: list[Any]) -> list[Any]:
    """What a cell printed, in one piece: a kernel sends it as it comes."""
    whole: list[Any] = []
    for output in outputs:
        if whole and output.output_type == whole[-1].output_type == "stream":
            whole[-1] = nbformat.v4.new_output("stream", text=whole[-1].text + output.text)
        else:
            whole.append(output)
    return whole


def narrow(text: str) -> str:
    """A cell's output in lines of PRINTED characters: a longer one goes on below, further in."""
    further = {"subsequent_indent": "    ", "drop_whitespace": False, "replace_whitespace": False}
    lines = [textwrap.wrap(line, PRINTED, **further) or [""] for line in text.splitlines()]
    return "\n".join(part.rstrip() for line in lines for part in line)


def folded(title: str, parts: list[str]) -> str:
    """These, under a title that opens them."""
    return f'??? note "{title}"\n\n' + textwrap.indent("\n\n".join(parts), "    ")


def alternative(source: str) -> str:
    """What a cell's picture shows, for who can't see it: the cell's last comment."""
    comments = re.findall(r"^# (.+)$", source, re.MULTILINE)
    return comments[-1] if comments else "What the cell above draws"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """MkDocs' hook: the pages of docs/path become what they are when executed."""
    wheels = [Path(file.src_uri).name for file in files if file.src_uri.endswith(".whl")]
    for file in list(files):
        if not file.src_uri.startswith("path/") or not file.src_uri.endswith(".md"):
            continue
        notebook = executed(Path(file.abs_src_path))
        if not cells(notebook):
            continue
        stem, wheel = Path(file.src_uri).stem, wheels[0]
        content, pictures = page(notebook, stem)
        title, minutes, rest = content.split("\n\n", 2)
        note = textwrap.indent(HOW.format(notebook=f"{stem}.ipynb", wheel=wheel), "    ")
        content = "\n\n".join([title, minutes, f'??? note "{HEADING}"\n\n{note}', rest])
        site = f"{config.site_url.rstrip('/')}/path/" if config.site_url else ""
        copy = nbformat.from_dict(offered(notebook, Path(file.abs_src_path), wheel, site))
        files.remove(file)
        files.append(File.generated(config, file.src_uri, content=content))
        for name, data in [*pictures.items(), (f"{stem}.ipynb", nbformat.writes(copy).encode())]:
            files.append(File.generated(config, f"path/{name}", content=data))
