"""Substitution of a network's convolutions, and the dense convolutions that equal the substitutes."""

import copy
import fnmatch
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.substitutes.base import NONE, ConvShape, Making, Substitute, create
from sparsemod.substitutes.layers import ChannelShuffle, ComputedConv, Substituted, bare_conv

KEPT = "substitutes_skip"
"""Attribute of a network: the patterns of layers that `substitute` leaves alone by default."""


@dataclass(frozen=True)
class Place:
    """A layer that can be substituted.

    `path` is its name; of a separable pair in a Sequential, the depthwise layer's name, and `pair` the pointwise
    layer's. `making` has the variance of its dense kernel's entries; 1 on the meta device.
    """

    path: str
    pair: str | None
    shape: ConvShape
    making: Making


def substitute(module: nn.Module, name: str | Substitute, skip: Sequence[str] | None = None) -> list[Place]:
    """Replace the convolutions of `module` in place, and return what was replaced.

    Replaced are convolutions over one or two axes without groups, and pairs of a depthwise and a 1 x 1 convolution in a
    row in a Sequential, which count as one convolution. Stride, padding, dilation and bias are kept. The new weights
    come from torch's global generator; they give the dense kernel the variance that the replaced one has. `skip` holds
    names of layers or patterns such as `*.shortcut`; None means the network's own list (attribute `substitutes_skip`),
    or else its first convolution. "none" replaces nothing.

    Raises UnknownName, InvalidInput for the setting or a pattern that fits no layer, and BuildError for a layer that
    cannot be replaced.
    """
    if name == NONE:
        return []
    chosen = name if isinstance(name, Substitute) else create(name)
    found = list(places(module, skip))
    before, made = _size(module), []
    for place in found:
        owner, _, last = place.path.rpartition(".")
        holder = module.get_submodule(owner)
        built = chosen.build(place.shape, place.making)
        built.train(module.training)
        setattr(holder, last, built)
        made.append(built)
        if place.pair is not None:
            setattr(holder, place.pair.rpartition(".")[2], nn.Identity())
    for built in made:
        for role, part in built.named_children():
            if chosen.compressed is None or role in chosen.compressed:
                mark_compressed(part, _size(module) / before, chosen.scales_decay)
    return found


def places(module: nn.Module, skip: Sequence[str] | None = None) -> Iterator[Place]:
    """Yield the layers that `substitute` replaces, in the network's order. Raises InvalidInput, BuildError."""
    layers = {path: layer for path, layer in module.named_modules() if _is_convolution(layer)}
    if "" in layers:
        raise InvalidInput("module", type(module).__name__, "a network that contains the convolutions")
    skipped = _skipped(module, list(layers), skip)
    pairs = _pairs(module)
    inside = {name for name, layer in module.named_modules() if isinstance(layer, Substituted)}
    for path, layer in layers.items():
        if path in skipped or path in pairs.values() or any(path.startswith(f"{name}.") for name in inside):
            continue
        second = layers.get(pairs.get(path, ""))
        if second is not None and pairs[path] not in skipped:
            yield _place(path, layer, pairs[path], second)
        elif layer.groups == 1:
            yield _place(path, layer, None, layer)


def mark_compressed(part: nn.Module, ratio: float, scales_decay: bool) -> None:
    """Note on the layers of `part` that their weights are compressed, for the groups of weight decay.

    `compression_ratio` is the number of the network's parameters divided by that before the substitution; `scales_decay`
    says whether the decay is by default scaled by it.
    """
    for layer in part.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | ComputedConv):
            vars(layer)["compression_ratio"], vars(layer)["scales_decay"] = ratio, scales_decay


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def dense(module: nn.Module) -> nn.Module:
    """Return a copy of a network in which a full convolution replaces each substitute; it computes the same function."""
    result = copy.deepcopy(module)
    for path, layer in list(result.named_modules()):
        if isinstance(layer, Substituted):
            owner, _, last = path.rpartition(".")
            setattr(result.get_submodule(owner), last, _dense_convolution(layer))
    return result


def without_shuffles(module: nn.Module) -> nn.Module:
    """Return a copy of a network in which a full convolution replaces each grouped one before a channel shuffle.

    The copy computes the same function. It has no shuffle, which few exporters and kernels know, and more weights.
    """
    result = copy.deepcopy(module)
    for part in list(result.modules()):
        if not isinstance(part, nn.Sequential):
            continue
        children = list(part.named_children())
        for (_, before), (name, shuffle) in itertools.pairwise(children):
            if isinstance(shuffle, ChannelShuffle) and isinstance(before, nn.Conv1d | nn.Conv2d):
                with torch.no_grad():
                    weight = _ungrouped(before)[shuffle.permutation(before.out_channels)]
                before.weight, before.groups = nn.Parameter(weight.contiguous()), 1
                setattr(part, name, nn.Identity())
    return result


def kernel_of(layer: nn.Module, channels: int) -> Tensor:
    """Return the dense kernel (outputs, inputs, *kernel) of a substitute or of one of its layers with `channels` inputs.

    It has gradients. Raises InvalidInput for a layer that is no convolution, shuffle or sequence of them.
    """
    if isinstance(layer, ComputedConv):
        return layer.kernel()
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return _ungrouped(layer)
    if isinstance(layer, nn.Sequential):
        first, *rest = layer
        kernel = kernel_of(first, channels)
        for part in rest:
            kernel = _after(kernel_of(part, kernel.shape[0]), kernel)
        return kernel
    if isinstance(layer, ChannelShuffle):
        return torch.eye(channels)[layer.permutation(channels)]
    raise InvalidInput("layer", type(layer).__name__, "a convolution, a substitute, or a part of one")


def _after(second: Tensor, first: Tensor) -> Tensor:
    """Return the kernel of `first` and then `second`; at most one of them has more than one position."""
    if second.ndim == 2 or second[0, 0].numel() == 1:
        product: Tensor = torch.tensordot(second.reshape(second.shape[:2]).to(first), first, dims=1)
        return product
    return torch.einsum("om...,mi->oi...", second, first.reshape(first.shape[:2]))


def _ungrouped(layer: nn.Conv1d | nn.Conv2d) -> Tensor:
    weight, groups = layer.weight, layer.groups
    if groups == 1:
        return weight
    size = (groups, weight.shape[0] // groups, weight.shape[1], *weight.shape[2:])
    eye = torch.eye(groups, dtype=weight.dtype, device=weight.device).reshape(
        groups, 1, groups, *(1,) * (weight.ndim - 1)
    )
    full = weight.reshape(size).unsqueeze(2) * eye
    return full.reshape(weight.shape[0], groups * weight.shape[1], *weight.shape[2:])


def _dense_convolution(layer: Substituted) -> nn.Module:
    shape = layer.shape
    with torch.no_grad():
        kernel = kernel_of(layer, shape.inputs).detach()
    last = [part for part in layer.modules() if isinstance(part, nn.Conv1d | nn.Conv2d | ComputedConv)][-1]
    made = bare_conv(replace(shape, bias=last.bias is not None))
    made.weight = nn.Parameter(kernel.reshape(shape.outputs, shape.inputs, *shape.kernel).contiguous())
    if last.bias is not None:
        made.bias = nn.Parameter(last.bias.detach().clone())
    return made.train(layer.training)


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv1d | nn.Conv2d)


def _pairs(module: nn.Module) -> dict[str, str]:
    """Return depthwise -> pointwise layer of each separable pair: neighbours in a Sequential, without a bias between them."""
    found = {}
    for path, part in module.named_modules():
        if not isinstance(part, nn.Sequential) or isinstance(part, Substituted):
            continue
        prefix = f"{path}." if path else ""
        children = list(part.named_children())
        for (first, a), (second, b) in itertools.pairwise(children):
            if (
                type(a) is type(b)
                and isinstance(a, nn.Conv1d | nn.Conv2d)
                and isinstance(b, nn.Conv1d | nn.Conv2d)
            ):
                depthwise = a.groups == a.in_channels == a.out_channels > 1 and a.bias is None
                still = set(b.kernel_size) == set(b.stride) == {1} and not any(_padding(b))
                if depthwise and still and b.groups == 1:
                    found[prefix + first] = prefix + second
    return found


def _skipped(module: nn.Module, layers: list[str], skip: Sequence[str] | None) -> set[str]:
    own = skip is None
    if skip is None:
        skip = getattr(module, KEPT, None)
    if skip is None:
        return set(layers[:1])
    skipped: set[str] = set()
    for pattern in skip:
        matched = {
            path for path in layers
            if fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"{pattern}.*")
        }  # fmt: skip
        if not matched and not own:
            raise InvalidInput("skip", pattern, f"a layer, or a pattern of layers: {', '.join(layers)}")
        skipped |= matched
    return skipped


def _place(path: str, layer: nn.Conv1d | nn.Conv2d, pair: str | None, last: nn.Conv1d | nn.Conv2d) -> Place:
    if layer.padding_mode != "zeros":
        raise BuildError(f"a substitute pads with zeros, not by {layer.padding_mode!r}", path)
    padding = layer.padding if isinstance(layer.padding, str) else tuple(layer.padding)
    shape = ConvShape(
        layer.in_channels, last.out_channels, tuple(layer.kernel_size), tuple(layer.stride), padding,
        tuple(layer.dilation), last.bias is not None, path,
    )  # fmt: skip
    weight = layer.weight
    if weight.is_meta:
        variance = 1.0
    else:
        with torch.no_grad():
            variance = float(weight.square().mean())
            if pair is not None:
                variance *= float(last.weight.square().mean())
    return Place(
        path, pair, shape, Making(variance or 1.0 / (shape.taps * shape.inputs), weight.device, weight.dtype)
    )


def _padding(layer: nn.Conv1d | nn.Conv2d) -> tuple[int, ...]:
    return (
        (0,)
        if layer.padding == "valid"
        else ((1,) if isinstance(layer.padding, str) else tuple(layer.padding))
    )
