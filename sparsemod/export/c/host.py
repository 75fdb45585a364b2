"""Compile and run a network's C project on this machine, to check that the generated C gives the interpreter's bytes."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.export.c.project import CProject, generate
from sparsemod.export.c.sources import common, filled
from sparsemod.files import scratch
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.packing import packed, unpacked

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")


def compiler() -> str:
    """Return the path of the first C compiler found. Raises SparsemodError with the package to install."""
    for name in COMPILERS:
        path = shutil.which(name)
        if path:
            return path
    raise SparsemodError(
        f"no C compiler on PATH (looked for {', '.join(COMPILERS)}); apt-get install gcc provides one"
    )


def host_run(
    network: IntegerNetwork, images: NDArray[Any], lengths: Any = None, *, flags: Sequence[str] = FLAGS
) -> NDArray[np.int8]:
    """Return the int8 outputs (N, *output shape) of the compiled C code.

    `images` (N, *input shape), channels first as everywhere in Python. The C code reads int8 images unchanged and quantizes float
    images; these are raw samples if the network has a normalization. `lengths` (N,): see IntegerNetwork.run. Raises SparsemodError without a compiler, or when compiling or
    running fails.
    """
    return host_run_all([(network, images, lengths)], flags=flags)[0]


ANSWERS: dict[str, tuple[str, np.dtype[Any]]] = {
    "classes": ("int answer[1]%.0s", np.dtype(np.intc)),
    "pixels": ("uint8_t answer[%s_POSITIONS]", np.dtype(np.uint8)),
    "labels": ("uint8_t answer[%s_OUTPUT_SIZE]", np.dtype(np.uint8)),
    "values": ("float answer[%s_OUTPUT_SIZE]", np.dtype(np.float32)),
    "normal": ("float answer[1]%.0s", np.dtype(np.float32)),
}
"""Kind of network -> declaration of what the C code makes of the outputs, and its type."""


def host_answers(
    network: IntegerNetwork, images: NDArray[Any], lengths: Any = None, *, flags: Sequence[str] = FLAGS
) -> NDArray[Any]:
    """Return what the compiled NAME_classify, NAME_predict or NAME_score gives, in the form of `IntegerNetwork.answers`.

    Arguments and errors: see `host_run`.
    """
    with scratch("sparsemod-c-") as folder:
        program = _compile([generate(network, name="net0")], folder, flags)
        content = _bytes(program, 0, network, {network.input: np.asarray(images)}, lengths, "answers")
    shape = {"values": network.tensors[network.output].shape, "labels": network.tensors[network.output].shape}
    shape["pixels"] = network.tensors[network.output].shape[1:]
    return np.frombuffer(content, ANSWERS[network.kind][1]).reshape(len(images), *shape.get(network.kind, ()))


def host_run_named(
    network: IntegerNetwork,
    inputs: Mapping[str, NDArray[Any]],
    lengths: Any = None,
    *,
    flags: Sequence[str] = FLAGS,
) -> dict[str, NDArray[np.int8]]:
    """Return the int8 outputs of the compiled C code by name, for int8 or float inputs (N, *input shape) by name; see `host_run`."""
    with scratch("sparsemod-c-") as folder:
        program = _compile([generate(network, name="net0")], folder, flags)
        return unpacked(network, _outputs(program, 0, network, inputs, lengths))


def host_run_all(
    cases: Sequence[tuple[IntegerNetwork, NDArray[Any]] | tuple[IntegerNetwork, NDArray[Any], Any]],
    *,
    flags: Sequence[str] = FLAGS,
) -> list[NDArray[np.int8]]:
    """Run `host_run` for many networks in one program, which is much faster than one program each.

    A case is (network, images) or (network, images, lengths)."""
    projects = [generate(case[0], name=f"net{index}") for index, case in enumerate(cases)]
    with scratch("sparsemod-c-") as folder:
        program = _compile(projects, folder, flags)
        outputs = []
        for index, (network, images, *lengths) in enumerate(cases):
            outputs.append(_run(program, index, network, np.asarray(images), *lengths))
    return outputs


class Files(Protocol):
    """A project's files, for the compiler."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> Mapping[str, str]: ...

    @property
    def sources(self) -> Sequence[str]: ...


def _compile(projects: Sequence[CProject], folder: Path, flags: Sequence[str]) -> Path:
    return compile_program(projects, _driver(projects), folder, flags)


def compile_program(projects: Sequence[Files], driver: str, folder: Path, flags: Sequence[str]) -> Path:
    """Compile projects with a main file into `folder`/program. Raises SparsemodError without a compiler, or when it fails."""
    for project in projects:
        for path, content in project.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
    units = [f"{project.name}.c" for project in projects]
    kernels = sorted({path for project in projects for path in project.sources if "/" in path})
    (folder / "driver.c").write_text(driver, encoding="utf-8")
    command = [compiler(), *flags, "-I.", "-o", "program", "driver.c", *units, *kernels]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SparsemodError(f"the C compiler failed: {result.stderr.strip()[-2000:]}")
    return folder / "program"


def _run(
    program: Path, index: int, network: IntegerNetwork, images: NDArray[Any], lengths: Any = None
) -> NDArray[np.int8]:
    if network.several:
        raise InvalidInput("network", network.inputs, "one input and one output; use host_run_named")
    return unpacked(network, _outputs(program, index, network, {network.input: images}, lengths))["output"]


def _outputs(
    program: Path, index: int, network: IntegerNetwork, inputs: Mapping[str, NDArray[Any]], lengths: Any
) -> NDArray[np.int8]:
    """Return the outputs' bytes for each sample, one output after another."""
    flat = np.frombuffer(_bytes(program, index, network, inputs, lengths, "outputs"), np.int8)
    count, size = (
        len(next(iter(inputs.values()))),
        sum(network.tensors[n].elements for n in network.outputs.values()),
    )
    if len(flat) != count * size:
        raise SparsemodError(f"the compiled network wrote {len(flat)} bytes for {count} samples")
    return flat.reshape(count, size)


def _bytes(
    program: Path,
    index: int,
    network: IntegerNetwork,
    inputs: Mapping[str, NDArray[Any]],
    lengths: Any,
    wanted: str,
) -> bytes:
    """Return what the program writes: the network's outputs, or its answers."""
    for name, images in inputs.items():
        shape = network.tensors[name].shape
        if images.shape[1:] != shape or images.dtype.kind not in "if":
            raise InvalidInput(
                "images", (str(images.dtype), images.shape), f"whole numbers or floats of (N, {shape})"
            )
        whole = network.tensors[name].dtype
        if images.dtype.kind == "i" and images.dtype != whole:
            raise InvalidInput("images", str(images.dtype), f"{np.dtype(whole)} or floats")
    mode = "int8" if all(images.dtype.kind == "i" for images in inputs.values()) else "float"
    given = {
        name: images if mode == "int8" else np.asarray(images, np.float32) for name, images in inputs.items()
    }
    joined = packed(network, given)
    command = [str(program), str(index), mode, wanted]
    process = subprocess.run(
        command, input=_with_lengths(network, joined, lengths), capture_output=True, check=False
    )
    if process.returncode:
        message = process.stderr.decode(errors="replace").strip()[-2000:]
        raise SparsemodError(f"the compiled network exited with status {process.returncode}: {message}")
    return process.stdout


def _with_lengths(network: IntegerNetwork, inputs: NDArray[Any], lengths: Any) -> bytes:
    """Return the samples' bytes, each one's after its length if the network uses lengths."""
    steps = network.checked_lengths(len(inputs), lengths)
    if steps is None:
        return inputs.tobytes()
    pairs = zip(steps.astype(np.int32), inputs, strict=True)
    return b"".join(length.tobytes() + sample.tobytes() for length, sample in pairs)


def _driver(projects: Sequence[CProject]) -> str:
    types = {kind: declaration for kind, (declaration, _) in ANSWERS.items()}
    models = {project.name: common(project.parts) for project in projects}
    return filled("driver.c", projects=models, answer_types=types)
