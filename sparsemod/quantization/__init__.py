"""Quantization: trained networks as integer networks, with a reference interpreter in integer arithmetic."""

from sparsemod.quantization.float_network import FloatNetwork
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.network import LayerInfo, Quantized
from sparsemod.quantization.schemes import SCHEMES, quantize
from sparsemod.quantization.static import quantize_static
from sparsemod.quantization.tensor import TensorInfo

__all__ = [
    "SCHEMES",
    "FloatNetwork",
    "IntegerNetwork",
    "LayerInfo",
    "Quantized",
    "TensorInfo",
    "quantize",
    "quantize_static",
]
