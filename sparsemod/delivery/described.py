"""Metadata for the use of a network outside the experiment: normalization, names of classes, meaning of the outputs."""

from dataclasses import replace
from typing import TypeVar

from sparsemod.data import Dataset
from sparsemod.decoding import Decoding
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.raw_samples import InputNormalization

Network = TypeVar("Network", bound=IntegerNetwork | DynamicNetwork)


def described(network: Network, data: Dataset, decoding: Decoding | None = None) -> Network:
    """Return `network` with the normalization of `data`, with `decoding`, and with names if it has one output (channel) for each."""
    dataset_normalization = data.normalization
    outputs = network.output_shape
    kind = "classes" if decoding is None else decoding.targets
    named = kind != "normal" and outputs[0] == len(data.names) and (len(outputs) == 1 or kind == "pixels")
    normalization = InputNormalization(
        dataset_normalization.method,
        dataset_normalization.offset,
        dataset_normalization.scale,
        dataset_normalization.layout,
    )
    return replace(
        network, normalization=normalization, classes=data.names if named else (), decoding=decoding
    )
