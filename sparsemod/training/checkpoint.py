"""The state of an interrupted training as bytes: a safetensors file with a JSON header, without code."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.records import CurvePoint

FORMAT = 3
_HEADER = "sparsemod.checkpoint"
_SEPARATOR = "/"


def pack(state: Mapping[str, Any]) -> bytes:
    """Return a nested mapping of tensors and JSON values as bytes.

    `unpack` restores it, with every tensor bit for bit on the CPU. Keys are text without "/"; lists may
    hold JSON values only. Raises InvalidInput for other content.
    """
    tensors: dict[str, Tensor] = {}
    plain = _split(state, "", tensors)
    # `safetensors.save` guarantees no byte order for JSON metadata, so ours is stored as a tensor of bytes.
    text = json.dumps({"format": FORMAT, "state": plain}, sort_keys=True).encode()
    tensors[_HEADER] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return save_tensors(tensors)


def unpack(content: bytes) -> dict[str, Any]:
    """Return the argument of `pack`. Raises InvalidInput for bytes that are not a checkpoint of this format."""
    try:
        tensors = load_tensors(content)
        header = json.loads(bytes(tensors.pop(_HEADER).numpy()))
    except (SafetensorError, KeyError, ValueError) as error:
        raise InvalidInput(
            "resume", f"{len(content)} bytes", f"a checkpoint written by train ({error})"
        ) from error
    if header.get("format") != FORMAT:
        raise InvalidInput("resume.format", header.get("format"), f"format {FORMAT}")
    state: dict[str, Any] = header["state"]
    for path, tensor in tensors.items():
        *folders, name = path.split(_SEPARATOR)
        place = state
        for folder in folders:
            place = place[folder]
        place[name] = tensor
    return state


def curve_of(content: bytes) -> tuple[CurvePoint, ...]:
    """Return the epochs in a checkpoint, none for bytes that training cannot continue."""
    try:
        return tuple(CurvePoint.model_validate(point) for point in unpack(content)["curve"])
    except (InvalidInput, KeyError, ValueError):
        return ()


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimizer's tensors and numbers by the parameter's index, without learning rates."""
    state: dict[str, Any] = {}
    for place, parameter in enumerate(_parameters(optimizer)):
        parameter_state = optimizer.state.get(parameter)
        if parameter_state:
            state[str(place)] = {key: value for key, value in parameter_state.items() if value is not None}
    return state


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the result of `optimizer_state` into an optimizer of the same parameters.

    Each tensor gets the memory layout of its parameter.
    """
    for place, parameter in enumerate(_parameters(optimizer)):
        parameter_state = state.get(str(place), {})
        optimizer.state[parameter] = {
            key: _in_layout_of(value, parameter) for key, value in parameter_state.items()
        }


def restore_module(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy weights and buffers into `module` in place. Raises InvalidInput for those of another network."""
    current = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in current.items()}
    if shapes != expected:
        different = sorted(
            name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name)
        )
        raise InvalidInput(
            "resume", different[:5], "weights of this network; the given ones differ in name or shape"
        )
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(state[name])


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _in_layout_of(value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.shape == parameter.shape:
        # Fused optimizers process parameter and state in memory order: both need the same layout.
        return torch.empty_like(parameter).copy_(value)
    return value.to(parameter.device)


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` without its tensors; store them in `tensors` by path."""
    if isinstance(value, Mapping):
        plain = {}
        for key, inner in value.items():
            if not isinstance(key, str) or _SEPARATOR in key:
                raise InvalidInput(f"checkpoint.{path}", key, f"keys are text without {_SEPARATOR!r}")
            below = f"{path}{_SEPARATOR}{key}" if path else key
            if isinstance(inner, Tensor):
                tensors[below] = inner.detach().cpu().contiguous().clone()
            else:
                plain[key] = _split(inner, below, tensors)
        return plain
    if value is None or isinstance(value, bool | int | float | str | list | tuple):
        return value
    raise InvalidInput(f"checkpoint.{path}", type(value).__name__, "tensors, mappings and JSON values")
