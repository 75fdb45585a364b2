"""Run a .tflite file in TensorFlow Lite Micro, in a separate process.

The allocation report is text on stderr, and an unsupported model may end the process."""

import io
import re
import subprocess
import sys
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

    def run(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """Compute int8 outputs from int8 inputs, batch first and channels last. Raises SparsemodError."""
        return _call(self.content, x)[0]


def run_micro(content: bytes) -> Micro | str:
    """Return TensorFlow Lite Micro with this model and its allocation report, or a sentence that names the missing package."""
    if find_spec("tflite_micro") is None:
        return f"tflite-micro, whose allocation report gives the arena: {INSTALL}"
    try:
        name = f"TensorFlow Lite Micro {version('tflite-micro')}"
    except PackageNotFoundError:
        name = "TensorFlow Lite Micro"
    _, memory = _call(content, None)
    return Micro(content, f"{name} (reference kernels)", memory)


def _call(content: bytes, x: NDArray[np.int8] | None) -> tuple[NDArray[np.int8], dict[str, int]]:
    task = io.BytesIO()
    task_arrays: dict[str, Any] = {"content": np.frombuffer(content, np.uint8)}
    np.savez(task, **task_arrays if x is None else {**task_arrays, "x": x})
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
    outputs: NDArray[np.int8] = np.load(io.BytesIO(process.stdout), allow_pickle=False)
    return outputs, memory_of(log)


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
    from tflite_micro.python.tflite_micro import runtime

    task = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    content = task["content"].tobytes()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=max(_ARENA, 10 * len(content)))
    shape = interpreter.get_input_details(0)["shape"]
    x = task["x"] if "x" in task else np.zeros((1, *shape[1:]), np.int8)
    outputs = []
    for sample in x:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0))
    interpreter.print_allocations()
    np.save(sys.stdout.buffer, np.concatenate(outputs), allow_pickle=False)


if __name__ == "__main__":
    main()
