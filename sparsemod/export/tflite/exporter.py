"""TensorFlow Lite: a flatbuffer written from the integer network itself, for LiteRT and for TensorFlow Lite Micro.

Nothing is converted or calibrated again: int8 tensors with the network's scales and zero points, its weights per channel, its int32
biases. Input and output are int8, batch first, channels last, (1, H, W, C); a vector stays (1, F). The model's metadata hold the constants
of the normalization, which comes before the quantization of a sample, and the names of the classes (`sparsemod.export.metadata`). LiteRT's kernels round some results in
two steps or in floats where the integer network rounds once, so that single values may differ by a quantum: the report says how many.

Padding that TensorFlow Lite has no word for becomes a PAD operator, and a flatten that is read by something other than linear layers a
TRANSPOSE: both take memory, which TensorFlow Lite Micro's own allocation report shows.

Source: TensorFlow Lite's schema (version 3) and its 8-bit quantization specification.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import ToolsMissing
from sparsemod.export.compare import compare
from sparsemod.export.report import ExportReport, Verification
from sparsemod.export.tflite.layers import KINDS, Lowering
from sparsemod.export.tflite.micro import MICRO_SAMPLES, run_micro
from sparsemod.quantization.integer_network import IntegerNetwork

__all__ = ["KINDS", "export", "to_tflite"]

INSTALL = "pip install 'sparsemod[tflite]'"
_BATCH = 256


def export(
    network: IntegerNetwork, folder: Path, *, name: str, samples: Any, labels: Any, data: str
) -> ExportReport:
    """Write NAME.tflite and run it in LiteRT and TensorFlow Lite Micro; see Exporter.export."""
    content = to_tflite(network, name)
    (folder / f"{name}.tflite").write_bytes(content)
    options: dict[str, Any] = {"samples": samples, "labels": labels, "data": data}
    checks: list[Verification] = [
        compare(network, lambda x: _run(network, content, x), runtime=_version(), **options)
    ]
    micro = run_micro(content)
    missing: tuple[str, ...] = ()
    memory: dict[str, int] = {}
    if isinstance(micro, str):
        missing = (micro,)
    else:
        memory = micro.memory
        checks.append(
            compare(
                network,
                lambda x: first(micro.run(last(x)), network.tensors[network.output].shape),
                runtime=micro.version,
                most=MICRO_SAMPLES,
                **options,
            )
        )
    return ExportReport(
        format="tflite", name=name, verifications=tuple(checks), memory=memory, missing=missing
    )


def to_tflite(network: IntegerNetwork, name: str = "network") -> bytes:
    """The content of the .tflite file; equal networks give equal bytes. Raises Unsupported, ToolsMissing."""
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        raise ToolsMissing(f"the tflite export needs LiteRT: {INSTALL}") from None
    model = Lowering(network, schema).model(name)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def last(x: NDArray[Any]) -> NDArray[Any]:
    """(N, C, H, W) as (N, H, W, C); other shapes stay."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)


def first(x: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The outputs (N, ...) channels first, for a network whose output is `shape`."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if len(shape) == 3 else x)


def _version() -> str:
    from importlib.metadata import version

    return f"LiteRT {version('ai-edge-litert')} (CPU)"


def _run(network: IntegerNetwork, content: bytes, x: NDArray[np.int8]) -> NDArray[np.int8]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Its reference kernels: what TensorFlow Lite's specification says, on every machine.
    made = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    parts = []
    images = last(x)
    (given,), (result,) = made.get_input_details(), made.get_output_details()
    size = 0
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        if len(part) != size:
            size = len(part)
            made.resize_tensor_input(given["index"], part.shape)
            made.allocate_tensors()
        made.set_tensor(given["index"], part)
        made.invoke()
        parts.append(made.get_tensor(result["index"]))
    return first(np.concatenate(parts), network.tensors[network.output].shape).astype(np.int8)
