"""The report card of an exported network: what it is, what it costs and where that is known from, what it fits, how to use it.

`Card` holds the content; `markdown` and `html` write it. The HTML page needs nothing else: style and plot are inside.
"""

import html as escape
from collections.abc import Sequence
from dataclasses import dataclass

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
    """The card as Markdown; the plot lies beside it as `memory.png`."""
    lines = [f"# {_plain(card.title)}", "", _plain(card.subtitle), ""]
    heads = [what for what, _, _ in card.tiles]
    lines += _rows(
        Table(
            tuple(heads), (tuple(f"**{value}**" for _, value, _ in card.tiles), [r for _, _, r in card.tiles])
        )
    )
    for section in card.sections:
        lines += [*([""] if lines[-1] else []), f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        if section.figure:
            lines += [f"![Memory while the network runs]({PLOT})", ""]
        if section.table is not None:
            lines += [*_rows(section.table), ""]
        if section.code:
            lines += ["```", section.code.rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _rows(table: Table) -> list[str]:
    marks = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    return [
        "| " + " | ".join(_plain(cell) for cell in row) + " |" for row in (table.columns, marks, *table.rows)
    ]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def html(card: Card) -> str:
    """The card as one page without outside requests."""
    tiles = "".join(
        f"<div class=tile><span>{_e(what)}</span><b>{_e(value)}</b><small>{_e(remark)}</small></div>"
        for what, value, remark in card.tiles
    )
    body = "".join(_section(card, section) for section in card.sections)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{_e(card.title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{_e(card.title)}</h1><p>{_e(card.subtitle)}</p></header>"
        f"<div class=tiles>{tiles}</div>{body}</main></body></html>\n"
    )


def _section(card: Card, section: Section) -> str:
    parts = [f"<section><h2>{_e(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_e(section.text)}</p>")
    if section.figure:
        parts.append(f'<figure role=img aria-label="Memory while the network runs">{card.svg}</figure>')
    if section.table is not None:
        parts.append(_table(section.table))
    if section.code:
        parts.append(f"<pre>{_e(section.code.rstrip())}</pre>")
    return "".join([*parts, "</section>"])


def _table(table: Table) -> str:
    def cells(row: Row, tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in table.numeric else ''}>{_mark(cell)}</{tag}>"
            for i, cell in enumerate(row)
        )

    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    return f"<div class=wide><table><thead><tr>{cells(table.columns, 'th')}</tr></thead><tbody>{rows}</tbody></table></div>"


def _mark(cell: str) -> str:
    """A cell; verdicts get a colour besides their word."""
    kind = "good" if cell in ("fits", "equal") else "bad" if cell.startswith("no:") else ""
    return f"<span class={kind}>{_e(cell)}</span>" if kind else _e(cell)


def _e(text: str) -> str:
    return escape.escape(text)


_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6877;--line:#e1e5ea;--paper:#fff;--back:#f5f6f8;--accent:#0b7285;--good:#2b7a3d;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#2c343f;--paper:#171c23;--back:#0f1318;--accent:#4dc0d4;--good:#6fcf86;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem 4rem}h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}
header p{color:var(--soft);margin:0 0 1.5rem}h2{font-size:1.05rem;margin:0 0 .7rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;margin-bottom:.7rem}
.tile,section{background:var(--paper);border:1px solid var(--line);border-radius:.6rem}.tile{padding:.8rem 1rem}
.tile span{display:block;color:var(--soft);font-size:.8rem}.tile b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums;color:var(--accent)}
.tile small{color:var(--soft)}section{padding:1.1rem 1.2rem;margin-top:.9rem}section p{margin:0 0 .8rem;color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.87rem}th{font-weight:600;color:var(--soft);text-align:left}
thead th,td:nth-child(-n+2){white-space:nowrap}table{min-width:38rem}td,th{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
pre{margin:0;padding:.8rem 1rem;background:var(--back);border-radius:.4rem;overflow-x:auto;font-size:.83rem}
figure{margin:0 0 .6rem;background:#fff;border-radius:.4rem;padding:.4rem}figure svg{width:100%;height:auto;display:block}
"""
