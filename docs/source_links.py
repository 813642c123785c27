"""For `make docs`: a line that is only a link into the source shows what it leads to.

[any text](../minicnn/operations/pooling.py#max_pool2d) becomes, on the site, the text of that
function with its path and lines as they are now, open unless it is long. A name that is not there
stops the build, and tests/test_docs.py.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG = 60  # lines; what is longer is folded away
LINK = re.compile(r"^\[([^\]]+)\]\(\.\./([\w/.]+\.py)#([\w.]+)\)$", re.MULTILINE)


def definition(path: str, name: str) -> tuple[int, str]:
    """The first line, and the text, of what a file defines by a name; `Class.method` for a method.

    Raises LookupError if it defines no such thing.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    nodes: list[ast.stmt] = ast.parse(text).body
    for part in name.split("."):
        found = next((node for node in nodes if part in _names(node)), None)
        if found is None:
            raise LookupError(f"{path} defines no {name}")
        nodes = getattr(found, "body", [])
    first = min([found.lineno, *(d.lineno for d in getattr(found, "decorator_list", []))])
    lines = text.splitlines()[first - 1 : found.end_lineno]
    return first, textwrap.dedent("\n".join(lines))


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return [getattr(node, "name", "")]


def _shown(link: re.Match[str]) -> str:
    said, path, name = link.groups()
    first, text = definition(path, name)
    count = text.count("\n") + 1
    block = f'``` {{ .python .source linenums="{first}" }}\n{text}\n```'
    place = f"`{name}` in `{path}`, lines {first} to {first + count - 1}"
    title = place if said == name else f"{said}: {place}"
    fold = "???" if count > LONG else "???+"
    return f'{fold} quote "{title}"\n\n' + textwrap.indent(block, "    ")


def on_page_markdown(markdown: str, **_: object) -> str:
    """MkDocs' hook: the page, with the source in place of the links."""
    return LINK.sub(_shown, markdown)
