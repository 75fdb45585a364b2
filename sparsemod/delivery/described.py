"""What an integer network needs for its use outside the experiment: how samples are normalized, and what its classes are called."""

from dataclasses import replace

from sparsemod.data import Dataset
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.raw_samples import InputNormalization


def described(network: IntegerNetwork, data: Dataset) -> IntegerNetwork:
    """`network` with the normalization of `data` and the names of its classes, where the network has an output for each class."""
    known = data.normalization
    classes = data.names if network.tensors[network.output].shape == (len(data.names),) else ()
    normalization = InputNormalization(known.method, known.offset, known.scale, known.layout)
    return replace(network, normalization=normalization, classes=classes)
