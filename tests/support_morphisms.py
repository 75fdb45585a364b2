"""Random trained-looking networks for the tests of morphisms."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from sparsemod.errors import BuildError
from sparsemod.networks import Family
from sparsemod.records import DataInfo, Value
from sparsemod.space.space import Space, Values

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
COLOURS = DataInfo(name="colours", shape=(3, 9, 12), classes=4)
SERIES = DataInfo(name="series", shape=(9, 4), classes=3, layout="time-features")
SIGNAL = DataInfo(name="signal", shape=(3, 13), classes=4)
TABLE = DataInfo(name="table", shape=(13,), classes=3)


def seasoned(module: nn.Module, seed: int) -> nn.Module:
    """Set batch norms and biases as after training."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            count = layer.num_features
            with torch.no_grad():
                layer.weight.copy_(torch.rand(count, generator=generator) + 0.5)
                layer.bias.copy_(torch.randn(count, generator=generator) * 0.3)
                layer.running_mean.copy_(torch.randn(count, generator=generator) * 0.3)  # type: ignore[union-attr]
                layer.running_var.copy_(torch.rand(count, generator=generator) + 0.2)  # type: ignore[union-attr]
        elif isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.3)
    return module


def built(family: Family, parameters: Mapping[str, Value], data: DataInfo, seed: int) -> nn.Module:
    """A network whose fresh weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return family.build(parameters, data)


def random_parent(family: Family, space: Space, data: DataInfo, seed: int) -> tuple[Values, nn.Module]:
    """A candidate that can be built, and its network."""
    rng = np.random.default_rng(seed)
    while True:
        parameters = space.sample(rng)
        try:
            return parameters, seasoned(built(family, parameters, data, seed), seed)
        except BuildError:
            continue


@torch.no_grad()
def outputs(module: nn.Module, data: DataInfo) -> Tensor:
    """Logits of a few random samples, in double precision and evaluation mode."""
    samples = torch.randn(5, *data.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result: Tensor = module.double().eval()(samples)
    module.float()
    return result


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value where that is above 1."""
    return float((a - b).abs().max() / max(1.0, float(a.abs().max())))
