"""Quantization: trained networks as integer networks, with a reference interpreter in integer arithmetic.

Importing this package does not import torch, so that the schemes' configs can be read without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparsemod.quantization.base import SCHEMES, Scheme

if TYPE_CHECKING:
    from sparsemod.quantization.float_network import FloatNetwork
    from sparsemod.quantization.integer_network import IntegerNetwork
    from sparsemod.quantization.network import LayerInfo, Quantized
    from sparsemod.quantization.quantizing import quantize
    from sparsemod.quantization.static import quantize_static
    from sparsemod.quantization.tensor import TensorInfo

__all__ = [
    "SCHEMES",
    "FloatNetwork",
    "IntegerNetwork",
    "LayerInfo",
    "Quantized",
    "Scheme",
    "TensorInfo",
    "quantize",
    "quantize_static",
]

_MODULES = {
    "FloatNetwork": "float_network",
    "IntegerNetwork": "integer_network",
    "LayerInfo": "network",
    "Quantized": "network",
    "TensorInfo": "tensor",
    "quantize": "quantizing",
    "quantize_static": "static",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
