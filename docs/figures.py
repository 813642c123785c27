"""For `make docs`: pictures become figures that say what to see, and which command made them.

On a page a picture is a line of its own, ![what to see](name.png), and the command that drew it
stands in parentheses in the paragraph below, as it does below tables. On the site the picture's
text is its caption, the command stands in smaller type, and a click enlarges the picture
(site.js; without JavaScript it opens alone).
"""

from __future__ import annotations

import re

PICTURE = re.compile(r"^( *)!\[([^\]]+)\]\(([^)]+)\)(\{[^}]*\})?$", re.MULTILINE)
COMMAND = re.compile(r"^\(`(?:python -m|make) ", re.MULTILINE)


def closing(text: str, start: int) -> int:
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError(f"no parenthesis closes that of {text[start : start + 40]!r}")


def set_small(markdown: str) -> str:
    """The page with the commands in parentheses as paragraphs of their own, of the class `made`."""
    done, rest = "", markdown
    while found := COMMAND.search(rest):
        end = closing(rest, found.start())
        done += rest[: found.start()] + rest[found.start() : end] + "\n{: .made }\n"
        rest = rest[end:].lstrip(" ")
        if not rest.startswith("\n"):
            done += "\n"  # what went on in the same paragraph is one of its own
    return done + rest


def figure(picture: re.Match[str]) -> str:
    indent, text, name, attributes = picture.groups("")
    lines = (
        '<figure markdown="1">',
        f"[![{text}]({name}){attributes}]({name}){{ .enlarge }}",
        f"<figcaption>{text}</figcaption>",
        "</figure>",
    )
    return "\n".join(indent + line for line in lines)


def on_page_markdown(markdown: str, **_: object) -> str:
    """MkDocs' hook: the page with figures in place of pictures."""
    return PICTURE.sub(figure, set_small(markdown))
