"""Tables as CSV text."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """Format lines as CSV.

    Text that begins like a formula gets an apostrophe, so that a spreadsheet does not run it. Numbers are
    unchanged.
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in line]
        for line in lines
    )
    return out.getvalue()
