"""Markdown for the reports: tables, texts of users that stay texts, and one HTML page with everything in it."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_mma.terminal import printable

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin-top: 2rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.93rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.88em; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; }
img { max-width: 100%; height: auto; }
blockquote { border-left: 4px solid #D55E00; margin-left: 0; padding-left: 1rem; }
"""


def table(head: Sequence, rows: Iterable[Sequence]) -> str:
    """A Markdown table of texts. Vertical bars in them do not end a cell."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(text).replace("|", "\\|") for text in line) + " |" for line in lines)


def escape(text: Any) -> str:
    """A text of one line that Markdown shows as it is, such as the name of a class; see `printable`."""
    # An underscore within a word means nothing.
    return re.sub(r"([\\`*\[\]<>~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", _one_line(text))


def code(text: Any) -> str:
    """A code span of one line, such as a path, whatever characters it has; see `printable`."""
    text = _one_line(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def sentence(text: Any) -> str:
    """`escape`, but names in backticks, such as `` `image_size` ``, stay code spans."""
    return re.sub(r"\\`([\w\\]+)\\`", lambda match: f"`{match[1]}`".replace("\\_", "_"), escape(text))


def _one_line(text: Any) -> str:
    return printable(" ".join(str(text).split()))


def to_html(text: str, pictures: Mapping[str, bytes], title: str) -> str:
    """Markdown as one page that needs no other file and no network.

    Args:
        text: Markdown. HTML in it is shown as text.
        pictures: Dict from the file names of its pictures to the content of PNG files.
        title: Title of the page.

    Returns:
        HTML text.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, content in pictures.items():
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{base64.b64encode(content).decode()}"')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(_one_line(title))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
