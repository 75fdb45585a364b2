"""What a file says about its inputs and classes, in the metadata that the exporters here write."""

import json
from collections.abc import Mapping
from dataclasses import replace

from sparsemod.errors import InvalidInput
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.raw_samples import InputNormalization

NORMALIZATION, CLASSES = "sparsemod.normalization", "sparsemod.classes"


def described(network: IntegerNetwork, metadata: Mapping[str, str]) -> IntegerNetwork:
    """Return the network with the normalization and the classes of its file's metadata, where they are there and fit."""
    try:
        if NORMALIZATION in metadata:
            normalization = InputNormalization.from_dict(json.loads(metadata[NORMALIZATION]))
            network = replace(network, normalization=normalization)
        if CLASSES in metadata:
            network = replace(network, classes=tuple(str(name) for name in json.loads(metadata[CLASSES])))
    except (InvalidInput, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            "metadata", str(error), "constants of the normalization and names of classes that fit"
        ) from None
    return network
