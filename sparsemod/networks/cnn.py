"""The family `cnn`: small convolutional networks for images, in the space of SpArSeMod.

Parameters, in order (b and l count from 1):

- `blocks`; for each block `b{b}_layers`; for each layer `b{b}_l{l}_type`, `b{b}_l{l}_filters`,
  `b{b}_l{l}_kernel`; and `b{b}_pool`;
- `head`: maps the last feature map to a vector by "average" (global average) or "flatten";
- `dense`: number of hidden dense layers after the head, each with `d{i}_width`; `dropout` before every dense
  layer and the classifier.

Layer types: "conv"; "down", 2 x 2 max-pooling and then the convolution ("downsample-then-conv"), the only
layer that changes the image's size; "separable", a depthwise and then a 1 x 1 convolution with nothing
between them. Convolutions have stride 1 and keep the size; an even kernel k has the smaller part of the
padding, (k - 1) // 2, above and left. Batch norm (option) and relu follow each of them. `b{b}_pool` is 2 x 2
max-pooling at the end of the block. Pooling drops an odd last row and column.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.networks.cnn_parameters import conv_space
from sparsemod.networks.cnn_plan import plan
from sparsemod.networks.family import family
from sparsemod.networks.options import flag, share, whole
from sparsemod.records import DataInfo, Value
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("cnn", layouts=["channels-height-width"])
class Cnn:
    """Convolutional networks: conv, downsample-then-conv and separable layers in blocks, then dense layers.

    Options: `max_blocks`, `max_layers` (in a block), `max_filters`, `max_kernel`, `max_dense` (hidden dense
    layers), `max_dense_width`, `max_dropout`, `batch_norm` (after each convolution). Raises InvalidInput,
    which names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        max_blocks: int = 2,
        max_layers: int = 3,
        max_filters: int = 100,
        max_kernel: int = 5,
        max_dense: int = 2,
        max_dense_width: int = 200,
        max_dropout: float = 0.5,
        batch_norm: bool = True,
    ) -> None:
        self.max_blocks = whole("max_blocks", max_blocks, 1, 20)
        self.max_layers = whole("max_layers", max_layers, 1, 20)
        self.max_filters = whole("max_filters", max_filters, 1, 4096)
        self.max_kernel = whole("max_kernel", max_kernel, 2, 15)
        self.max_dense = whole("max_dense", max_dense, 0, 10)
        self.max_dense_width = whole("max_dense_width", max_dense_width, 10, 65536)
        self.max_dropout = share("max_dropout", max_dropout)
        self.batch_norm = flag("batch_norm", batch_norm)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        return conv_space(
            self.max_blocks,
            self.max_layers,
            self.max_filters,
            self.max_kernel,
            self.max_dense,
            self.max_dense_width,
            self.max_dropout,
        )

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized.

        Raises BuildError when it is too deep for the images.
        """
        planned = plan(parameters, data)
        from sparsemod.networks.cnn_module import build

        return build(planned, data, self.batch_norm)
