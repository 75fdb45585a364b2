"""Operators of the family `mobile` that change one block: its type, paths, expansion, squeeze-and-excite, downsampling."""

from collections.abc import Iterator, Mapping

import numpy as np

from sparsemod.morphisms.mobile_genes import MobileGenes, completed
from sparsemod.morphisms.morphism import Morphism
from sparsemod.morphisms.operators.resize import Resize
from sparsemod.morphisms.steps import change, elsewhere, shuffled
from sparsemod.records import Value
from sparsemod.space.space import Space, Values


class RaiseExpansion(Resize):
    """Expand a block to more channels, which have no effect at first."""

    name = "raise expansion"
    preserves = True
    up = True


class LowerExpansion(Resize):
    """Expand a block to fewer channels; keep the strongest."""

    name = "lower expansion"
    preserves = False
    up = False


class WidenSqueeze(Resize):
    """Reduce the channels for each squeezed unit: new units have no effect at first."""

    name = "widen squeeze ratio"
    preserves = True
    weight = 0.4
    up = False


class NarrowSqueeze(Resize):
    """Increase the channels for each squeezed unit; keep the strongest units."""

    name = "narrow squeeze ratio"
    preserves = False
    weight = 0.4
    up = True


class _SwitchSqueeze(Morphism):
    """Switch squeeze-and-excite of one block `on` or off."""

    on: bool

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        for name in shuffled([n for n in parameters if n.endswith("_squeeze")], rng):
            if parameters[name] is not self.on:
                block = name.removesuffix("_squeeze")
                wanted = {name: self.on, f"{block}_ratio": 4}
                yield space.complete({**parameters, **wanted}), block


class AddSqueeze(_SwitchSqueeze):
    """Add squeeze-and-excite, whose gates are 1 at first."""

    name = "add squeeze-and-excite"
    preserves = True
    on = True


class RemoveSqueeze(_SwitchSqueeze):
    """Remove squeeze-and-excite."""

    name = "remove squeeze-and-excite"
    preserves = False
    weight = 0.4
    on = False


class AddBranch(Morphism):
    """Add a path to a block of convolutions: it starts with zeros in a sum, unread in a concatenation.

    A concatenation gets no path where a shortcut would begin or end by that.
    """

    name = "add branch"
    preserves = True

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        now = MobileGenes(parameters)
        residuals = [shape.residual for shape in now.shapes()]
        for b, block in shuffled(list(enumerate(now.blocks, 1)), rng):
            if block["type"] != "conv":
                continue
            number = int(block["branches"]) + 1
            for join in [block["join"]] if "join" in block else shuffled(["add", "concat"], rng):
                new = {"branches": number, "join": join, f"p{number}_kernel": int(rng.choice((1, 3, 5)))}
                child = MobileGenes(parameters)
                child.blocks[b - 1] |= new
                child = completed(space, child)
                made = child.blocks[b - 1]
                if made.get("branches") != number or made["join"] != join:
                    continue
                if [shape.residual for shape in child.shapes()] == residuals:
                    yield child.parameters(), f"b{b}_p{number} ({join}, kernel {made[f'p{number}_kernel']})"


class RemoveBranch(Morphism):
    """Remove one of several paths of a block."""

    name = "remove branch"
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        blocks = MobileGenes(parameters).blocks
        sites = [
            (b, p)
            for b, block in enumerate(blocks, 1)
            for p in range(1, int(block.get("branches", 1)) + 1)
            if int(block.get("branches", 1)) > 1
        ]
        for b, p in shuffled(sites, rng):
            child = MobileGenes(parameters)
            block = child.blocks[b - 1]
            number = int(block["branches"])
            kernels = [block.pop(f"p{i}_kernel") for i in range(1, number + 1)]
            del kernels[p - 1]
            block |= {f"p{i}_kernel": kernel for i, kernel in enumerate(kernels, 1)}
            block["branches"] = number - 1
            if number == 2:
                del block["join"]
            yield child.parameters(), f"b{b}_p{p}"


class _ChangeCategory(Morphism):
    """Change one parameter whose name ends with `_` and `part`, to another value."""

    part: str
    preserves = False
    weight = 0.4

    def candidates(
        self, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator
    ) -> Iterator[tuple[Values, str]]:
        """See Morphism."""
        for name in shuffled([n for n in parameters if n.endswith(f"_{self.part}")], rng):
            value = elsewhere(space, name, parameters[name], rng)
            if value is not None:
                block = name.removesuffix(f"_{self.part}")
                yield (
                    self._changed(space, parameters, block, value),
                    f"{block} {change(parameters[name], value)}",
                )

    def _changed(self, space: Space, parameters: Mapping[str, Value], block: str, value: Value) -> Values:
        return {**parameters, f"{block}_{self.part}": value}


class ChangeJoin(_ChangeCategory):
    """Change between the sum and the concatenation of paths."""

    name = "change join"
    part = "join"


class ChangeDown(_ChangeCategory):
    """Change how a block or the stem downsamples."""

    name = "change downsampling"
    part = "down"


class ChangeBlockType(_ChangeCategory):
    """Change the type of a block, which keeps its filters and its kernel."""

    name = "change type"
    part = "type"

    def _changed(self, space: Space, parameters: Mapping[str, Value], block: str, value: Value) -> Values:
        kernel = parameters.get(f"{block}_kernel", parameters.get(f"{block}_p1_kernel", 3))
        wanted: Values = {
            f"{block}_kernel": kernel if kernel != 1 else 3, f"{block}_p1_kernel": kernel, f"{block}_branches": 1,
            f"{block}_expansion": 2, f"{block}_type": value,
        }  # fmt: skip
        return space.complete({**parameters, **wanted})
