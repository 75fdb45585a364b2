"""Comparison of a model's integer network with its file in the file's own runtime: ONNX Runtime, or LiteRT's reference kernels."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.compare import compare
from sparsemod.export.report import Verification
from sparsemod.importing import Imported, Source
from sparsemod.quantization.arithmetic import dequantize_values, quantize_values
from sparsemod.quantization.integer_network import IntegerNetwork

Int8 = NDArray[np.int8]
_LIMIT = 64  # samples: files may state a batch of one


def compare_with_file(
    source: Source, model: Imported, samples: Any = None, labels: Any = None, data: str = "random inputs"
) -> Verification | str:
    """Return the differences of an int8 file's outputs in its runtime from the integer network's, in quanta.

    Returns the reason when they cannot be compared: a float model, a runtime that is not installed or refuses the file.
    """
    network = model.network
    if network is None:
        return "a float model: its integer network is quantized here"
    runtimes: dict[str, Callable[..., tuple[str, Callable[[Int8], Int8]]]] = {
        "onnx": _onnx,
        "tflite": _tflite,
    }
    start = runtimes.get(source.name.rpartition(".")[2].lower())
    if start is None:
        return "its format has no runtime here"
    try:
        title, run = start(source.content, network, model.channels_last)
        return compare(network, run, runtime=title, samples=samples, labels=labels, data=data, most=_LIMIT)
    except ImportError as error:
        return f"its runtime is not installed: {error}"
    except Exception as error:  # noqa: BLE001  runtimes raise anything for a file that they refuse
        words = (str(error).strip().splitlines() or [""])[0]
        return f"its runtime refuses the file: {type(error).__name__}: {words}"


def _onnx(content: bytes, network: IntegerNetwork, channels_last: bool) -> tuple[str, Callable[[Int8], Int8]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given, made = session.get_inputs()[0], session.get_outputs()[0]
    first, last = network.tensors[network.input], network.tensors[network.output]
    fixed = isinstance(given.shape[0], int)

    def run(x: Int8) -> Int8:
        real = dequantize_values(x, first.scale, first.zero_point)
        step = int(given.shape[0]) if fixed else len(real)
        parts = []
        for start in range(0, len(real), step):
            part = real[start : start + step]
            short = step - len(part)
            whole = np.concatenate([part, np.repeat(part[:1], short, 0)]) if short else part
            (out,) = session.run([made.name], {given.name: whole})
            parts.append(out.reshape(len(whole), *last.shape)[: len(part)])
        return quantize_values(np.concatenate(parts), last.scale, last.zero_point)

    return f"onnxruntime {onnxruntime.__version__} (CPU)", run


def _tflite(
    content: bytes, network: IntegerNetwork, channels_last: bool
) -> tuple[str, Callable[[Int8], Int8]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    first, last = network.tensors[network.input], network.tensors[network.output]

    def run(x: Int8) -> Int8:
        images = first.to_memory(x) if channels_last else x
        parts = []
        for image in images:
            interpreter.set_tensor(given["index"], _as(given["dtype"], image, first).reshape(given["shape"]))
            interpreter.invoke()
            out = interpreter.get_tensor(made["index"])
            parts.append(_from(out, last).reshape(-1))
        outputs = np.stack(parts)
        images_out = len(made["shape"]) == 4
        return last.from_memory(outputs) if images_out else outputs.reshape(-1, *last.shape)

    return f"LiteRT {version('ai-edge-litert')} (CPU)", run


def _as(kind: Any, x: Int8, info: Any) -> NDArray[Any]:
    """Convert int8 values to the file's input."""
    if kind == np.uint8:
        return (x.astype(np.int16) + 128).astype(np.uint8)
    return x if kind == np.int8 else dequantize_values(x, info.scale, info.zero_point)


def _from(x: NDArray[Any], info: Any) -> Int8:
    """Convert the file's output to int8 values."""
    if x.dtype == np.uint8:
        return (x.astype(np.int16) - 128).astype(np.int8)
    return x if x.dtype == np.int8 else quantize_values(x, info.scale, info.zero_point)
