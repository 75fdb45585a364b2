"""Attention layers with the batch as first axis: torch's own code merges the batch with the heads, which no capture can follow."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@contextmanager
def batch_first(module: nn.Module) -> Iterator[None]:
    """Give every `nn.MultiheadAttention` of a module a forward that computes the same with the batch first; restore it on exit."""
    layers = [part for part in module.modules() if type(part) is nn.MultiheadAttention]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        # One fused operator computes whole encoder layers otherwise.
        torch.backends.mha.set_fastpath_enabled(False)
        for layer in layers:
            layer.__dict__["forward"] = MethodType(_attention, layer)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _attention(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
    need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Compute as `nn.MultiheadAttention.forward` in evaluation mode."""
    other = key_padding_mask is not None or layer.bias_k is not None or layer.add_zero_attn
    if other or query.ndim != 3 or not layer.batch_first:
        plain = nn.MultiheadAttention.forward
        return plain(
            layer,
            query,
            key,
            value,
            key_padding_mask,
            need_weights,
            attn_mask,
            average_attn_weights,
            is_causal,
        )
    heads = layer.num_heads
    query, key, value = (
        functional.linear(x, weight, bias).unflatten(-1, (heads, -1)).transpose(1, 2)
        for x, (weight, bias) in zip((query, key, value), _projections(layer), strict=True)
    )
    mask = None if attn_mask is None or attn_mask.ndim != 3 else attn_mask.unflatten(0, (-1, heads))
    mask = attn_mask if mask is None else mask
    made = functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=is_causal and mask is None
    )
    weights = None
    if need_weights:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        scores = scores if mask is None else scores + mask
        weights = scores.softmax(-1)
        weights = weights.mean(1) if average_attn_weights else weights
    joined = made.transpose(1, 2).flatten(2)
    return functional.linear(joined, layer.out_proj.weight, layer.out_proj.bias), weights


def _projections(layer: nn.MultiheadAttention) -> list[tuple[Tensor, Any]]:
    """Return weight and bias of query, key and value."""
    weights: list[Tensor]
    if layer._qkv_same_embed_dim:
        weights = list(layer.in_proj_weight.chunk(3))
    else:
        weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    biases = [None] * 3 if layer.in_proj_bias is None else list(layer.in_proj_bias.chunk(3))
    return list(zip(weights, biases, strict=True))
