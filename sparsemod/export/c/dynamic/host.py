"""Compile and run a dynamically quantized network's C project on this machine."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.export.c.dynamic.project import generate
from sparsemod.export.c.dynamic.sources import common, filled
from sparsemod.export.c.host import ANSWERS, FLAGS, compile_program
from sparsemod.files import scratch
from sparsemod.layouts import TensorLayout
from sparsemod.quantization.dynamic_network import DynamicNetwork

Float32 = NDArray[np.float32]
Case = tuple[DynamicNetwork, Any] | tuple[DynamicNetwork, Any, Any]


def host_run(
    network: DynamicNetwork,
    samples: Any,
    lengths: Any = None,
    *,
    raw: bool = False,
    flags: Sequence[str] = FLAGS,
) -> Float32:
    """Return the outputs (N, *output shape) of the compiled C code for samples (N, *input shape).

    `raw`: the samples are raw, and the C code normalizes them. `lengths` (N,): the valid steps. Raises SparsemodError without a
    compiler, or when compiling or running fails.
    """
    return host_run_all([(network, samples, lengths)], raw=raw, flags=flags)[0]


def host_run_all(cases: Sequence[Case], *, raw: bool = False, flags: Sequence[str] = FLAGS) -> list[Float32]:
    """Run `host_run` for many networks, (network, samples) or (network, samples, lengths), in one program."""
    with scratch("sparsemod-c-") as folder:
        program = _compiled(cases, folder, flags)
        found = []
        for index, case in enumerate(cases):
            content = _bytes(program, index, case, raw, "outputs")
            found.append(unpacked(case[0], content, len(case[1])))
        return found


def host_answers(
    network: DynamicNetwork, samples: Any, lengths: Any = None, *, flags: Sequence[str] = FLAGS
) -> NDArray[Any]:
    """Return what the compiled NAME_classify, NAME_predict or NAME_score gives, in the form of `DynamicNetwork.answers`."""
    case = (network, samples, lengths)
    with scratch("sparsemod-c-") as folder:
        content = _bytes(_compiled([case], folder, flags), 0, case, False, "answers")
    shape = network.output_shape
    shapes = {"values": shape, "labels": shape, "pixels": shape[1:]}
    return np.frombuffer(content, ANSWERS[network.kind][1]).reshape(
        len(samples), *shapes.get(network.kind, ())
    )


def _compiled(cases: Sequence[Case], folder: Path, flags: Sequence[str]) -> Path:
    projects = [generate(case[0], name=f"net{index}") for index, case in enumerate(cases)]
    models = {project.name: common(project.parts) for project in projects}
    types = {kind: declaration for kind, (declaration, _) in ANSWERS.items()}
    driver = filled("driver.c", projects=models, answer_types=types)
    return compile_program(projects, driver, folder, flags)


def _bytes(program: Path, index: int, case: Case, raw: bool, wanted: str) -> bytes:
    network, samples = case[0], np.asarray(case[1], np.float32)
    if samples.shape[1:] != network.input_shape:
        raise InvalidInput("samples", samples.shape, f"shape (N, {', '.join(map(str, network.input_shape))})")
    content = packed(network, samples, case[2] if len(case) > 2 else None)
    command = [str(program), str(index), "raw" if raw else "normalized", wanted]
    process = subprocess.run(command, input=content, capture_output=True, check=False)
    if process.returncode:
        message = process.stderr.decode(errors="replace").strip()[-2000:]
        raise SparsemodError(f"the compiled network exited with status {process.returncode}: {message}")
    return process.stdout


def packed(network: DynamicNetwork, samples: Float32, lengths: Any = None) -> bytes:
    """Return samples (N, *input shape) as the C code reads them, each after its length if the network uses lengths."""
    flat = _in_memory(samples, network.graph.layout(network.graph.input))
    steps = network.checked_lengths(len(flat), lengths)
    if steps is None:
        return flat.tobytes()
    pairs = zip(steps.astype("<i4"), flat, strict=True)
    return b"".join(length.tobytes() + sample.tobytes() for length, sample in pairs)


def unpacked(network: DynamicNetwork, content: bytes, count: int) -> Float32:
    """Return the outputs (N, *output shape) of `count` samples. Raises SparsemodError for another number of bytes."""
    graph = network.graph
    shape, memory = graph.shapes[graph.output], graph.layout(graph.output).memory
    flat = np.frombuffer(content, "<f4")
    if flat.size != count * graph.elements(graph.output):
        raise SparsemodError(f"the compiled network wrote {len(content)} bytes for {count} samples")
    stored = flat.reshape(count, *(shape[axis] for axis in memory))
    return np.ascontiguousarray(
        stored.transpose(0, *(1 + int(axis) for axis in np.argsort(memory))), np.float32
    )


def _in_memory(values: Float32, layout: TensorLayout) -> Float32:
    axes = (0, *(axis + 1 for axis in layout.memory))
    return np.ascontiguousarray(values.transpose(axes), "<f4").reshape(len(values), -1)
