"""The file of an integer network: a header in JSON and the arrays of its layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.arena import Fused
from sparsemod.decoding import Decoding
from sparsemod.errors import InvalidInput
from sparsemod.quantization.files import described, pack, stored_layer, unpack
from sparsemod.quantization.layers import layer_fields
from sparsemod.quantization.raw_samples import InputNormalization
from sparsemod.quantization.tensor import TensorInfo

FORMAT, VERSION = "sparsemod-integer-network", 1
_SEVERAL = ("other_inputs", "other_outputs", "output_names")


def content(network: Mapping[str, Any]) -> bytes:
    """Return the content of the file from the network's fields; equal networks give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    layers = []
    for index, layer in enumerate(network["layers"]):
        entry: dict[str, Any] = {"kind": layer.kind}
        for name in layer_fields(type(layer)):
            value = getattr(layer, name)
            if isinstance(value, np.ndarray):
                arrays[f"{index}.{name}"] = value
            else:
                entry[name] = value
        layers.append(entry)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "input": network["input"],
        "output": network["output"],
        "tensors": {name: described(tensor) for name, tensor in network["tensors"].items()},
        "layers": layers,
    }
    if network["normalization"] is not None:
        header["normalization"] = network["normalization"].to_dict()
    if network["encodings"]:
        header["encodings"] = dict(network["encodings"])
    if network["core"]:
        header["core"] = network["core"]
    if network["fused"]:
        header["fused"] = [[list(fused.layers), fused.rows] for fused in network["fused"]]
    if network["classes"]:
        header["classes"] = list(network["classes"])
    if network["decoding"] is not None:
        header["decoding"] = network["decoding"].to_dict()
    for key in _SEVERAL:
        if network[key]:
            header[key] = list(network[key])
    return pack(header, arrays)


def fields_of(data: bytes) -> dict[str, Any]:
    """Return the fields of the network whose content is `data`.

    Raises InvalidInput for other data, Unsupported for a layer whose kind is not registered here.
    """
    header, arrays = unpack(data, FORMAT, VERSION)
    try:
        # Tensors with their default layout omit it; int8 tensors omit their bits.
        tensors = {
            n: TensorInfo(tuple(s), float(scale), int(z), *more)
            for n, (s, scale, z, *more) in header["tensors"].items()
        }
        # Files of earlier releases lack the keys that are read with a default.
        stored, decoding = header.get("normalization"), header.get("decoding")
        names = {key: tuple(str(name) for name in header.get(key, ())) for key in ("classes", *_SEVERAL)}
        return {
            "input": header["input"],
            "output": header["output"],
            "tensors": tensors,
            "layers": tuple(
                stored_layer(index, entry, arrays) for index, entry in enumerate(header["layers"])
            ),
            "normalization": None if stored is None else InputNormalization.from_dict(stored),
            "decoding": None if decoding is None else Decoding.from_dict(decoding),
            "encodings": dict(header.get("encodings", {})),
            "core": str(header.get("core", "")),
            "fused": tuple(
                Fused(tuple(map(str, layers)), int(rows)) for layers, rows in header.get("fused", ())
            ),
            **names,
        }
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            "network file", f"{type(error).__name__}: {error}", f"a complete {FORMAT} file"
        ) from error
