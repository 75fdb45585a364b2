"""Operators of the family `mobile` that add, remove or resize blocks."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.mobile_genes import Block, MobileGenes, completed, describe, paths
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.steps import change, higher, lower, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class AddMobileBlock(Morphism):
    """Add a block as wide as its input, without downsampling, squeeze-and-excite or a second path.

    An inverted residual starts with a projection of zeros, the other types as the identity after a relu.
    """

    name = "add block"
    preserves = True

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        now = MobileGenes(parameters)
        shapes, first = now.shapes(), int(now.stem is not None)
        for place in shuffled(list(range(1, len(shapes) + 1)), rng):
            before = shapes[place - 1]
            for kind in (
                ("inverted", *shuffled(["separable", "conv"], rng)) if before.positive else ("inverted",)
            ):
                kernel = int(rng.choice((3, 3, 5)))
                new: Block = {
                    "type": kind, "filters": before.outputs, "kernel": kernel, "expansion": int(rng.integers(1, 4)),
                    "branches": 1, "p1_kernel": kernel, "down": "none", "squeeze": False,
                }  # fmt: skip
                child = MobileGenes(parameters)
                child.blocks.insert(place - first, new)
                child = completed(space, child)
                made = child.shapes()
                if len(made) <= place or [*made[:place], *made[place + 1 :]] != shapes:
                    continue
                block, shape = child.blocks[place - first], made[place]
                plain = block["down"] == "none" and shape.outputs == before.outputs
                if plain and (shape.residual or before.positive):
                    yield child.parameters(), f"b{place - first + 1} ({describe(block)})"
                    break


class SwitchStem(Morphism):
    """Add or remove the stem."""

    name = "stem"
    preserves = False
    weight = 0.3

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        if "stem" in parameters:
            on = not parameters["stem"]
            wanted: Values = {"stem": on, "stem_filters": 8, "stem_kernel": 3, "stem_down": "none"}
            yield space.complete({**parameters, **wanted}), "on" if on else "off"


class ResizeBlocks(Morphism):
    """Change the channels of a block and of the inverted residuals after it that add to its output."""

    up: bool

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        now = MobileGenes(parameters)
        units, shapes = now.units(), now.shapes()
        starts = [i for i, shape in enumerate(shapes) if not shape.residual]
        for start in shuffled(starts, rng):
            end = start + 1
            while end < len(units) and shapes[end].residual:
                end += 1
            (first, block), (last, _) = units[start], units[end - 1]
            name = f"{first}_filters"
            filters = (higher if self.up else lower)(space, name, block["filters"], rng)
            if filters is None:
                continue
            child: Values = {**parameters, name: filters}
            child |= {f"{unit}_filters": int(filters) * paths(block) for unit, _ in units[start + 1 : end]}
            residuals = [shape.residual for shape in MobileGenes(child).shapes()]
            if self.preserves and residuals != [shape.residual for shape in shapes]:
                continue
            where = first if first == last else f"{first} to {last}"
            yield child, f"{where} {change(block['filters'], filters)}"


class WidenBlocks(ResizeBlocks):
    """Add channels, which have no effect at first. No shortcut may begin or end by that."""

    name = "widen"
    preserves = True
    up = True


class NarrowBlocks(ResizeBlocks):
    """Remove channels; keep the strongest."""

    name = "narrow"
    preserves = False
    up = False
