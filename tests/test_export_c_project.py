"""C projects as folders: their files, their builds, and rejected networks."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_export_c import Drawn
from support_operators import unregistered_afterwards
from support_programs import needs
from support_pruning import MODULES, seeded
from torch import nn

from sparsemod.errors import Conflict, InvalidInput, Unsupported
from sparsemod.export.c import generate, kernel_sources, project
from sparsemod.export.c.encoding import blocked, encode, gaps, mask, smallest
from sparsemod.export.c.host import FLAGS
from sparsemod.export.c.text import comment, double, layer_name, real, string
from sparsemod.graph import capture, deployed
from sparsemod.kinds import KINDS, Kind
from sparsemod.measure.size import deployed_bytes, layer_sizes, sparse_bytes
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.layers import Clamp, Layer
from sparsemod.quantization.tensor import TensorInfo

CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m33", "cortex-m55")
ARM = "arm-none-eabi-gcc"


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 5, 3, groups=5), nn.Flatten(),
        nn.Linear(20, 70), nn.ReLU(), nn.Linear(70, 4),
    )  # fmt: skip
    with torch.no_grad():
        module[5].weight[torch.rand(70, 20) < 0.5] = 0
        module[7].weight[torch.rand(4, 70) < 0.95] = 0
    made = quantize(module.eval(), torch.randn(32, 2, 8, 8))
    return replace(made, encodings=smallest(made))


def run(*command: str, folder: Path, given: bytes = b"") -> bytes:
    found = subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
    assert not found.returncode, found.stderr.decode()
    assert not found.stderr, found.stderr.decode()
    return found.stdout


def test_a_folder_holds_exactly_the_needed_files(network: IntegerNetwork, tmp_path: Path) -> None:
    made = project(network, tmp_path / "net", name="tiny", device="STM32F446")
    found = {
        str(path.relative_to(tmp_path / "net")) for path in (tmp_path / "net").rglob("*") if path.is_file()
    }
    kernels = (
        "nn_apply",
        "nn_apply_gaps",
        "nn_apply_mask",
        "nn_conv",
        "nn_depthwise",
        "nn_linear",
        "nn_max_pool",
        "nn_requantized_any",
    )
    assert found == {
        "tiny.h", "tiny.c", "tiny.weights.h", "main.c", "Makefile", "CMakeLists.txt", "README.md",
        "kernels/nn.h", *(f"kernels/{kernel}.c" for kernel in kernels),
    }  # fmt: skip
    assert found == set(made.files)
    assert [layer.encoding for layer in made.layers] == ["dense", "", "dense", "mask", "gaps"]
    assert "STM32F446" in made.files["README.md"]
    assert all(
        "Apache-2.0" in text for path, text in made.files.items() if path.endswith((".c", ".h", ".md"))
    )
    assert generate(network, name="tiny", device="STM32F446").files == made.files
    assert list(tmp_path.iterdir()) == [tmp_path / "net"], "nothing else is left behind"
    assert not {"malloc", "printf", "math.h"} & set(" ".join(made.files[s] for s in made.sources).split())


def test_text_of_a_user_is_put_in_as_it_is(network: IntegerNetwork) -> None:
    """Neither a template's syntax nor HTML means anything in the names of layers, classes and devices."""
    word = "{{ name }} {% endif %} {# LAST_x #} a<b&c"
    layers = (replace(network.layers[0], name=word), *network.layers[1:])
    named = replace(network, layers=layers, encodings={}, classes=(word, "b", "c", "d"))
    files = generate(named, name="tiny", device=word).files
    assert f"/* 0. {word!r}: conv 3 x 3" in files["tiny.c"] and f'    "{word}",\n' in files["tiny.c"]
    assert f"/* ---- {word!r}: conv 3 x 3" in files["tiny.weights.h"]
    readme = files["README.md"]
    assert f"Made for {word}." in readme and f"| 0 | {word} | conv" in readme
    assert "| 0 | " + word.replace("<", "&lt;") + " |\n" in readme


@needs("make", "cc", package="make gcc")
def test_the_makefile_builds_and_the_example_classifies(network: IntegerNetwork, tmp_path: Path) -> None:
    project(network, tmp_path / "net")
    images = torch.randn(30, 2, 8, 8).numpy()
    run("make", folder=tmp_path / "net")
    last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    lines = run("./example", folder=tmp_path / "net", given=last.tobytes()).decode().split()
    assert [int(line) for line in lines] == network.predict(images).tolist()


@needs("cmake", package="cmake")
def test_cmake_builds(network: IntegerNetwork, tmp_path: Path) -> None:
    project(network, tmp_path / "net")
    run("cmake", "-S", ".", "-B", "build", folder=tmp_path / "net")
    run("cmake", "--build", "build", folder=tmp_path / "net")
    assert (tmp_path / "net" / "build" / "example").exists()


@needs(ARM, package="gcc-arm-none-eabi")
@pytest.mark.parametrize("core", CORES)
def test_every_kernel_compiles_for_every_core_without_a_warning(core: str, tmp_path: Path) -> None:
    for name, text in kernel_sources().items():
        (tmp_path / name).write_text(text)
    sources = [name for name in kernel_sources() if name.endswith(".c")]
    run(ARM, *FLAGS, f"-mcpu={core}", "-mthumb", "-c", *sources, folder=tmp_path)


@needs(ARM, package="gcc-arm-none-eabi")
def test_the_bytes_stated_are_the_bytes_compiled(network: IntegerNetwork, tmp_path: Path) -> None:
    made = project(network, tmp_path / "net")
    flags = ("-mcpu=cortex-m4", "-mthumb", "-std=c99", "-O2", "-I.", "-c")
    run(ARM, *flags, "network.c", folder=tmp_path / "net")
    table = run("arm-none-eabi-size", "-A", "network.o", folder=tmp_path / "net").decode()
    rodata = sum(int(line.split()[1]) for line in table.splitlines() if line.startswith(".rodata"))
    layers = len([layer for layer in made.layers if layer.kernels])
    # Beside them each layer has one struct of up to 68 bytes, and arrays are aligned.
    assert made.data_bytes < rodata <= made.data_bytes + 68 * layers + 4 * 3 * layers
    table = run("arm-none-eabi-size", "-A", "network.o", folder=tmp_path / "net").decode()
    assert (
        sum(int(line.split()[1]) for line in table.splitlines() if line.startswith(".bss"))
        == -(-made.arena.size // 4) * 4
    )


def test_a_project_replaces_an_earlier_one_but_no_other_folder(
    network: IntegerNetwork, tmp_path: Path
) -> None:
    project(network, tmp_path / "net", name="first")
    project(network, tmp_path / "net", name="second")
    assert (tmp_path / "net" / "second.c").exists() and not (tmp_path / "net" / "first.c").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(Conflict, match="other files"):
        project(network, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize("name", ["", "Net", "3d", "a-b", "nn_x", "main", "x" * 41, "a/../b"])
def test_names_that_c_does_not_take(network: IntegerNetwork, name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        generate(network, name=name)


def test_layers_of_any_name_give_different_identifiers() -> None:
    names = ["a.b", "a_b", "a/b", "run", "x", "x.weights", "", "été", "__", "1_a"]
    made = [layer_name("net", index, name) for index, name in enumerate(names)]
    assert len(set(made)) == len(names) and all(name.isidentifier() and name.isascii() for name in made)
    assert all(name.count("__") == 1 and name.startswith("net__") for name in made)
    assert comment("a*/b\n/*é") == "a* /b?/ *?"
    assert real(1.0) == "1.0f" and np.float32(real(0.1)[:-1]) == np.float32(0.1)
    assert double(0.1) == "0.1" and double(3.0) == "3.0"
    assert string('é"?\\1') == r'"\303\251\042\077\1341"'


def test_a_layer_without_a_kernel_is_refused() -> None:
    class Odd(Layer):
        kind = "odd"

        def shape(self, inputs: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
            return inputs[0]

    tensors = {"x": TensorInfo((3,), 1.0, 0), "y": TensorInfo((3,), 1.0, 0)}
    with unregistered_afterwards():
        KINDS.add("odd", Kind("odd", "no stage knows it"))
        with pytest.raises(Unsupported, match="the c export does not support operator 'odd' at layer 'cell'"):
            generate(IntegerNetwork("x", "y", tensors, (Odd("cell", ("x",), "y"),)))


def test_sizes_beyond_the_kernels_fields_are_refused() -> None:
    from sparsemod.quantization.layers import MaxPool

    tensors = {"x": TensorInfo((1, 1, 70_000), 1.0, 0), "y": TensorInfo((1, 1, 35_000), 1.0, 0)}
    layer = MaxPool("pool", ("x",), "y", kernel=(1, 2), stride=(1, 2))
    with pytest.raises(InvalidInput, match=r"layer 'pool'.in_columns = 70000"):
        generate(IntegerNetwork("x", "y", tensors, (layer,)))


def test_dead_layers_are_left_out() -> None:
    tensors = {name: TensorInfo((3,), 1.0, 0) for name in "xyz"}
    layers = (Clamp("used", ("x",), "y", low=0), Clamp("dead", ("x",), "z", low=0))
    made = generate(IntegerNetwork("x", "y", tensors, layers))
    assert [layer.name for layer in made.layers] == ["used"]


def test_encodings_by_hand() -> None:
    weight = np.zeros((2, 600), np.int8)
    weight[0, [0, 300, 599]] = 5, -6, 7
    found = gaps(weight)
    # 0: first; 300: 255 zeros and a stored one, then 43; 599 after 298 more: 255, a stored one, 42; none
    # after it
    assert found.index is not None
    assert found.index.tolist() == [0, 255, 43, 255, 42, 0, 255, 255, 88]
    assert found.weights.tolist() == [5, 0, -6, 0, 7, 0, 0]
    assert found.bytes == 16 and encode(weight, "gaps").bytes == 16
    half = np.tile(np.array([[1, 0, 2, 0, 0, 0, 3, 4, 0, 5]], np.int8), (3, 1))
    masked = mask(half)
    assert masked.index is not None
    assert masked.index.tolist() == [0b11000101, 0b10] * 3 and masked.weights.tolist() == [1, 2, 3, 4, 5] * 3
    assert encode(half, "mask").name == "mask" and encode(half, "mask", groups=3).name == "dense"
    assert encode(half).name == "dense"
    assert blocked(np.arange(25, dtype=np.int8).reshape(5, 5), 1).tolist() == [
        *[0, 1, 2, 3], *[5, 6, 7, 8], *[10, 11, 12, 13], *[15, 16, 17, 18], *[4, 9, 14, 19], *[20, 21, 22, 23, 24],
    ]  # fmt: skip


def test_sparse_projects_are_never_larger() -> None:
    for seed in range(30):
        drawn = Drawn(seed)
        small, dense = (
            generate(drawn.network, encodings=smallest(drawn.network)),
            generate(drawn.network, encodings={}),
        )
        assert small.data_bytes <= dense.data_bytes
        assert {layer.encoding for layer in dense.layers} <= {"", "dense"}


@pytest.mark.parametrize("kind", MODULES)
def test_the_sizes_of_the_search_bound_the_linked_ones(kind: type[nn.Module]) -> None:
    module = seeded(kind)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            if parameter.ndim > 1:
                parameter[torch.rand_like(parameter) < (0.3, 0.6, 0.95)[index % 3]] = 0
    network = quantize(module, torch.randn(16, *kind.shape))
    made = generate(network, encodings=smallest(network))
    graph = deployed(capture(module, kind.shape))
    layers, nonzeros = layer_sizes(graph), quantize(module, torch.randn(16, *kind.shape)).layer_nonzeros()
    assert made.data_bytes <= sparse_bytes(layers, nonzeros) <= deployed_bytes(layers)
    dense = generate(quantize(module, torch.randn(16, *kind.shape)), encodings={})
    assert dense.data_bytes == deployed_bytes(layers)
