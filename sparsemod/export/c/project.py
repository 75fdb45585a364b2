"""A network's C project: all its files as text, and one function that writes them."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from sparsemod.errors import Conflict
from sparsemod.export.c import pages, sources, text
from sparsemod.export.c.arena import ArenaPlan, plan
from sparsemod.export.c.layers import EMITTERS, Context, Emitted, emit
from sparsemod.quantization.integer_network import IntegerNetwork

HEADER = "kernels/nn.h"
_REQUANTIZING = ("nn_apply.c", "nn_apply_mask.c", "nn_apply_gaps.c", "nn_depthwise.c", "nn_mean.c")


@dataclass(frozen=True)
class CLayer:
    """A layer as the project runs it: `index` in execution order (what `nn_profile` is called with), the layer's `name` in the
    network, the `kernels` it calls, its `encoding` ("" without weights), and the bytes of its weights, biases and scales."""

    index: int
    name: str
    identifier: str
    title: str
    kernels: tuple[str, ...]
    encoding: str
    data_bytes: int


@dataclass(frozen=True)
class CProject:
    """`files`: path in the folder -> content. `arena` is its memory, `layers` what runs; views (flatten) run nothing."""

    name: str
    files: Mapping[str, str]
    arena: ArenaPlan
    layers: tuple[CLayer, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The .c files of the library, without the example."""
        return tuple(path for path in self.files if path.endswith(".c") and path != "main.c")

    @property
    def data_bytes(self) -> int:
        """Bytes of weights, biases and scales, as encoded."""
        return sum(layer.data_bytes for layer in self.layers)

    def write(self, folder: Path | str) -> Path:
        """Write all files; `folder` appears complete or not at all. An earlier project there is replaced, anything else is a
        Conflict."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and any(folder.iterdir()) and not (folder / HEADER).is_file():
            raise Conflict(f"{folder} holds other files; name a folder that is new or holds a C project")
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            made.chmod(0o755)
            for path, content in self.files.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_text(content, encoding="utf-8", newline="\n")
            old = made.with_name(made.name + "-old")
            if folder.exists():
                os.replace(folder, old)
            os.replace(made, folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return folder


def project(
    network: IntegerNetwork,
    folder: Path | str,
    *,
    name: str = "network",
    device: str | None = None,
    sparse: bool = True,
) -> CProject:
    """Write the C project of a network into `folder` and return it; see `generate` and `CProject.write`."""
    made = generate(network, name=name, device=device, sparse=sparse)
    made.write(folder)
    return made


def generate(
    network: IntegerNetwork, *, name: str = "network", device: str | None = None, sparse: bool = True
) -> CProject:
    """The C project of a network: C99, self-contained, no allocation, bit for bit the interpreter's results.

    `name` begins its files and functions; `device` (a title) is mentioned in its README; with `sparse`, layers with many zeros
    are stored without them where that is smaller (see `sparsemod.export.c.encoding`). Raises InvalidInput for a name that C
    does not take or a size beyond the kernels' fields, Unsupported for a layer without a kernel.
    """
    text.checked_name(name)
    for layer in network.layers:
        EMITTERS.rule(layer.kind, layer.name)  # before the plan, so that the error names the export
    arena = plan(network)
    by_output = {layer.output: layer for layer in network.layers}
    nodes = [arena.layout.nodes[index] for index in arena.plan.order]
    names = text.identifiers([node.name for node in nodes], f"{name}_")
    emitted = [
        emit(Context(network, arena.layout, identifier, sparse), by_output[node.output])
        for node, identifier in zip(nodes, names, strict=True)
    ]
    layers = tuple(
        CLayer(index, node.name, identifier, made.title, made.kernels, made.encoding, made.data_bytes)
        for index, (node, identifier, made) in enumerate(zip(nodes, names, emitted, strict=True))
    )
    parts = sources.Parts(name, network, arena, nodes, tuple(names), tuple(emitted))
    kernels = _kernels_of(emitted)
    made = {
        f"{name}.h": sources.header(parts),
        f"{name}.c": sources.body(parts),
        f"{name}_weights.h": sources.weights_header(parts),
        f"{name}_weights.c": sources.weights(parts),
        **{f"kernels/{kernel}": content for kernel, content in kernels.items()},
    }
    described = CProject(name, made, arena, layers)
    made.update(pages.pages(described, network, device))
    return described


def _kernels_of(emitted: list[Emitted]) -> dict[str, str]:
    wanted = {f"{kernel}.c" for made in emitted for kernel in made.kernels}
    if wanted & set(_REQUANTIZING):
        wanted.add("nn_requantized_any.c")
    return {file: content for file, content in kernel_sources().items() if file in wanted | {"nn.h"}}


@cache
def _kernel_files() -> tuple[tuple[str, str], ...]:
    folder = package_files("sparsemod.export.c") / "kernels"
    found = [entry for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))]
    return tuple((e.name, e.read_text(encoding="utf-8")) for e in sorted(found, key=lambda e: e.name))


def kernel_sources() -> dict[str, str]:
    """Every kernel file (nn.h and the .c files) by name: the same for all networks, so they can be compiled once."""
    return dict(_kernel_files())
