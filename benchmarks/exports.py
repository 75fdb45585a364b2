"""Our C beside the other formats, on the same trained networks: RAM against TensorFlow Lite Micro's arena, bytes against ONNX and .tflite files,
and the accuracy of each exported file against the float network.

    python benchmarks/exports.py [--networks 6] [--epochs 8]

Networks of family `cnn`, drawn at random and trained on the digits. The arena of TensorFlow Lite Micro is its own allocation report; ours is
what is linked (arena, input included), with the stack measured on the emulated core where the tools are there. The file of ONNX Runtime holds the
graph beside the weights, so its size is compared with our constants and, where linked, with all our flash.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from sparsemod.data import load
from sparsemod.emulator import Emulator, available
from sparsemod.errors import BuildError
from sparsemod.export import export
from sparsemod.export.c import generate
from sparsemod.networks import create_family
from sparsemod.quantization import quantize
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import Resident, train


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    data = load(DatasetSpec(name="digits"))
    family = create_family("cnn", {"max_filters": 24})
    space, rng = family.space(data.info), np.random.default_rng(7)
    x, y = data.validation.x, data.validation.y
    emulator = None if available("cortex-m4") else Emulator("cortex-m4")
    print(
        f"validation error in %, {len(y)} samples; RAM and sizes in bytes; instructions on an emulated Cortex-M4"
    )
    print(
        "   float    int8       C    onnx  tflite |  our arena  + stack  TFLM arena  ratio |  our data  our flash    .onnx  .tflite | instructions"
    )
    arenas: list[float] = []
    sizes: list[float] = []
    lost: list[float] = []
    done = 0
    while done < given.networks:
        torch.manual_seed(done)
        try:
            module = family.build(space.sample(rng), data.info)
        except BuildError:
            continue
        train(module, Resident.of(data), TrainingSpec(batch_size=64), epochs=given.epochs, seed=done)
        network = quantize(module, data.train.tensors()[0][:256])
        with torch.inference_mode():
            floating = float((module(data.validation.tensors()[0]).argmax(1).numpy() != y).mean())
        errors, files, memory = {}, {}, {}
        for name in ("c", "onnx", "tflite"):
            with tempfile.TemporaryDirectory() as folder:
                report = export(
                    name, network, Path(folder), name="network", samples=x, labels=y, data="validation"
                )
            errors[name] = report.verifications[0].error if report.verifications else None
            files[name] = max((f.size for f in report.files if f.name.endswith(f".{name}")), default=0)
            memory |= report.memory
        ours = generate(network)
        found = emulator.measure(network) if emulator is not None else None
        micro = next((size for what, size in memory.items() if "arena" in what), None)
        shown = [
            f"{100 * e:7.2f}" if e is not None else "      -"
            for e in (floating, network.error(x, y), *errors.values())
        ]
        ratio = ours.arena.size / micro if micro else None
        print(
            " ".join(shown), "|", f"{ours.arena.size:10d} {found.stack if found else '-':>8} {micro or '-':>11} {f'{ratio:.2f}' if ratio else '-':>6} |",
            f"{ours.data_bytes:9d} {found.flash if found else '-':>10} {files['onnx']:8d} {files['tflite']:8d} | {found.instructions if found else '-':>12}",
            flush=True,
        )  # fmt: skip
        arenas += [ratio] if ratio else []
        sizes.append(ours.data_bytes / files["onnx"])
        lost.append(network.error(x, y) - floating)
        done += 1
    if arenas:
        print(f"our arena / TensorFlow Lite Micro's: median {statistics.median(arenas):.2f}")
    print(f"our constants / ONNX file: median {statistics.median(sizes):.2f}")
    print(f"int8 error minus float error: mean {100 * statistics.mean(lost):.2f} points")


if __name__ == "__main__":
    main()
