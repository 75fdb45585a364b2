"""The family `cnn1d`: small convolutional networks for sequences, in the space of SpArSeMod.

The parameters are those of the family `cnn`, and with the option `max_dilation` above 1 also `b{b}_l{l}_dilation`: the distance in
steps between the taps of a layer's kernel (1, 2, 4, ...).

Convolutions and poolings run over time. With the option `causal`, a step reads itself and the steps before it, as a network needs that
runs step by step. Otherwise the kernel lies around the step; an even kernel k has the smaller part of the padding, (k - 1) // 2 taps,
before it. Pooling takes the maximum of two steps and drops an odd last step.

`head`: "average" is the mean over all steps. On sequences of different lengths it is the mean over the valid steps: half of them after
each pooling, rounded down, at least one. "flatten" keeps every step, padding included.
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


@family("cnn1d", layouts=["channels-length", "time-features"])
class Cnn1d:
    """Convolutional networks over time: conv, downsample-then-conv and separable layers in blocks, then dense layers.

    Options: `max_blocks`, `max_layers` (in a block), `max_filters`, `max_kernel`, `max_dilation` (of a kernel's taps), `causal`
    (convolutions read no later steps), `max_dense` (hidden dense layers), `max_dense_width`, `max_dropout`, `batch_norm` (after
    each convolution). Raises InvalidInput, which names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        max_blocks: int = 2,
        max_layers: int = 3,
        max_filters: int = 100,
        max_kernel: int = 7,
        max_dilation: int = 4,
        causal: bool = False,
        max_dense: int = 2,
        max_dense_width: int = 200,
        max_dropout: float = 0.5,
        batch_norm: bool = True,
    ) -> None:
        self.max_blocks = whole("max_blocks", max_blocks, 1, 20)
        self.max_layers = whole("max_layers", max_layers, 1, 20)
        self.max_filters = whole("max_filters", max_filters, 1, 4096)
        self.max_kernel = whole("max_kernel", max_kernel, 2, 63)
        self.max_dilation = whole("max_dilation", max_dilation, 1, 256)
        self.causal = flag("causal", causal)
        self.max_dense = whole("max_dense", max_dense, 0, 10)
        self.max_dense_width = whole("max_dense_width", max_dense_width, 10, 65536)
        self.max_dropout = share("max_dropout", max_dropout)
        self.batch_norm = flag("batch_norm", batch_norm)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        dilations = tuple(2**power for power in range(self.max_dilation.bit_length()))
        return conv_space(
            self.max_blocks,
            self.max_layers,
            self.max_filters,
            self.max_kernel,
            self.max_dense,
            self.max_dense_width,
            self.max_dropout,
            dilations if len(dilations) > 1 else (),
        )

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized.

        Raises BuildError when a sequence is too short for its poolings.
        """
        planned = plan(parameters, data)
        from sparsemod.networks.cnn1d_module import build

        return build(planned, data, self.batch_norm, self.causal)
