"""Networks of one layer that has a kernel of its own on cores with the instructions of Armv6-M alone."""

from dataclasses import replace
from typing import Any

from support_dsp import drawn
from support_mve import drawn_mve

from sparsemod.quantization import IntegerNetwork

KINDS = ("conv", "copied", "direct", "pointwise", "depthwise", "linear")


def drawn_v6m(kind: str, seed: int) -> tuple[IntegerNetwork, Any]:
    """A network of one layer of `kind` for cortex-m0, and inputs: odd sizes, edges, odd counts, bounds and long vectors among them.

    Odd seeds of depthwise layers have strides and paddings for which there is a kernel."""
    draw = drawn if kind == "conv" or (kind == "depthwise" and seed % 2) else drawn_mve
    network, images = draw(kind, seed)
    return replace(network, core="cortex-m0"), images
