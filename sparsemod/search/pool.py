"""Pools of candidates for rounds 2 and 3.

They hold Sobol points, mutations and crossovers of the front, and morphs of parents; small spaces are
listed in full.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import product

import numpy as np

from sparsemod.records import Value
from sparsemod.search import sobol
from sparsemod.sources.observation import Morphs
from sparsemod.space.space import Space

Values = dict[str, Value]

ENUMERATED = 4096
"""Largest number of points of a space that is listed in full instead of sampled."""


@dataclass(frozen=True)
class Parent:
    """A trial on the front: its index, parameters and the epochs in its weights."""

    index: int
    parameters: Mapping[str, Value]
    epochs: float


@dataclass(frozen=True)
class Entry:
    """A member of the pool. `epochs`: epochs in its weights after its trial."""

    parameters: Values
    key: str
    epochs: float
    parent: int | None = None
    operators: tuple[str, ...] = ()


class CandidatePool:
    """A set of distinct candidates, none of which is in `seen`."""

    def __init__(self, space: Space, seen: AbstractSet[str]) -> None:
        self._space = space
        self._keys = set(seen)
        self.entries: list[Entry] = []

    def add(
        self,
        values: Values,
        epochs: float,
        parent: int | None = None,
        operators: tuple[str, ...] = (),
    ) -> Entry | None:
        """Add a candidate; return its entry, or None when the pool or `seen` has it."""
        key = self._space.key(values)
        if key in self._keys or not self._space.meets_constraints(values):
            return None
        self._keys.add(key)
        entry = Entry(values, key, epochs, parent, operators)
        self.entries.append(entry)
        return entry

    def fill(
        self, front: Sequence[Mapping[str, Value]], epochs: float, rng: np.random.Generator, size: int
    ) -> None:
        """Add half Sobol points, and half mutations of the front at three strengths and crossovers of its members."""
        if self._space.cardinality <= ENUMERATED:
            for values in every(self._space):
                self.add(values, epochs)
            return
        for values in sobol.candidates(
            self._space, int(rng.integers(2**31)), size if not front else size // 2
        ):
            self.add(values, epochs)
        for turn in range(size // 2 if front else 0):
            base = front[turn % len(front)]
            if turn % 4 == 3 and len(front) > 1:
                child = self._space.crossover(base, front[int(rng.integers(len(front)))], rng)
            else:
                child = self._space.mutate(base, rng, strength=(0.05, 0.15, 0.3)[turn % 3])
            self.add(child, epochs)

    def near(self, entries: Sequence[Entry], rng: np.random.Generator, each: int) -> list[Entry]:
        """Return new neighbours of `entries` for a local search: `each` mutations of every entry.

        The strength of the mutations falls.
        """
        neighbours = []
        for entry in entries:
            for turn in range(each):
                child = self._space.mutate(entry.parameters, rng, strength=(0.03, 0.1, 0.2)[turn % 3])
                new = self.add(child, entry.epochs)
                if new is not None:
                    neighbours.append(new)
        return neighbours

    def breed(
        self,
        parents: Sequence[Parent],
        morphs: Morphs,
        epochs: float,
        rng: np.random.Generator,
        size: int,
    ) -> None:
        """Add morphs of the parents in turn, until the pool has `size` or four rounds of all parents added nothing."""
        for _ in range(4):
            for parent in parents:
                for morph in morphs(parent.parameters, rng):
                    self.add(
                        dict(morph.parameters), parent.epochs + epochs, parent.index, tuple(morph.operators)
                    )
                if len(self.entries) >= size:
                    return


def every(space: Space) -> Iterator[Values]:
    """Yield each candidate of a finite space that meets its constraints, once."""
    steps = [int(p.cardinality) for p in space.free]
    keys: set[str] = set()
    for place in product(*(range(n) for n in steps)):
        # The middle of a step's cell decodes to its value only for even steps, so take values from the
        # parameter.
        unit = np.array([p.unit(_value(p, i)) for p, i in zip(space.free, place, strict=True)])
        values = space.decode(np.clip(unit, 0.0, np.nextafter(1.0, 0.0)))
        key = space.key(values)
        if key not in keys and space.meets_constraints(values):
            keys.add(key)
            yield values


def _value(parameter: object, place: int) -> Value:
    from sparsemod.space.parameters import Categorical, Integer

    if isinstance(parameter, Integer):
        return parameter.at(place)
    if isinstance(parameter, Categorical):
        return parameter.values[place]
    raise TypeError(f"{parameter!r} is not finite")
