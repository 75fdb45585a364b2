"""The plan mini-language of convolutional and linear layers, as text. Imports no torch."""

import re

from sparsemod.errors import InvalidInput

MOST_FILTERS = 65_536


def conv_plan(text: str, field: str = "plan_conv") -> tuple[str, ...]:
    """Return the items of a plan of convolutions: "64", "64B", "M", "A". Raises InvalidInput that names a bad item."""
    allowed = "items separated by -: a number of filters n, nB with a batch norm, M (max-pooling), A (average-pooling)"
    items = _items(text)
    for item in items:
        if item not in ("M", "A") and not _number(item.removesuffix("B")):
            raise InvalidInput(field, text, f"{allowed}; {item!r} is none of them")
    return items


def fc_plan(text: str, field: str = "plan_fc") -> tuple[int, ...]:
    """Return the widths of a plan of linear layers. Raises InvalidInput that names a bad item."""
    items = _items(text)
    for item in items:
        if not _number(item):
            raise InvalidInput(field, text, f"widths separated by -, such as 300-100; {item!r} is none")
    return tuple(map(int, items))


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split("-")) if text.strip() else ()


def _number(item: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,4}", item) is not None and int(item) <= MOST_FILTERS
