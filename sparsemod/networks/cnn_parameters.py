"""The parameters that the families `cnn` and `cnn1d` share: convolutions in blocks, then dense layers."""

from sparsemod.space.parameters import Categorical, Condition, Integer, Parameter, Real
from sparsemod.space.space import Space

TYPES = ("conv", "down", "separable")
HEADS = ("average", "flatten")


def conv_space(
    max_blocks: int,
    max_layers: int,
    max_filters: int,
    max_kernel: int,
    max_dense: int,
    max_dense_width: int,
    max_dropout: float,
    dilations: tuple[int, ...] = (),
) -> Space:
    """Return the space that the docstring of `sparsemod.networks.cnn` lists.

    With `dilations`, each layer has `b{b}_l{l}_dilation`, one of these distances between the taps of its kernel.
    """
    found: list[Parameter] = [Integer(name="blocks", low=1, high=max_blocks)]
    for b in range(1, max_blocks + 1):
        in_block = () if b == 1 else _from("blocks", b, max_blocks)
        found.append(Integer(name=f"b{b}_layers", low=1, high=max_layers, when=in_block))
        for n in range(1, max_layers + 1):
            in_layer = in_block if n == 1 else _from(f"b{b}_layers", n, max_layers)
            found += [
                Categorical(name=f"b{b}_l{n}_type", values=TYPES, when=in_layer),
                Integer(name=f"b{b}_l{n}_filters", low=1, high=max_filters, log=True, when=in_layer),
                Integer(name=f"b{b}_l{n}_kernel", low=2, high=max_kernel, when=in_layer),
            ]
            if dilations:
                found.append(
                    Categorical(name=f"b{b}_l{n}_dilation", values=dilations, ordered=True, when=in_layer)
                )
        found.append(Categorical(name=f"b{b}_pool", values=(False, True), when=in_block))
    found += [
        Categorical(name="head", values=HEADS),
        Integer(name="dense", low=0, high=max_dense),
    ]
    for i in range(1, max_dense + 1):
        width = Integer(
            name=f"d{i}_width", low=10, high=max_dense_width, log=True, when=_from("dense", i, max_dense)
        )
        found.append(width)
    return Space([*found, Real(name="dropout", low=0.0, high=max_dropout)])


def _from(name: str, low: int, high: int) -> tuple[Condition, ...]:
    """Return the condition `name` >= `low`, where `high` is the largest value of `name`."""
    return (Condition(parameter=name, values=tuple(range(low, high + 1))),)
