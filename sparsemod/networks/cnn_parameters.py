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
        in_block = () if b == 1 else from_value("blocks", b, max_blocks)
        found.append(Integer(name=f"b{b}_layers", low=1, high=max_layers, when=in_block))
        for n in range(1, max_layers + 1):
            in_layer = in_block if n == 1 else from_value(f"b{b}_layers", n, max_layers)
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
    return Space([*found, *head_parameters(max_dense, 10, max_dense_width, max_dropout)])


def head_parameters(max_dense: int, min_width: int, max_width: int, max_dropout: float) -> list[Parameter]:
    """Return the parameters after the convolutions: `head`, `dense`, `d{i}_width` and `dropout`."""
    found: list[Parameter] = [
        Categorical(name="head", values=HEADS),
        Integer(name="dense", low=0, high=max_dense),
    ]
    for i in range(1, max_dense + 1):
        when = from_value("dense", i, max_dense)
        found.append(Integer(name=f"d{i}_width", low=min_width, high=max_width, log=True, when=when))
    return [*found, Real(name="dropout", low=0.0, high=max_dropout)]


def from_value(name: str, low: int, high: int) -> tuple[Condition, ...]:
    """Return the condition `name` >= `low`, where `high` is the largest value of `name`."""
    return (Condition(parameter=name, values=tuple(range(low, high + 1))),)
