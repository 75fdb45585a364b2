"""The loops of the kernels of linear layers for cores with the instructions of Armv6-M alone; see `sparsemod.kinds.v6m`."""

from dataclasses import dataclass

from sparsemod.kinds.dsp import Turns
from sparsemod.kinds.v6m import SURE_TAPS
from sparsemod.kinds.v6m_depthwise import ALIGNMENT

FEWEST = 4
"""Outputs below which the words of taps take longer than they save."""

_LONGEST = 8  # steps of a turn
_PART = 64  # steps of a part; its words need memory


@dataclass(frozen=True)
class V6mLinear:
    """The loops of a matrix times a vector: four filters at a time, over two taps in each step.

    A word of weights holds two taps of two filters. A vector of many taps is read in parts, with the sums of all filters in memory."""

    taps: int
    outputs: int

    @property
    def parts(self) -> int:
        """Parts of the vector."""
        return -(-((self.taps + 1) // 2) // _PART)

    @property
    def steps(self) -> int:
        """Steps of each part."""
        return -(-((self.taps + 1) // 2) // self.parts)

    @property
    def turns(self) -> Turns:
        """The loop over the steps."""
        return Turns(self.steps, _LONGEST)

    @property
    def quads(self) -> int:
        """Groups of four filters; the last one may have filters without weights."""
        return (self.outputs + 3) // 4

    @property
    def scratch(self) -> int:
        """Bytes of the words of a part, and of the sums."""
        return 12 * self.steps + (16 * self.quads if self.parts > 1 else 0) + ALIGNMENT

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        return {
            "parts": float(self.parts),
            "words": float(self.parts * self.steps),
            "quads": float(self.quads * self.parts),
            "sums": float(self.quads * (self.parts - 1)),
            "steps": float(self.quads * self.parts * self.steps),
            "turns": float(self.quads * self.parts * self.turns.loops),
            "outputs": float(self.outputs),
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return self.taps <= SURE_TAPS

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter."""
        filters = 4 * self.quads
        return filters * (2 * self.steps * self.parts + 12) - self.outputs * (self.taps + 9)

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        functions = 1 + (self.parts > 1)
        return {
            "written": float(functions * (self.turns.count + self.turns.rest)),
            "loop": float(functions * (self.turns.loops > 0)),
            "parts": float(self.parts > 1),
            "rest": float(self.outputs % 4 > 0),
        }


def v6m_linear(taps: int, outputs: int) -> V6mLinear | None:
    """Return the loops of a matrix times a vector; None where the shared kernel is faster."""
    return V6mLinear(taps, outputs) if outputs >= FEWEST else None
