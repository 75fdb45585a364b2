"""The family `fcn`: fully convolutional networks with a class for each position of a grid.

Parameters, in order: `blocks` (halvings of the image), and for each block `b{i}_filters` and `b{i}_kernel`; `skip`
(whether the classifier also sees each finer block, enlarged features added to them). Each block is a convolution,
batch norm (option), relu and a pooling by two. Where the grid is finer than the last block, the map of classes is
enlarged by nearest neighbours.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.errors import InvalidInput
from sparsemod.networks.family import family
from sparsemod.networks.options import flag, whole
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Condition, Integer, Parameter
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("fcn", layouts=("channels-height-width",))
class Fcn:
    """Fully convolutional networks for the task per-pixel: segmentation, and coarse grids that locate objects.

    Options: `max_blocks`, `min_filters`, `max_filters`, `batch_norm`. Raises InvalidInput, which names the option.
    """

    task = "per-pixel"
    checked = True  # the output shape needs no check by a forward pass
    maps = True

    def __init__(
        self, max_blocks: int = 3, min_filters: int = 4, max_filters: int = 32, batch_norm: bool = True
    ) -> None:
        self.max_blocks = whole("max_blocks", max_blocks, 1, 6)
        self.max_filters = whole("max_filters", max_filters, 1, 4096)
        self.min_filters = whole("min_filters", min_filters, 1, self.max_filters)
        self.batch_norm = flag("batch_norm", batch_norm)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists.

        Raises InvalidInput for data without a grid, or with one that no halvings of the image give.
        """
        fewest = halvings(data)
        most = fewest + self.max_blocks - 1
        while most > fewest and any(size % 2**most for size in data.shape[1:]):
            most -= 1
        most = max(most, 1)
        parameters: list[Parameter] = [Integer(name="blocks", low=max(fewest, 1), high=most)]
        for i in range(1, most + 1):
            values = tuple(range(i, most + 1))
            when = () if i <= max(fewest, 1) else (Condition(parameter="blocks", values=values),)
            parameters.append(
                Integer(
                    name=f"b{i}_filters", low=self.min_filters, high=self.max_filters, log=True, when=when
                )
            )
            parameters.append(Categorical(name=f"b{i}_kernel", values=(1, 3, 5), ordered=True, when=when))
        return Space([*parameters, Categorical(name="skip", values=("none", "add"))])

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized."""
        from sparsemod.networks.fcn_module import build

        count = int(parameters["blocks"])
        blocks = [
            (int(parameters[f"b{i}_filters"]), int(parameters[f"b{i}_kernel"])) for i in range(1, count + 1)
        ]
        return build(blocks, halvings(data), parameters["skip"] == "add", data, self.batch_norm)


def halvings(data: DataInfo) -> int:
    """Return how often the image is halved to give the grid of the targets. Raises InvalidInput."""
    if len(data.outputs) != 3:
        raise InvalidInput("network.family", "fcn", "the task per-pixel, whose targets are a grid (N, H, W)")
    height, width = data.shape[1:]
    for count in range(12):
        if data.outputs[1:] == (height / 2**count, width / 2**count):
            if count == 0 and (height % 2 or width % 2):
                break
            return count
    raise InvalidInput(
        "network.family",
        "fcn",
        f"a grid of the image's size, or halved any number of times, with even sizes; {data.name} has images {height} x {width} and a grid {data.outputs[1]} x {data.outputs[2]}",
    )
