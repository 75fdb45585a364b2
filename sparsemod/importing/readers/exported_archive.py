"""The archive of a .pt2 file: a zip with the program as JSON and the weights as raw bytes. Nothing in it is unpickled."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.importing.source import MOST_BYTES, Source, checked_shape

_DTYPES = {
    1: np.uint8, 2: np.int8, 4: np.int32, 5: np.int64, 6: np.float16, 7: np.float32, 8: np.float64, 12: np.bool_
}  # fmt: skip
"""Types by torch's number."""


class Batch:
    """A size that follows from the batch; the module infers it."""


def without_examples(content: bytes) -> bytes:
    """Return a .pt2 file as a plain zip without its example inputs, which are pickled and which no reader needs.

    Raises InvalidInput for a broken file.
    """
    archive = Archive(Source("model.pt2", content))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as plain:
        for name, entry in sorted(archive.names.items()):
            if not name.startswith("data/sample_inputs/"):
                plain.writestr(zipfile.ZipInfo(entry), archive.bytes(name))
    return out.getvalue()


class Archive:
    """The zip file, with limits on what it may hold."""

    def __init__(self, source: Source) -> None:
        self.source = source
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(source.content))
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise source.broken(f"{len(source.content):,} bytes that are no .pt2 archive ({error})") from None
        total = sum(info.file_size for info in self.zip.infolist())
        if total > MOST_BYTES:
            raise InvalidInput(
                "model file", f"{total:,} bytes unpacked", f"at most {MOST_BYTES:,} bytes", source.name
            )
        self.names = {name.partition("/")[2]: name for name in self.zip.namelist()}

    def bytes(self, name: str) -> bytes:
        """Return an entry. Raises InvalidInput for one that is missing or damaged."""
        if name not in self.names:
            raise self.source.broken(f"no entry {name!r}")
        try:
            with self.zip.open(self.names[name]) as file:
                return file.read(MOST_BYTES)
        except (
            zipfile.BadZipFile,
            OSError,
            ValueError,
            RuntimeError,
            NotImplementedError,
            EOFError,
        ) as error:
            raise self.source.broken(f"entry {name!r}: {error}") from None

    def json(self, name: str) -> Any:
        """Return an entry of JSON."""
        try:
            return json.loads(self.bytes(name))
        except (ValueError, RecursionError) as error:
            raise self.source.broken(f"entry {name!r}: {type(error).__name__}: {error}") from None


def tensors(archive: Archive, signature: Any) -> tuple[dict[str, tuple[str, Tensor]], list[str]]:
    """Return name in the graph -> (name in the module, tensor), and the names of the inputs."""
    stored: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        name = f"data/{kind}/model_{kind}_config.json"
        for key, entry in archive.json(name).get("config", {}).items() if name in archive.names else ():
            stored[key] = _stored(archive, kind, key, entry)
    found, inputs = {}, []
    keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
    for spec in signature["input_specs"]:
        (kind, entry), *_ = spec.items()
        if kind == "user_input":
            inputs.append(str(entry["arg"]["as_tensor"]["name"]))
            continue
        if kind not in keys:
            raise Unsupported(kind, "model", archive.source.by)
        key = str(entry[keys[kind]])
        if key not in stored:
            raise archive.source.broken(f"no tensor {key!r}")
        tensor = stored[key]
        trained = kind == "parameter" and tensor.is_floating_point()
        found[str(entry["arg"]["name"])] = (key, nn.Parameter(tensor) if trained else tensor)
    return found, inputs


def _stored(archive: Archive, kind: str, key: str, entry: Any) -> Tensor:
    if entry.get("use_pickle") or entry["tensor_meta"]["dtype"] not in _DTYPES:
        hint = "save the program with plain weights: pickled ones are never read"
        raise Unsupported("a pickled tensor or another type", key, archive.source.by, hint=hint)
    meta = entry["tensor_meta"]
    shape = checked_shape([size_of(size) for size in meta["sizes"]], archive.source, f"tensor {key!r}")
    strides = [int(size_of(stride)) for stride in meta["strides"]]
    offset = int(size_of(meta["storage_offset"]))
    content = archive.bytes(f"data/{kind}/{entry['path_name']}")
    flat = torch.from_numpy(np.frombuffer(content, _DTYPES[meta["dtype"]]).copy())
    reach = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(strides, default=0) < 0 or offset < 0 or (0 not in shape and reach >= len(flat)):
        raise archive.source.broken(f"tensor {key!r}: {len(content)} bytes for shape {shape}")
    return flat.as_strided(shape, strides, offset).clone()


def size_of(value: Any) -> Any:
    """Return a size of the file; Batch for a symbol."""
    return int(value["as_int"]) if "as_int" in value else Batch
