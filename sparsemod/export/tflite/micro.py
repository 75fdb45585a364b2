"""Run a .tflite file in TensorFlow Lite Micro, in a separate process.

The allocation report is text on stderr, and an unsupported model may end the process."""

import io
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import SparsemodError

INSTALL = "pip install 'sparsemod[tflite]'"
MICRO_SAMPLES = 64  # maximum number of samples: they run one at a time, by reference kernels
_SECONDS = 120.0
_ARENA = 1 << 22  # minimum bytes of the arena; the report states the bytes used


@dataclass(frozen=True)
class Micro:
    """TensorFlow Lite Micro with one model. `memory` in bytes: the whole `arena`, and its two sections."""

    content: bytes
    version: str
    memory: dict[str, int]

    def run(self, inputs: Sequence[NDArray[np.int8]]) -> list[NDArray[np.int8]]:
        """Compute every int8 output from every int8 input, batch first and channels last. Raises SparsemodError."""
        return _call(self.content, inputs)[0]


def run_micro(content: bytes) -> Micro | str:
    """Return TensorFlow Lite Micro with this model and its allocation report, or a sentence that names the missing package."""
    if find_spec("tflite_micro") is None:
        return f"tflite-micro, whose allocation report gives the arena: {INSTALL}"
    try:
        name = f"TensorFlow Lite Micro {version('tflite-micro')}"
    except PackageNotFoundError:
        name = "TensorFlow Lite Micro"
    _, memory = _call(content, [])
    return Micro(content, f"{name} (reference kernels)", memory)


def _call(
    content: bytes, inputs: Sequence[NDArray[np.int8]]
) -> tuple[list[NDArray[np.int8]], dict[str, int]]:
    task = io.BytesIO()
    arrays: dict[str, Any] = {f"x{number}": x for number, x in enumerate(inputs)}
    np.savez(task, **{"content": np.frombuffer(content, np.uint8), **arrays})
    process = subprocess.run(
        [sys.executable, "-m", "sparsemod.export.tflite.micro"],
        input=task.getvalue(),
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    log = process.stderr.decode(errors="replace")
    if process.returncode:
        lines = [line for line in log.strip().splitlines() if line] or [f"status {process.returncode}"]
        raise SparsemodError(f"TensorFlow Lite Micro does not run the file: {' '.join(lines[-3:])}")
    found = np.load(io.BytesIO(process.stdout), allow_pickle=False)
    return [found[f"y{number}"] for number in range(len(found.files))], memory_of(log)


def memory_of(report: str) -> dict[str, int]:
    """Return the bytes in an allocation report: `arena`, `arena_head` (activations) and `arena_tail` (persistent data)."""
    memory = {}
    for key, words in (
        ("arena", "total"),
        ("arena_head", "non-persistent|head"),
        ("arena_tail", "persistent|tail"),
    ):
        match = re.search(rf"Arena allocation (?:{words})\D*(\d+) bytes", report)
        if match:
            memory[key] = int(match[1])
    return memory


def main() -> None:
    """Read a model and inputs from stdin, write outputs to stdout and the allocation report to stderr."""
    from ai_edge_litert.schema_py_generated import Model
    from tflite_micro.python.tflite_micro import runtime

    task = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    content = task["content"].tobytes()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=max(_ARENA, 10 * len(content)))
    made = Model.GetRootAs(content).Subgraphs(0)
    inputs, outputs = made.InputsLength(), made.OutputsLength()
    given = [task[f"x{i}"] for i in range(inputs)] if "x0" in task else []
    for i in range(inputs if not given else 0):
        given.append(np.zeros((1, *interpreter.get_input_details(i)["shape"][1:]), np.int8))
    results: list[list[Any]] = [[] for _ in range(outputs)]
    for number in range(len(given[0])):
        for i, x in enumerate(given):
            interpreter.set_input(x[number : number + 1], i)
        interpreter.invoke()
        for i, parts in enumerate(results):
            parts.append(interpreter.get_output(i))
    interpreter.print_allocations()
    arrays: dict[str, Any] = {f"y{i}": np.concatenate(parts) for i, parts in enumerate(results)}
    np.savez(sys.stdout.buffer, **arrays)


if __name__ == "__main__":
    main()
