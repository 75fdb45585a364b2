"""Metadata of a network's inputs and outputs for the formats, as text by key."""

import json

from sparsemod.quantization.integer_network import IntegerNetwork

NORMALIZATION, CLASSES = "sparsemod.normalization", "sparsemod.classes"


def metadata(network: IntegerNetwork) -> dict[str, str]:
    """`sparsemod.normalization`: JSON with `method`, `offset` and `scale` of each channel (or feature), where
    network input = (raw sample - offset) / scale. `sparsemod.classes`: JSON list of the classes' names. Unknown facts are omitted.
    """
    entries = {}
    if network.normalization is not None:
        entries[NORMALIZATION] = json.dumps(network.normalization.to_dict())
    if network.classes:
        entries[CLASSES] = json.dumps(list(network.classes), ensure_ascii=False)
    return entries
