"""A command's output as an SVG that loads no font and no other external resource."""

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from sparsemod.errors import InvalidInput

COLUMNS = 118
"""Width of a picture in characters, independent of the terminal, so that every machine draws the same text."""

# rich's template loads a font from another server.
FRAME = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace"
)


def recorder() -> Console:
    """Return a console, COLUMNS wide, that records its output."""
    return Console(record=True, width=COLUMNS, highlight=False)


def check_path(path: Path) -> None:
    """Raise InvalidInput unless a picture can be written to `path`."""
    if path.suffix != ".svg" or path.is_dir() or not path.parent.is_dir():
        raise InvalidInput("--record", str(path), "a file NAME.svg in a folder that exists")


def write_svg(console: Console, path: Path, title: str) -> None:
    """Write the recorded output of `console` to `path`, with a title."""
    path.write_text(console.export_svg(title=title, code_format=FRAME, clear=False), encoding="utf-8")
