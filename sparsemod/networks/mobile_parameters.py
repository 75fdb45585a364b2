"""The parameters of the family `mobile`."""

from sparsemod.networks.cnn_parameters import from_value, head_parameters
from sparsemod.space.parameters import Categorical, Condition, Integer, Parameter
from sparsemod.space.space import Space

TYPES = ("inverted", "separable", "conv")
JOINS = ("add", "concat")
DOWNS = ("none", "stride", "pool")
RATIOS = (2, 4, 8)
KERNELS = (1, 3, 5, 7, 9, 11, 13, 15)


def mobile_space(
    types: tuple[str, ...],
    stem: bool,
    max_blocks: int,
    max_filters: int,
    max_kernel: int,
    max_expansion: int,
    max_branches: int,
    squeeze: bool,
    max_dense: int,
    max_dense_width: int,
    max_dropout: float,
) -> Space:
    """Return the space that the docstring of `sparsemod.networks.mobile` lists."""
    kernels = tuple(kernel for kernel in KERNELS if kernel <= max_kernel)
    wide = kernels[1:]
    found: list[Parameter] = []
    if stem:
        in_stem = (Condition(parameter="stem", values=(True,)),)
        found += [
            Categorical(name="stem", values=(False, True)),
            Integer(name="stem_filters", low=1, high=max_filters, log=True, when=in_stem),
            Categorical(name="stem_kernel", values=wide, ordered=True, when=in_stem),
            Categorical(name="stem_down", values=DOWNS[:2], when=in_stem),
        ]
    found.append(Integer(name="blocks", low=1, high=max_blocks))
    for b in range(1, max_blocks + 1):
        name = f"b{b}"
        in_block = () if b == 1 else from_value("blocks", b, max_blocks)
        found += [
            Categorical(name=f"{name}_type", values=types, when=in_block),
            Integer(name=f"{name}_filters", low=1, high=max_filters, log=True, when=in_block),
        ]
        depthwise = tuple(kind for kind in types if kind != "conv")
        if depthwise:
            when = (Condition(parameter=f"{name}_type", values=depthwise),)
            found.append(Categorical(name=f"{name}_kernel", values=wide, ordered=True, when=when))
        if "inverted" in types:
            when = (Condition(parameter=f"{name}_type", values=("inverted",)),)
            found.append(Integer(name=f"{name}_expansion", low=1, high=max_expansion, when=when))
        if "conv" in types:
            when = (Condition(parameter=f"{name}_type", values=("conv",)),)
            found.append(Integer(name=f"{name}_branches", low=1, high=max_branches, when=when))
            if max_branches > 1:
                several = from_value(f"{name}_branches", 2, max_branches)
                found.append(Categorical(name=f"{name}_join", values=JOINS, when=several))
            for p in range(1, max_branches + 1):
                in_path = from_value(f"{name}_branches", p, max_branches)
                found.append(
                    Categorical(name=f"{name}_p{p}_kernel", values=kernels, ordered=True, when=in_path)
                )
        found.append(Categorical(name=f"{name}_down", values=DOWNS, when=in_block))
        if squeeze:
            on = (Condition(parameter=f"{name}_squeeze", values=(True,)),)
            found += [
                Categorical(name=f"{name}_squeeze", values=(False, True), when=in_block),
                Categorical(name=f"{name}_ratio", values=RATIOS, ordered=True, when=on),
            ]
    return Space([*found, *head_parameters(max_dense, 1, max_dense_width, max_dropout)])
