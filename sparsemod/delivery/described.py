"""Metadata for the use of an integer network outside the experiment: normalization, names of classes, meaning of the outputs."""

from dataclasses import replace

from sparsemod.data import Dataset
from sparsemod.decoding import Decoding
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.raw_samples import InputNormalization


def described(network: IntegerNetwork, data: Dataset, decoding: Decoding | None = None) -> IntegerNetwork:
    """Return `network` with the normalization of `data`, with `decoding`, and with names if it has one output (channel) for each."""
    dataset_normalization = data.normalization
    outputs = network.tensors[network.output].shape
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
