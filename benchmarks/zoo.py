"""Small networks in the style of published ones through every stage: one row each, and how many reach the end.

    python benchmarks/zoo.py [--cores m4,m0] [--only TEXT]

Columns: the largest difference between int8 and float in quanta; whether the compiled C and each emulated core give the interpreter's
bytes; the largest difference of ONNX Runtime and LiteRT in quanta ("no" where the format cannot express a layer); flash, static RAM and
instructions on the first core, with the relative error of the predicted instructions; seconds. A refused network's row is its error.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from zoo_networks import ZOO

from sparsemod.emulator import Emulator
from sparsemod.errors import SparsemodError, Unsupported
from sparsemod.export.c.encoding import encodings
from sparsemod.export.c.host import host_run_named
from sparsemod.export.onnx.exporter import _session, to_onnx
from sparsemod.export.onnx.exporter import run_named as run_onnx
from sparsemod.export.tflite.exporter import run_named as run_tflite
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.graph import Graph, capture, deployed, run_float_named, without_ending
from sparsemod.measure.predicted import predict
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.targets import operator_model

SAMPLES = 24


def row(name: str, cores: list[Emulator]) -> dict[str, Any]:
    """Return one network's row. Raises SparsemodError when a stage refuses it."""
    make, shape = ZOO[name]
    started = time.perf_counter()
    torch.manual_seed(0)
    module = make().eval()
    graph, dropped = without_ending(capture(module, shape))
    x = {each: torch.randn(SAMPLES, *graph.shapes[each]) for each in graph.inputs}
    network = quantize(graph, x)
    if not isinstance(network, IntegerNetwork):
        raise TypeError("the scheme static makes integer networks")
    images = network.quantize_named(x)
    wanted = network.run_named(images)
    first = {each: values[:2] for each, values in images.items()}
    emulations = [core.measure(network, first) for core in cores]
    model = operator_model(cores[0].machine.core)
    predicted = predict(
        deployed(graph), model, nonzeros=dict(network.layer_nonzeros()), encodings=encodings(network)
    )
    return {
        "int8": "-" if dropped else f"{_quanta(graph, network, x):.1f}",
        "c": _equal(host_run_named(network, images), wanted),
        "cores": all(
            _equal(e.named, {each: values[:2] for each, values in wanted.items()}) for e in emulations
        ),
        "onnx": _difference(lambda: run_onnx(network, _session(to_onnx(network), True), images), wanted),
        "tflite": _difference(lambda: run_tflite(network, to_tflite(network), images), wanted),
        "flash": emulations[0].flash,
        "ram": emulations[0].static_ram,
        "instructions": emulations[0].instructions,
        "error": predicted.instructions / emulations[0].instructions - 1,
        "predicted": predicted.instructions,
        "seconds": time.perf_counter() - started,
    }


Named = Mapping[str, Any]


def _quanta(graph: Graph, network: IntegerNetwork, x: Mapping[str, torch.Tensor]) -> float:
    """Return the largest difference of int8 and float in quanta of an output."""
    truth, found = run_float_named(graph, x), network.logits_named(x)
    scales = {name: network.tensors[tensor].scale for name, tensor in network.outputs.items()}
    return max(
        float(np.abs(values - truth[name].numpy()).max()) / scales[name] for name, values in found.items()
    )


def _equal(found: Named, wanted: Named) -> bool:
    return all(np.array_equal(found[name], values) for name, values in wanted.items())


def _difference(run: Callable[[], Named], wanted: Named) -> str:
    try:
        found = run()
    except Unsupported:
        return "no"
    return str(max(int(np.abs(found[name].astype(int) - values).max()) for name, values in wanted.items()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cores", default="cortex-m4", help="cores, separated by commas")
    parser.add_argument("--only", default="", help="only networks whose name contains this text")
    options = parser.parse_args()
    cores = [Emulator(core) for core in options.cores.split(",")]
    names = [name for name in ZOO if options.only in name]
    print("| network | int8 | C | cores | ONNX | LiteRT | flash | RAM | instructions | predicted | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for name in names:
        try:
            found = row(name, cores)
        except SparsemodError as error:
            print(f"| {name} | refused: {str(error).split('; supported:')[0]} |")
            continue
        rows.append(found)
        exact = ["exact" if found[key] else "DIFFERS" for key in ("c", "cores")]
        print(
            f"| {name} | {found['int8']} | {exact[0]} | {exact[1]} | {found['onnx']} | {found['tflite']} | {found['flash']} | "
            f"{found['ram']} | {found['instructions']} | {found['error']:+.1%} | {found['seconds']:.1f} |",
            flush=True,
        )
    print(f"\n{len(rows)} of {len(names)} networks ({len(rows) / len(names):.1%}) reach every stage.")
    if len(rows) > 1:
        errors = [abs(found["error"]) for found in rows]
        tau = kendalltau([r["predicted"] for r in rows], [r["instructions"] for r in rows]).statistic
        print(
            f"Predicted instructions: mean error {np.mean(errors):.1%}, worst {max(errors):.1%}, tau {tau:.3f}."
        )


if __name__ == "__main__":
    main()
