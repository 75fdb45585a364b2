"""What a command prints, also as a picture: an SVG that loads no font and nothing else from elsewhere."""

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from sparsemod.errors import InvalidInput

COLUMNS = 118
"""Width of a picture in characters, whatever the terminal's: its text must not depend on who draws it."""

# rich's own frame names a font on somebody's server.
FRAME = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace"
)


def recorder() -> Console:
    """A console that prints as usual, COLUMNS wide, and remembers what it printed."""
    return Console(record=True, width=COLUMNS, highlight=False)


def check_path(path: Path) -> None:
    """Raise InvalidInput unless a picture can be written to `path`."""
    if path.suffix != ".svg" or path.is_dir() or not path.parent.is_dir():
        raise InvalidInput("--record", str(path), "a file NAME.svg in a folder that exists")


def write_svg(console: Console, path: Path, title: str) -> None:
    """Write what `console` has printed since its beginning to `path`, under `title`."""
    path.write_text(console.export_svg(title=title, code_format=FRAME, clear=False), encoding="utf-8")
