"""Reading the documentation: its pages and the fenced blocks in them."""

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where it begins."""

    language: str
    text: str
    page: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str, pages: tuple[Path, ...] = PAGES) -> list[Block]:
    """The blocks of one language, page by page, in their order."""
    found = []
    for page in pages:
        text = page.read_text()
        for match in re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            if match[1] == language:
                found.append(Block(match[1], match[2], page.name, text[: match.start()].count("\n") + 1))
    return found


@cache
def built(name: str) -> str:
    """The page docs/NAME as mkdocs builds it, its generated parts in place."""
    text: str = generator().on_page_markdown((DOCS / name).read_text())
    return text


def tables(text: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Each table of a page: the heading above it (of level 3), and its rows as column -> cell."""
    for heading, _, rows in captioned_tables(text):
        yield heading, rows


def captioned_tables(text: str) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Each table of a page: the heading above it (of level 3), the line of text above it, and its rows as column -> cell."""
    heading, caption, header = "", "", []
    rows: list[dict[str, str]] = []
    for line in [*text.splitlines(), ""]:
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if line.startswith("|") and not header:
            header = cells
        elif line.startswith("|") and not set(line) <= set("|- "):
            rows.append(dict(zip(header, cells, strict=True)))
        elif not line.startswith("|"):
            if header:
                yield heading, caption, rows
            header, rows = [], []
            caption = line or caption
            if line.startswith("### "):
                heading = line.removeprefix("### ").strip("`")


def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
