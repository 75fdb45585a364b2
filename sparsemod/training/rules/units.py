"""A network as a chain of units: each starts with a layer that has weights; layers without weights follow it."""

from collections.abc import Iterator

from torch import Tensor, nn

from sparsemod.errors import BuildError

_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.PReLU,
)  # fmt: skip
"""Layers with parameters that belong to the unit before them."""


class Unit:
    """Layers that run one after the other: the first has weights, or is a residual block, and the others follow it."""

    def __init__(self, names: list[str], layers: list[nn.Module]) -> None:
        self.names, self.layers = names, layers

    @property
    def name(self) -> str:
        """The first layer's name."""
        return self.names[0]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> list[nn.Parameter]:
        """Return the trainable parameters."""
        return [p for layer in self.layers for p in layer.parameters() if p.requires_grad]

    def buffers(self) -> list[Tensor]:
        """Return the buffers, such as running statistics."""
        return [b for layer in self.layers for b in layer.buffers()]


def units_of(module: nn.Module) -> list[Unit]:
    """Return the units of a network: a Sequential, perhaps of Sequentials, whose elements are layers or residual blocks.

    A block with parameters inside, which is no Sequential, is one unit with what follows it. Layers before the first
    weights belong to the first unit. Raises BuildError, which names the rule's need, for another network.
    """
    flat = list(_flat(module, ""))
    if len(flat) == 1 and flat[0][1] is module and list(module.children()):
        raise BuildError(
            f"this training rule needs layers in sequence, an nn.Sequential; {type(module).__name__} has a forward of its own"
        )
    units: list[Unit] = []
    names, layers, weighted = list[str](), list[nn.Module](), False
    for name, layer in flat:
        starts = any(True for _ in layer.parameters()) and not isinstance(layer, _NORMS)
        if starts and weighted:
            units.append(Unit(names, layers))
            names, layers = [], []
        names.append(name)
        layers.append(layer)
        weighted |= starts
    if not weighted:
        raise BuildError("this training rule needs a network with weights")
    return [*units, Unit(names, layers)]


def _flat(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, part in module.named_children():
            yield from _flat(part, f"{path}.{name}" if path else name)
    else:
        yield path, module
