"""Two exported models in one firmware: from objects and from libraries, in both orders, of one release and of two."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_export import quantized
from support_programs import needs
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.export.c import generate
from sparsemod.export.names import HEADERS, LONGEST, checked_name, model_name
from sparsemod.quantization import IntegerNetwork

COMPILE = ("cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-I.")
needs_archiver = needs("cc", "ar", package="gcc")


class Named(nn.Module):
    """Layers det.0 and det.2.

    In earlier releases the model `face` defined face_det_0, like a model `face_det`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.det = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6))
        self.last = nn.Linear(6 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.det(x).flatten(1))


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 10))


@dataclass(frozen=True)
class Built:
    """An export, compiled: its folder, objects and library."""

    name: str
    network: IntegerNetwork
    folder: Path
    objects: tuple[Path, ...]
    library: Path


def built(network: IntegerNetwork, name: str, folder: Path, *, other_release: bool = False) -> Built:
    """The export of a network; of another release: kernels of another version, whose structs have another layout."""
    made = generate(network, name=name)
    for path, text in made.files.items():
        if other_release:
            text = re.sub(r"^(#define (nn_\w+) \2_)\w{8}$", r"\g<1>01234567", text, flags=re.MULTILINE)
            text = text.replace(
                "    int32_t taps;\n    int32_t outputs;\n", "    int32_t outputs;\n    int32_t taps;\n"
            )
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    subprocess.run([*COMPILE, "-c", *made.sources], cwd=folder, check=True)
    objects = tuple(folder / f"{Path(source).stem}.o" for source in made.sources)
    subprocess.run(["ar", "rcs", f"lib{name}.a", *(one.name for one in objects)], cwd=folder, check=True)
    return Built(name, network, folder, objects, folder / f"lib{name}.a")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    place = tmp_path_factory.mktemp("models")
    face, other = quantized(Named), quantized(plain, seed=3)
    return {
        "face": built(face, "face", place / "face"),
        "same": built(other, "face_det", place / "same"),
        "other": built(other, "face_det", place / "other", other_release=True),
    }


def outputs(
    parts: Sequence[Built], files: Sequence[Path], folder: Path, images: np.ndarray
) -> list[np.ndarray]:
    """Return the outputs of each model in one program linked from `files`."""
    includes = "".join(f'#include "{part.folder}/{part.name}.h"\n' for part in parts)
    body = "".join(
        f"        {{ int8_t out[{p.name.upper()}_OUTPUT_SIZE]; {p.name}_run(in, out); fwrite(out, sizeof out, 1, stdout); }}\n"
        for p in parts
    )
    (folder / "main.c").write_text(
        f"#include <stdio.h>\n{includes}int main(void)\n{{\n    int8_t in[64];\n"
        f"    while (fread(in, sizeof in, 1, stdin) == 1) {{\n{body}    }}\n    return 0;\n}}\n"
    )
    subprocess.run([*COMPILE, "-o", "firmware", "main.c", *files], cwd=folder, check=True)
    done = subprocess.run([folder / "firmware"], input=images.tobytes(), capture_output=True, check=True)
    sizes = [part.network.tensors[part.network.output].shape[0] for part in parts]
    rows = np.frombuffer(done.stdout, np.int8).reshape(len(images), sum(sizes))
    return np.split(rows, np.cumsum(sizes)[:-1], axis=1)


@needs_archiver
@pytest.mark.parametrize("linked", ["objects", "libraries"])
@pytest.mark.parametrize("second", ["same", "other"])
@pytest.mark.parametrize("turned", [False, True])
def test_both_models_give_their_own_outputs(
    models: dict[str, Built], linked: str, second: str, turned: bool, tmp_path: Path
) -> None:
    parts = [models["face"], models[second]]
    if turned:
        parts.reverse()
    files = [f for p in parts for f in (p.objects if linked == "objects" else (p.library,))]
    images = np.random.default_rng(1).integers(-128, 128, (20, 1, 8, 8)).astype(np.int8)
    for part, found in zip(parts, outputs(parts, files, tmp_path, images), strict=True):
        assert np.array_equal(found, part.network.run(images)), part.name


@needs_archiver
def test_symbols_of_an_export_contain_its_name_or_the_kernels_version(models: dict[str, Built]) -> None:
    for part in models.values():
        listed = subprocess.run(
            ["nm", "-g", "--defined-only", *part.objects], capture_output=True, text=True, check=True
        ).stdout
        symbols = {line.split()[-1] for line in listed.splitlines() if len(line.split()) == 3}
        own = {symbol for symbol in symbols if not symbol.startswith("nn_")}
        assert own == {
            f"{part.name}_{word}" for word in ("quantize", "dequantize", "run", "classify", "input")
        }
        assert all(re.fullmatch(r"nn_\w+_[0-9a-f]{8}", symbol) for symbol in symbols - own)


def claimed(name: str, network: IntegerNetwork) -> set[str]:
    """The files, symbols and macros of an export."""
    made = generate(network, name=name)
    header, weights = made.files[f"{name}.h"], made.files[f"{name}.weights.h"]
    files = {path for path in made.files if name in path}
    symbols = set(re.findall(rf"\b{name}_\w+", header + weights)) | set(
        re.findall(r"^#define (\w+)", header, re.MULTILINE)
    )
    return files | symbols


def test_no_two_names_claim_the_same_file_symbol_or_macro() -> None:
    network = quantized(plain)
    names = ["face", "face_det", "face_0", "face_run", "face_input", "face_input_size", "face_h", "face_weights", "face_0_0", "det"]  # fmt: skip
    found = {name: claimed(name, network) for name in names}
    for first, second in combinations(names, 2):
        assert not found[first] & found[second], (first, second)


@pytest.mark.parametrize("name", ["", "Net", "3d", "a-b", "nn_x", "main", "x" * 41, "a/../b", "a__b", "a_", "_a", "stdint", "string", "time", "math", "arm_acle", "m", "c"])  # fmt: skip
def test_names_that_would_shadow_or_collide_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        checked_name(name)
    with pytest.raises(InvalidInput, match="name"):
        generate(quantized(plain), name=name)


@given(st.text(max_size=60), st.integers(0, 10**6))
def test_every_experiment_has_a_name_for_its_models(title: str, number: int) -> None:
    name = checked_name(model_name(title, number))
    assert name.endswith(f"_{number}") and len(name) <= LONGEST
    assert checked_name(model_name(title)) not in HEADERS


def test_names_by_hand() -> None:
    assert model_name("MNIST, große Netze", 7) == "mnist_grosse_netze_7"
    assert model_name("string") == "model_string" and model_name("3 x") == "network_3_x"
    assert model_name("数字", 2) == "network_2"
