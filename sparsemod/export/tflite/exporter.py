"""TensorFlow Lite: a flatbuffer written directly from the integer network, for LiteRT and for TensorFlow Lite Micro.

The export converts and calibrates nothing again: it uses the network's int8 tensors with scales and zero points, its weights per
channel and its int32 biases. Input and output are int8, batch first, channels last, (1, H, W, C). A sequence (C, L) is an image of
height 1, (1, 1, L, C); a vector stays (1, F). The model's metadata contain the constants of the normalization, which precedes the
quantization of a sample, and the names of the classes (`sparsemod.export.metadata`). LiteRT's kernels round some results in two steps
or in floats where the integer network rounds once, so single values may differ by a quantum. The report states how many.

Padding that TensorFlow Lite cannot express becomes a PAD operator. A flatten becomes a TRANSPOSE if other layers than linear ones read
it. Both take memory; TensorFlow Lite Micro's allocation report includes it.

Source: TensorFlow Lite's schema (version 3) and its 8-bit quantization specification.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import ToolsMissing
from sparsemod.export.compare import Named, compare_named
from sparsemod.export.exporters import EXPORTERS, Exporter, ExporterConfig
from sparsemod.export.report import ExportReport, Verification
from sparsemod.export.tflite.layers import RULES, Lowering, spatial_last
from sparsemod.export.tflite.micro import MICRO_SAMPLES, run_micro
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.tensor import TensorInfo

INSTALL = "pip install 'sparsemod[tflite]'"
_BATCH = 256


@EXPORTERS.register("tflite")
class TfLite(Exporter[ExporterConfig]):
    """TensorFlow Lite flatbuffer, int8 in and out."""

    Config = ExporterConfig
    extra = "tflite"
    checks_files = True

    @property
    def kinds(self) -> frozenset[str]:
        """See Exporter."""
        return frozenset(RULES.names())

    def write(
        self, network: IntegerNetwork, folder: Path, *, name: str, samples: Any, labels: Any, data: str
    ) -> ExportReport:
        """Write NAME.tflite and run it in LiteRT and TensorFlow Lite Micro; see Exporter.write."""
        notes: list[str] = []
        content = to_tflite(network, name, notes)
        (folder / f"{name}.tflite").write_bytes(content)
        options: dict[str, Any] = {"samples": samples, "labels": labels, "data": data}
        checks: list[Verification] = [
            compare_named(network, lambda x: run_named(network, content, x), runtime=_version(), **options)
        ]
        micro = run_micro(content)
        missing: tuple[str, ...] = ()
        memory: dict[str, int] = {}
        if isinstance(micro, str):
            missing = (micro,)
        else:
            memory = micro.memory
            checks.append(
                compare_named(
                    network,
                    lambda x: _from_file(network, micro.run(_all_in_file(network, x))),
                    runtime=micro.version,
                    most=MICRO_SAMPLES,
                    **options,
                )
            )
        return ExportReport(
            format="tflite",
            name=name,
            verifications=tuple(checks),
            memory=memory,
            missing=missing,
            notes=tuple(notes),
        )


def to_tflite(network: IntegerNetwork, name: str = "network", notes: list[str] | None = None) -> bytes:
    """Return the content of the .tflite file; equal networks give equal bytes. `notes` gets remarks for the user.

    Raises Unsupported, ToolsMissing."""
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        raise ToolsMissing(f"the tflite export needs LiteRT: {INSTALL}") from None
    lowering = Lowering(network, schema)
    model = lowering.model(name)
    if notes is not None:
        notes += lowering.notes
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _in_file(x: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Convert (N, *shape) to the file's input."""
    return info.to_memory(x).reshape(len(x), *spatial_last(info))


def _version() -> str:
    from importlib.metadata import version

    return f"LiteRT {version('ai-edge-litert')} (CPU)"


def _all_in_file(network: IntegerNetwork, inputs: Named) -> list[NDArray[Any]]:
    return [_in_file(inputs[name], network.tensors[name]) for name in network.inputs]


def _from_file(network: IntegerNetwork, outputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.int8]]:
    return {
        name: network.tensors[tensor].from_memory(values).astype(np.int8)
        for (name, tensor), values in zip(network.outputs.items(), outputs, strict=True)
    }


def _run(network: IntegerNetwork, content: bytes, x: NDArray[np.int8]) -> NDArray[np.int8]:
    return run_named(network, content, {network.input: x})["output"]


def run_named(network: IntegerNetwork, content: bytes, inputs: Named) -> dict[str, NDArray[np.int8]]:
    """Return the int8 outputs by name of the file in LiteRT for int8 inputs by name."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # The reference kernels follow TensorFlow Lite's specification on every machine.
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    images = _all_in_file(network, inputs)
    given, made = interpreter.get_input_details(), interpreter.get_output_details()
    parts: list[list[NDArray[Any]]] = [[] for _ in made]
    size = 0
    for start in range(0, len(images[0]), _BATCH):
        batch = [each[start : start + _BATCH] for each in images]
        if len(batch[0]) != size:
            size = len(batch[0])
            for details, part in zip(given, batch, strict=True):
                interpreter.resize_tensor_input(details["index"], part.shape)
            interpreter.allocate_tensors()
        for details, part in zip(given, batch, strict=True):
            interpreter.set_tensor(details["index"], part)
        interpreter.invoke()
        for each, details in zip(parts, made, strict=True):
            each.append(interpreter.get_tensor(details["index"]))
    return _from_file(network, [np.concatenate(each) for each in parts])
