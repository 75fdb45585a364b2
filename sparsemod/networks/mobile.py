"""The family `mobile`: small networks for images in the style of MobileNet, MCUNet and uNAS.

Parameters, in order (b and p count from 1):

- `stem`: whether a convolution comes first, with `stem_filters`, `stem_kernel` and `stem_down` ("none" or "stride");
- `blocks`; for each block `b{b}_type` and `b{b}_filters`;
- for the types "inverted" and "separable" `b{b}_kernel`, of the depthwise convolution; for "inverted" `b{b}_expansion`;
- for the type "conv" `b{b}_branches`, the number of parallel convolutions, each with `b{b}_p{p}_kernel`; if there are
  several, `b{b}_join`: "add" or "concat";
- `b{b}_down`: "none"; "stride", the depthwise convolution or every path has stride 2; "pool", 2 x 2 max-pooling at the
  end of the block;
- `b{b}_squeeze`: whether the block has squeeze-and-excite, with `b{b}_ratio` channels for each squeezed unit;
- `head`, `dense`, `d{i}_width`, `dropout`: as in the family `cnn`.

Block types: "inverted", a 1 x 1 convolution to `expansion` times the channels of the input, a depthwise convolution
and a linear 1 x 1 convolution. The input is added where the shape stays and the block is not the first. "separable", a
depthwise and a 1 x 1 convolution. "conv", one or more parallel convolutions. `filters` are the channels of the output;
of each path if a "conv" block concatenates its paths. Batch norm (option) follows each convolution, and relu each but
the linear one. A sum of paths has one relu after it.

Squeeze-and-excite is before the linear convolution of an inverted block, else at the end. It has at least one unit.
Kernels are odd and padded by kernel // 2. Stride 2 rounds an odd size up, pooling rounds it down.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsemod.errors import InvalidInput
from sparsemod.networks.family import family
from sparsemod.networks.mobile_parameters import TYPES, mobile_space
from sparsemod.networks.mobile_plan import plan
from sparsemod.networks.options import flag, share, whole
from sparsemod.records import DataInfo, Value
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn


@family("mobile", layouts=["channels-height-width"])
class Mobile:
    """Blocks of inverted residuals, depthwise-separable or parallel convolutions, with squeeze-and-excite, then dense layers.

    Options: `types` (of blocks, separated by commas), `stem` (whether networks may begin with a convolution), `max_blocks`,
    `max_filters`, `max_kernel`, `max_expansion` (of an inverted residual), `max_branches` (parallel convolutions),
    `squeeze` (whether blocks may have squeeze-and-excite), `max_dense` (hidden dense layers), `max_dense_width`,
    `max_dropout`, `batch_norm` (after each convolution). Raises InvalidInput, which names the option.
    """

    checked = True  # the output shape needs no check by a forward pass

    def __init__(
        self,
        types: str = ", ".join(TYPES),
        stem: bool = True,
        max_blocks: int = 4,
        max_filters: int = 32,
        max_kernel: int = 5,
        max_expansion: int = 4,
        max_branches: int = 3,
        squeeze: bool = True,
        max_dense: int = 1,
        max_dense_width: int = 64,
        max_dropout: float = 0.5,
        batch_norm: bool = True,
    ) -> None:
        names = tuple(name.strip() for name in types.split(",")) if isinstance(types, str) else ()
        if not names or len(set(names)) < len(names) or not set(names) <= set(TYPES):
            raise InvalidInput("types", types, f"some of {', '.join(TYPES)}, separated by commas, each once")
        self.types = names
        self.stem = flag("stem", stem)
        self.max_blocks = whole("max_blocks", max_blocks, 1, 20)
        self.max_filters = whole("max_filters", max_filters, 1, 4096)
        self.max_kernel = whole("max_kernel", max_kernel, 3, 15)
        self.max_expansion = whole("max_expansion", max_expansion, 1, 16)
        self.max_branches = whole("max_branches", max_branches, 1, 8)
        self.squeeze = flag("squeeze", squeeze)
        self.max_dense = whole("max_dense", max_dense, 0, 10)
        self.max_dense_width = whole("max_dense_width", max_dense_width, 1, 65536)
        self.max_dropout = share("max_dropout", max_dropout)
        self.batch_norm = flag("batch_norm", batch_norm)

    def space(self, data: DataInfo) -> Space:
        """Return the parameters that the module's docstring lists."""
        return mobile_space(
            self.types, self.stem, self.max_blocks, self.max_filters, self.max_kernel, self.max_expansion, self.max_branches,
            self.squeeze, self.max_dense, self.max_dense_width, self.max_dropout,
        )  # fmt: skip

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Build the network, He-initialized.

        Raises BuildError when it is too deep for the images.
        """
        planned = plan(parameters, data)
        from sparsemod.networks.mobile_module import build

        return build(planned, data, self.batch_norm)
