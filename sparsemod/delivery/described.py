"""Metadata for the use of an integer network outside the experiment: the normalization of samples and the names of classes."""

from dataclasses import replace

from sparsemod.data import Dataset
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.raw_samples import InputNormalization


def described(network: IntegerNetwork, data: Dataset) -> IntegerNetwork:
    """Return `network` with the normalization of `data`, and with the class names if the network has one output per class."""
    dataset_normalization = data.normalization
    classes = data.names if network.tensors[network.output].shape == (len(data.names),) else ()
    normalization = InputNormalization(
        dataset_normalization.method,
        dataset_normalization.offset,
        dataset_normalization.scale,
        dataset_normalization.layout,
    )
    return replace(network, normalization=normalization, classes=classes)
