"""The loops of the kernels of linear layers for cores with DSP instructions; see `sparsemod.kinds.dsp`."""

from dataclasses import dataclass

from sparsemod.kinds.dsp import SURE_TAPS


@dataclass(frozen=True)
class DspLinear:
    """The loops of a matrix times a vector: eight filters at a time, then two."""

    taps: int
    outputs: int

    @property
    def words(self) -> int:
        """Turns of the loop, each over four taps."""
        return self.taps // 4

    @property
    def count(self) -> int:
        """Words of one turn of the loop over eight filters."""
        return next(count for count in (4, 2, 1) if self.words % count == 0)

    @property
    def eights(self) -> int:
        """Groups of eight filters."""
        return self.outputs // 8

    @property
    def rest(self) -> int:
        """Groups of two filters after those of eight; the last one may be half empty."""
        return (self.outputs % 8 + 1) // 2

    def features(self) -> dict[str, float]:
        """Return how often each part of the kernel runs."""
        tails = (self.taps % 4 + 1) // 2
        return {
            "eight_words": float(self.eights * self.words),
            "eight_tails": float(self.eights * tails),
            "eight_turns": float(self.eights * (self.words // self.count)),
            "eights": float(self.eights),
            "rest_words": float(self.rest * self.words),
            "rest_tails": float(self.rest * tails),
            "rests": float(self.rest),
        }

    @property
    def sure(self) -> bool:
        """Whether the sums fit into 24 bits, as far as the shape tells."""
        return self.taps <= SURE_TAPS

    @property
    def extra(self) -> int:
        """Bytes of the constants beyond the weights and the 9 bytes of a filter, when shifts differ within the layer."""
        steps = 2 * self.words + (self.taps % 4 + 1) // 2
        filters = 8 * self.eights + 2 * self.rest
        return filters * (2 * steps + 8) + 8 * self.eights + 4 * self.rest - self.outputs * (self.taps + 9)

    def code(self) -> dict[str, float]:
        """Return the parts of the code, by which its size differs between shapes."""
        tails, single = (self.taps % 4 + 1) // 2, self.outputs % 2
        pairs, eight = self.outputs % 8 // 2, self.eights > 0
        rest = (pairs > 0) + single
        parts = {
            "eight": eight,
            "eights": self.eights > 1,
            "eight_steps": eight * (self.count if self.words else 0),
            "eight_turns": eight and self.words > self.count,
            "eight_tails": eight * tails,
            "rest": rest,
            "rest_pairs": pairs > 1,
            "rest_words": rest * (self.words > 0),
            "rest_turns": rest * (self.words > 1),
            "rest_tails": rest * tails,
            "single": single,
        }
        return {name: float(count) for name, count in parts.items()}
