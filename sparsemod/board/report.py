"""The result of a check on a board."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """The first element of a layer's output that differs: number in the order of C's memory, place by axes, and both values."""

    sample: int
    element: int
    place: str
    expected: int
    found: int


@dataclass(frozen=True)
class LayerCheck:
    """A layer on the board. `elements` of one sample, `differing` ones over all samples, the `first`, and the `time` of one inference."""

    name: str
    title: str
    elements: int
    differing: int
    first: Difference | None
    time: float


@dataclass(frozen=True)
class BoardReport:
    """A network on a board: every layer in order of execution, and the time of the first sample.

    `unit`: cycles, instructions or ticks. `provenance`: what counted. `hertz`: units per second, 0 where unknown. `golden`: how the
    golden outputs are stored."""

    name: str
    board: str
    core: str
    layers: tuple[LayerCheck, ...]
    samples: int
    unit: str
    provenance: str
    hertz: float
    golden: str

    @property
    def equal(self) -> bool:
        """Whether every byte of every layer is as the integer network defines it."""
        return not any(layer.differing for layer in self.layers)

    @property
    def wrong(self) -> LayerCheck | None:
        """The first layer that differs."""
        return next((layer for layer in self.layers if layer.differing), None)

    @property
    def time(self) -> float:
        """The time of one inference, in `unit`."""
        return sum(layer.time for layer in self.layers)

    @property
    def milliseconds(self) -> float | None:
        """The time of one inference in ms, None where the clock is unknown."""
        return 1000.0 * self.time / self.hertz if self.hertz else None

    def verdict(self) -> str:
        """Return one sentence: equal, or the first layer and element that differ."""
        wrong = self.wrong
        if wrong is None or wrong.first is None:
            return f"every byte of {len(self.layers)} layers is equal to the integer network's on {self.samples} samples"
        first = wrong.first
        later = sum(layer.differing > 0 for layer in self.layers) - 1
        more = f"; {later} later layers differ too" if later else ""
        return (
            f"layer {wrong.name!r} is the first that differs: element {first.element} ({first.place}) of sample {first.sample}: "
            f"expected {first.expected}, found {first.found}; {wrong.differing} of {wrong.elements * self.samples} elements differ{more}"
        )
