"""The report card of an exported network: what it is, what it costs and where that is known from, what it fits, how to use it.

`Card` holds the content; `markdown` and `html` fill the templates card.md and card.html with it. The HTML page needs nothing else: style and
plot are inside.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sparsemod.templates import render

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """`numeric` columns are set flush right."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A heading, then text, table, code and figure: what is there of them."""

    title: str
    text: str = ""
    table: Table | None = None
    code: str = ""
    figure: bool = False


@dataclass(frozen=True)
class Card:
    """`tiles`: (what, value, remark), the figures that one looks for first. `figure` is the memory plot, as SVG and as PNG."""

    title: str
    subtitle: str
    tiles: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    svg: str = ""
    png: bytes = b""


PLOT = "memory.png"


def markdown(card: Card) -> str:
    """The card as Markdown; the plot lies beside it as `memory.png`. No text of the card is read as markup."""
    return render("sparsemod.delivery", "card.md", card=card, plot=PLOT, plain=_plain)


def html(card: Card) -> str:
    """The card as one page without outside requests."""
    return render("sparsemod.delivery", "card.html", card=card)


def _plain(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line. Underscores stay: within words they mean nothing."""
    return re.sub(r"([\\`*<|\[\]])", r"\\\1", " ".join(text.splitlines()))
