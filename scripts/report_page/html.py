"""Pieces of HTML from Python values; everything that comes from outside is escaped here."""

import base64
import html
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from analysis.pictures import png

# Colours follow the reader's own choice of light or dark. Pictures keep a white ground: their
# lines and words are black.
_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1b1b; --line: #d7d7d7;
  --card: #f6f6f4; --soft: #5c5c5c; }
@media (prefers-color-scheme: dark) { :root { --ground: #17181a; --ink: #e8e8e6; --line: #3a3c40;
  --card: #212327; --soft: #a5a7ab; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1200px; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
p, figcaption { color: var(--soft); margin: 0.3rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; max-width: 22rem; overflow-wrap: break-word; }
td.number { text-align: right; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
.row figure { flex: 1 1 20rem; }
figure { margin: 0; width: fit-content; max-width: 100%; min-width: 0; padding: 0.5rem;
  background: var(--card); border-radius: 6px; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 0.8rem; }
.clips img { width: 100%; } .clips figcaption { font-size: 0.85rem; overflow-wrap: anywhere; }
@media (max-width: 600px) { table { font-size: 0.85rem; } th, td { padding: 0.2rem 0.4rem; } }
details { margin: 0.7rem 0; } summary { cursor: pointer; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page that needs no other file.

    Args:
        title: Its name, as plain text.
        parts: HTML.
    """
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{text(title)}</h1>",
            *parts,
            "</body></html>",
        ]
    )


def text(value: object) -> str:
    """As HTML that shows the value; names of files need not be Unicode."""
    plain = str(value).encode("utf-8", "backslashreplace").decode()
    return html.escape(plain)


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"


def paragraph(words: str) -> str:
    return f"<p>{text(words)}</p>"


def folded(title: str, *parts: str) -> str:
    """Shown when its title is clicked."""
    return f"<details><summary>{text(title)}</summary>{''.join(parts)}</details>"


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Numbers to the right; a narrow screen scrolls the table, not the page."""
    lines = ["".join(f"<th>{text(cell)}</th>" for cell in head)]
    lines += ["".join(map(_cell, row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, (int, float)) else ""
    return f"<td{kind}>{text(value)}</td>"


def picture(figure: Figure, says: str) -> str:
    """A figure of matplotlib; `says` is for those who do not see it."""
    return _image(png(figure), "image/png", says, "")


def animation(webp: bytes, caption: str) -> str:
    return _image(webp, "image/webp", caption, f"<figcaption>{text(caption)}</figcaption>")


def _image(content: bytes, kind: str, says: str, caption: str) -> str:
    data = base64.b64encode(content).decode()
    source = f'<img src="data:{kind};base64,{data}" alt="{text(says)}">'
    return f"<figure>{source}{caption}</figure>"
