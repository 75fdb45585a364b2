"""The kernels' pointers stay within their tensor or right behind it, as C requires even of unread pointers.

The generated C is compiled as C++ with a class in place of pointers to int8_t, which knows the bounds of its
tensor.
"""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from support_export import quantized
from support_programs import needs
from torch import nn

from sparsemod.export.c import generate
from sparsemod.export.c.encoding import smallest
from sparsemod.quantization import IntegerNetwork

CHECKED = """
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
template <class T> struct checked {
    T *base = nullptr; long size = 0, at = 0;
    checked() {}
    checked(T *p) : base(p), size(1L << 40) {}
    checked(T *p, long n) : base(p), size(n) {}
    template <long N> checked(T (&a)[N]) : base(a), size(N) {}
    operator checked<const T>() const { checked<const T> c(base, size); c.at = at; return c; }
    checked moved(long n) const {
        if (at + n < 0 || at + n > size) { std::fprintf(stderr, "pointer at %ld of %ld\\n", at + n, size); std::_Exit(3); }
        checked c(*this); c.at += n; return c;
    }
    T *read(long n, long count = 1) const { moved(n + count); return base + moved(n).at; }
    checked operator+(long n) const { return moved(n); }
    checked operator-(long n) const { return moved(-n); }
    long operator-(checked o) const { return at - o.at; }
    checked &operator+=(long n) { return *this = moved(n); }
    checked &operator++() { return *this = moved(1); }
    checked operator++(int) { checked c(*this); *this = moved(1); return c; }
    T &operator*() const { return *read(0); }
    T &operator[](long n) const { return *read(n); }
    bool operator!=(checked o) const { return at != o.at; }
    bool operator==(checked o) const { return at == o.at; }
};
typedef checked<const int8_t> from_t;
typedef checked<int8_t> to_t;
inline void memcpy(to_t to, from_t from, size_t n) { std::memcpy(to.read(0, (long)n), from.read(0, (long)n), n); }
inline void memmove(to_t to, from_t from, size_t n) { std::memmove(to.read(0, (long)n), from.read(0, (long)n), n); }
inline void memcpy(void *to, from_t from, size_t n) { std::memcpy(to, from.read(0, (long)n), n); }
inline void memcpy(to_t to, const void *from, size_t n) { std::memcpy(to.read(0, (long)n), from, n); }
"""

NETWORKS = {
    "conv": lambda: nn.Conv2d(3, 5, 3, padding=1),
    "conv_strided": lambda: nn.Conv2d(3, 6, 2, stride=2, dilation=2, padding=1),
    "conv_grouped": lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "conv_1x1": lambda: nn.Conv2d(3, 5, 1, stride=2),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6),
    "depthwise_inside": lambda: nn.Conv2d(9, 9, 3, groups=9),
    "depthwise_dilated": lambda: nn.Conv2d(6, 6, (2, 5), padding=(0, 2), groups=6, dilation=(2, 1)),
    "max_pool": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "avg_pool": lambda: nn.AvgPool2d(3, stride=2, padding=1),
    "mean": lambda: nn.AdaptiveAvgPool2d(1),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(54, 5)),
}


def as_cpp(text: str) -> str:
    text = re.sub(r"const int8_t \*", "from_t ", text)
    return re.sub(r"(?<!u)\bint8_t \*", "to_t ", text)


def run(network: IntegerNetwork, images: np.ndarray, folder: Path) -> np.ndarray:
    made = generate(network, name="net", encodings=smallest(network))
    for path, text in made.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(as_cpp(text))
    (folder / "checked.h").write_text(CHECKED)
    (folder / "driver.c").write_text(
        '#include "net.h"\n#include <cstdio>\nstatic int8_t in[NET_INPUT_SIZE], out[NET_OUTPUT_SIZE];\n'
        "int main() { while (std::fread(in, sizeof in, 1, stdin) == 1) {\n"
        "net_run(from_t(in, NET_INPUT_SIZE), to_t(out, NET_OUTPUT_SIZE)); std::fwrite(out, sizeof out, 1, stdout); } }\n"
    )
    units = [*made.sources, "driver.c"]
    command = ["g++", "-std=gnu++20", "-w", "-O1", "-x", "c++", "-include", "checked.h", "-I.", "-o", "net"]
    subprocess.run([*command, *units], cwd=folder, check=True)
    given = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).tobytes()
    done = subprocess.run([folder / "net"], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.int8)


@needs("g++", package="g++")
@pytest.mark.parametrize("kind", NETWORKS)
def test_no_pointer_leaves_its_tensor(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = NETWORKS[kind]()
    channels = next(
        (p.shape[1] * m.groups for m in module.modules() if isinstance(m, nn.Conv2d) for p in [m.weight]), 6
    )
    network = quantized(module, (channels, 3, 3) if kind == "linear" else (channels, 7, 7))
    images = np.random.default_rng(0).integers(-128, 128, (3, *network.input_shape)).astype(np.int8)
    expected = network.run(images)
    expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
    assert np.array_equal(run(network, images, tmp_path), expected.reshape(-1))
