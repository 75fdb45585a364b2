"""ONNX, int8: QuantizeLinear and DequantizeLinear pairs around float operators, the form that ONNX Runtime and most tools expect.

The export uses the integer network's scales and zero points, its int8 weights per channel and its int32 biases. Input and output are
float32, (N, *input shape) and (N, classes), with any N; several inputs and outputs have their names. The input is a normalized sample; the model's metadata contain the constants
of the normalization and the names of the classes (`sparsemod.export.metadata`). Runtimes rescale in float arithmetic instead of by
integer multipliers, so a value between two quanta may round to the other one. The report states how often and how far.

Sources: ONNX operator specification, opset 21; ONNX Runtime's documentation of quantized models ("QDQ format").
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import ToolsMissing
from sparsemod.export.compare import Named, compare_named
from sparsemod.export.exporters import EXPORTERS, Exporter, ExporterConfig
from sparsemod.export.metadata import metadata
from sparsemod.export.onnx.layers import RULES, OnnxGraph
from sparsemod.export.report import ExportReport, Verification
from sparsemod.quantization.arithmetic import dequantize_values, quantize_values
from sparsemod.quantization.integer_network import IntegerNetwork

OPSET, IR_VERSION = 21, 10
_BATCH = 256


@EXPORTERS.register("onnx")
class Onnx(Exporter[ExporterConfig]):
    """ONNX, int8 as QuantizeLinear and DequantizeLinear pairs."""

    Config = ExporterConfig
    extra = "onnx"

    @property
    def kinds(self) -> frozenset[str]:
        """See Exporter."""
        return frozenset(RULES.names())

    def write(
        self, network: IntegerNetwork, folder: Path, *, name: str, samples: Any, labels: Any, data: str
    ) -> ExportReport:
        """Write NAME.onnx and run it in ONNX Runtime; see Exporter.write."""
        content = to_onnx(network, name)
        (folder / f"{name}.onnx").write_bytes(content)
        try:
            import onnxruntime
        except ImportError:
            missing = "onnxruntime, which runs the file to check it: pip install 'sparsemod[onnx]'"
            return ExportReport(format="onnx", name=name, missing=(missing,))

        def check(optimized: bool) -> Verification:
            session = _session(content, optimized)
            words = "" if optimized else ", graph optimizations off"
            runtime = f"onnxruntime {onnxruntime.__version__} (CPU{words})"
            options = {"samples": samples, "labels": labels, "data": data}
            return compare_named(
                network, lambda x: run_named(network, session, x), runtime=runtime, **options
            )

        # Run with the default settings, and without the fusions that replace pairs by integer kernels.
        checks = (check(True), check(False))
        return ExportReport(format="onnx", name=name, verifications=checks, detail={"opset": OPSET})


def to_onnx(network: IntegerNetwork, name: str = "network") -> bytes:
    """Return the content of the .onnx file; equal networks give equal bytes. Raises Unsupported, ToolsMissing."""
    try:
        from onnx import checker, helper
    except ImportError:
        raise ToolsMissing("the onnx export needs the package onnx: pip install 'sparsemod[onnx]'") from None
    graph = OnnxGraph(network)
    float_type = graph.tensor_type(np.dtype(np.float32))
    for tensor in network.inputs:
        graph.quantized(input_name(network, tensor), tensor)
    for layer in network.layers:
        graph.layer(layer)
    for output, tensor in network.outputs.items():
        graph.node("DequantizeLinear", [tensor + "/q", *graph.scale(tensor)], output)
    onnx_graph = helper.make_graph(
        graph.nodes,
        name,
        [
            helper.make_tensor_value_info(
                input_name(network, name), float_type, ["N", *network.tensors[name].shape]
            )
            for name in network.inputs
        ],
        [
            helper.make_tensor_value_info(name, float_type, ["N", *network.tensors[tensor].shape])
            for name, tensor in network.outputs.items()
        ],
        graph.initializers,
    )
    model = helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sparsemod",
        doc_string="int8 network; every scale, zero point, weight and bias is the integer network's",
    )
    helper.set_model_props(model, metadata(network))
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def input_name(network: IntegerNetwork, tensor: str) -> str:
    """Return an input's name in the file: its own among several, else "input"."""
    return tensor if network.other_inputs else "input"


def _session(content: bytes, optimized: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(network: IntegerNetwork, session: Any, x: NDArray[np.int8]) -> NDArray[np.int8]:
    return run_named(network, session, {network.input: x})["output"]


def run_named(network: IntegerNetwork, session: Any, inputs: Named) -> dict[str, NDArray[np.int8]]:
    """Return the int8 outputs by name of the file for int8 inputs by name."""
    parts: dict[str, list[NDArray[np.int8]]] = {name: [] for name in network.outputs}
    for start in range(0, len(next(iter(inputs.values()))), _BATCH):
        real = {}
        for name, x in inputs.items():
            info = network.tensors[name]
            real[input_name(network, name)] = dequantize_values(
                x[start : start + _BATCH], info.scale, info.zero_point
            )
        outputs = session.run(list(network.outputs), real)
        for (name, tensor), out in zip(network.outputs.items(), outputs, strict=True):
            info = network.tensors[tensor]
            parts[name].append(quantize_values(out, info.scale, info.zero_point))
    return {name: np.concatenate(each) for name, each in parts.items()}
