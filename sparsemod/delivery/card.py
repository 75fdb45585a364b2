"""The report card of an exported network: its description, its costs with their sources, the devices that it fits, and its usage.

`Card` holds the content; `markdown` and `html` render it with the templates card.md and card.html. The HTML page is self-contained:
it includes style and plot.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sparsemod.templates import render

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table. The columns `numeric` are right-aligned."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A heading, then optional text, table, code and figure, in this order."""

    title: str
    text: str = ""
    table: Table | None = None
    code: str = ""
    figure: bool = False


@dataclass(frozen=True)
class Card:
    """The card's content. `tiles`: the key figures, as (name, value, remark). `figure`: the memory plot, as SVG and as PNG."""

    title: str
    subtitle: str
    tiles: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    svg: str = ""
    png: bytes = b""


PLOT = "memory.png"


def markdown(card: Card) -> str:
    """Render the card as Markdown; the plot is a separate file, `memory.png`. The card's text is escaped."""
    return render("sparsemod.delivery", "card.md", card=card, plot=PLOT, plain=_plain)


def html(card: Card) -> str:
    """Render the card as one page without external requests."""
    return render("sparsemod.delivery", "card.html", card=card)


def _plain(text: str) -> str:
    """Escape text for Markdown, on one line. Underscores stay: within words they have no meaning."""
    return re.sub(r"([\\`*<|\[\]])", r"\\\1", " ".join(text.splitlines()))
