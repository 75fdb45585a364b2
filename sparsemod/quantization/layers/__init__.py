"""The layers of an integer network by kind, as data with exact definitions; see `sparsemod.quantization.layers.base`."""

from sparsemod.quantization.layers.base import LAYERS, Clamped, Layer, Weighted, layer_fields
from sparsemod.quantization.layers.pointwise import Add, Clamp
from sparsemod.quantization.layers.pooling import AvgPool, GlobalAvgPool, MaxPool, Pool
from sparsemod.quantization.layers.shaping import Concat, Flatten, Reshape, Transpose
from sparsemod.quantization.layers.weighted import Conv, Linear

__all__ = [
    "LAYERS", "Add", "AvgPool", "Clamp", "Clamped", "Concat", "Conv", "Flatten", "GlobalAvgPool", "Layer", "Linear", "MaxPool", "Pool",
    "Reshape", "Transpose", "Weighted", "layer_fields",
]  # fmt: skip
