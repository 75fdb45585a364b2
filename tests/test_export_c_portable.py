"""The generated C elsewhere: x87, -ffast-math, big-endian cores, C++11."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_export import Every, quantized
from support_programs import needs
from torch import nn

from sparsemod.export.c import generate, host_run
from sparsemod.export.c.host import FLAGS
from sparsemod.quantization import IntegerNetwork, TensorInfo
from sparsemod.quantization.layers import Clamp
from sparsemod.quantization.raw_samples import InputNormalization

ROUNDING = {
    "strict": FLAGS,
    "x87": ("-std=gnu99", "-O2", "-mfpmath=387"),
    "x87, fast": ("-std=gnu99", "-O3", "-mfpmath=387", "-ffast-math"),
    "fast": ("-std=gnu99", "-O3", "-ffast-math"),
}
ARM, QEMU = "arm-none-eabi-gcc", "qemu-armeb"


def nothing(scale: float, zero_point: int, normalization: InputNormalization | None) -> IntegerNetwork:
    """A network that gives its input of 3 x 1 x 4 back."""
    info = TensorInfo((3, 1, 4), float(np.float32(scale)), zero_point)
    return IntegerNetwork("x", "y", {"x": info, "y": info}, (Clamp("same", ("x",), "y"),), normalization)


def samples(network: IntegerNetwork) -> np.ndarray:
    """Raw samples, many of them at the edge between two quanta, some of them no numbers."""
    rng = np.random.default_rng(0)
    scale = network.tensors["x"].scale
    edges = ((np.arange(-200, 200) + 0.5) * np.float32(scale)).astype(np.float32)
    near = np.concatenate(
        [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))]
    )
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-45, 1e37], np.float32)
    wide = rng.normal(0, 60 * scale, 2990).astype(np.float32)
    raw = np.concatenate([near, odd, wide])
    if network.normalization is not None:
        shuffled = rng.permutation(raw)
        known = network.normalization
        back = [shuffled * np.float32(known.scale[c]) + np.float32(known.offset[c]) for c in range(3)]
        return np.stack(back, 1)[: len(raw) // 4 * 4].reshape(-1, 4, 3).transpose(0, 2, 1)[:, :, None].copy()
    return rng.permutation(raw)[: len(raw) // 12 * 12].reshape(-1, 3, 1, 4)


@needs("gcc", package="gcc")
@pytest.mark.parametrize("how", ROUNDING)
@pytest.mark.parametrize("normalized", [False, True])
def test_samples_are_quantized_as_in_python(how: str, normalized: bool) -> None:
    known = InputNormalization("standard", (4.891, -0.3, 1e6), (6.021, 0.017, 3.0)) if normalized else None
    network = nothing(0.0312, -7, known)
    raw = samples(network)
    expected = network.quantize_samples(raw)
    assert len(np.unique(expected)) > 200
    assert np.all(expected[np.isnan(raw)] == -7) and np.isnan(raw).any()
    assert np.array_equal(host_run(network, raw, flags=ROUNDING[how]), expected)


START = """
#include <stddef.h>
#include <stdint.h>
#include "net.h"
static int32_t call(int32_t number, int32_t a, void *b, int32_t c)
{
    register int32_t r7 __asm__("r7") = number;
    register int32_t r0 __asm__("r0") = a;
    register void *r1 __asm__("r1") = b;
    register int32_t r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r7) : "memory");
    return r0;
}
void *memcpy(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; ++i) { ((volatile char *)to)[i] = ((const char *)from)[i]; }
    return to;
}
void *memset(void *to, int value, size_t n)
{
    for (size_t i = 0; i < n; ++i) { ((volatile char *)to)[i] = (char)value; }
    return to;
}
void _start(void)
{
    static int8_t input[NET_INPUT_SIZE], output[NET_OUTPUT_SIZE];
    while (call(3, 0, input, sizeof input) == sizeof input) {
        net_run(input, output);
        call(4, 1, output, sizeof output);
    }
    call(1, 0, 0, 0);
}
"""


@needs(ARM, package="gcc-arm-none-eabi")
@needs(QEMU, package="qemu-user")
def test_a_big_endian_core_with_simd_gives_the_same_bytes(tmp_path: Path) -> None:
    network = quantized(Every)
    made = generate(network, name="net")
    for path, text in made.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "start.c").write_text(START)
    flags = [
        "-mcpu=cortex-a7",
        "-marm",
        "-mbig-endian",
        "-mbe8",
        "-O2",
        "-std=gnu99",
        "-ffreestanding",
        "-nostdlib",
    ]
    known = subprocess.run(
        [ARM, *flags, "-dM", "-E", "-x", "c", "/dev/null"], capture_output=True, text=True, check=True
    ).stdout
    assert "__ARM_FEATURE_SIMD32" in known and "__ARM_BIG_ENDIAN" in known
    # Floats are not needed here; the compiler's own library has no big-endian form.
    sources = [*made.sources, "start.c"]
    command = [ARM, *flags, "-fno-tree-loop-distribute-patterns", "-ffunction-sections", "-Wl,--gc-sections", "-Wl,--unresolved-symbols=ignore-all", "-static", "-I.", "-o", "net", *sources]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True)
    images = np.random.default_rng(0).integers(-128, 128, (10, *network.input_shape)).astype(np.int8)
    done = subprocess.run([QEMU, tmp_path / "net"], input=images.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.int8).reshape(len(images), -1)
    assert np.array_equal(found, network.run(images))


@needs("g++", package="g++")
@pytest.mark.parametrize("standard", ["c++11", "c++14", "c++20"])
def test_the_header_is_strict_cpp(standard: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = quantized(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    network = replace(network, classes=("é", 'a"b', "c\\"))
    (tmp_path / "net.h").write_text(generate(network, name="net").files["net.h"])
    (tmp_path / "use.cpp").write_text(
        '#include "net.h"\nstatic_assert(NET_OUTPUT_SIZE == 3 && NET_LABEL_COUNT == 3, "sizes");\n'
        "const float scales[] = {NET_INPUT_SCALE, NET_OUTPUT_SCALE};\n"
        "int zero() { return NET_INPUT_ZERO_POINT + NET_OUTPUT_ZERO_POINT; }\nconst char *label() { return net_labels[1]; }\n"
    )
    command = [
        "g++",
        f"-std={standard}",
        "-pedantic-errors",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        "use.cpp",
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr
