"""File format of networks: a JSON header and arrays in a .npz (zip of .npy), never pickle. Equal content gives equal bytes."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput
from sparsemod.quantization.layers import LAYERS, Layer
from sparsemod.quantization.tensor import TensorInfo

_HEADER = "header.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest date, so that bytes do not depend on the clock
_LIMIT = 1 << 31  # maximum bytes of one unpacked entry: a small file must not exhaust the memory

# errors that zipfile and numpy raise for malformed bytes (NotImplementedError is a RuntimeError)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
)


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file's bytes. `np.load(file, allow_pickle=False)` can also read the arrays."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        text = json.dumps(header, sort_keys=True, allow_nan=False, separators=(",", ":"))
        _write(archive, _HEADER, text.encode())
        for name in sorted(arrays):
            buffer = io.BytesIO()
            array = np.ascontiguousarray(arrays[name])
            np.lib.format.write_array(
                buffer, array.astype(array.dtype.newbyteorder("<")), version=(1, 0), allow_pickle=False
            )
            _write(archive, f"{name}.npy", buffer.getvalue())
    return out.getvalue()


def unpack(data: bytes, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return (header, arrays) of a file whose header states `kind` and `version`. Raises InvalidInput for any other file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(info.file_size > _LIMIT for info in archive.infolist()):
                raise InvalidInput("network file", len(data), f"entries of at most {_LIMIT} bytes")
            header = json.loads(archive.read(_HEADER))
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
                if name.endswith(".npy")
            }
    except _DAMAGE as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("network file", f"{len(data)} bytes", f"a {kind} file ({error})") from error
    if not isinstance(header, dict) or header.get("format") != kind:
        raise InvalidInput("network file", header, f"a {kind} file")
    if header.get("version") != version:
        raise InvalidInput("network file.version", header.get("version"), f"version {version}")
    return header, arrays


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    # stored, not deflated: zlib's output differs between versions, and the digests must not
    info.compress_type = zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def tuples(value: Any) -> Any:
    """Return a value of JSON with tuples for lists."""
    if isinstance(value, list):
        return tuple(tuples(v) for v in value)
    return {k: tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def described(tensor: TensorInfo) -> list[Any]:
    """Return a tensor as plain values: the arguments of TensorInfo, without the last ones that have their defaults."""
    more = (
        [tensor.layout, tensor.bits] if tensor.bits != 8 else [] if tensor.layout is None else [tensor.layout]
    )
    return [list(tensor.shape), tensor.scale, tensor.zero_point, *more]


def stored_layer(index: int, entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Layer:
    """Return layer number `index` of a file from its plain values and the file's arrays. Raises Unsupported for an unregistered kind."""
    layer = LAYERS.rule(entry["kind"], entry["name"])
    values = {n: tuple(v) if isinstance(v, list) else v for n, v in entry.items() if n != "kind"}
    layer_arrays = {n.partition(".")[2]: a for n, a in arrays.items() if n.partition(".")[0] == str(index)}
    fields: dict[str, Any] = {**values, **layer_arrays}
    return layer(**fields)
