"""A dynamically quantized network's C project: all files as text, and a function that writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files as package_files
from pathlib import Path

from sparsemod.export.c import pages, text
from sparsemod.export.c import sources as integer_sources
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.export.c.dynamic import sources
from sparsemod.export.c.dynamic.layers import DYNAMIC_EMITTERS, DynamicContext, emit
from sparsemod.export.c.dynamic.memory import plan
from sparsemod.export.c.kernel_files import kernel_sources as integer_kernels
from sparsemod.export.c.kernel_files import versioned
from sparsemod.export.c.layers import CLayer, Emitted
from sparsemod.export.c.project import write_files
from sparsemod.export.names import DEFAULT, checked_name
from sparsemod.quantization.dynamic_network import DynamicNetwork

_HEADER = "nd.h"
_SHARED = ("nn.h", "nn_sigmoid.c")
"""The kernels of integer networks that these kernels use."""


@dataclass(frozen=True)
class DynamicProject:
    """A C project. `arena`: its memory; `layers`: the layers that run. `device`: the device that the README mentions, when known."""

    name: str
    arena: ArenaPlan
    layers: tuple[CLayer, ...]
    parts: sources.Parts = field(repr=False)
    device: str | None = None

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Path in the folder -> content."""
        kernels = _kernels_of(self.parts.emitted)
        return {
            f"{self.name}.h": sources.header(self.parts),
            f"{self.name}.c": sources.body(self.parts),
            f"{self.name}.weights.h": sources.weights(self.parts),
            **{f"kernels/{kernel}": content for kernel, content in kernels.items()},
            "main.c": sources.filled("main.c", **sources.common(self.parts)),
            "README.md": self._readme(),
            **pages.build_files(self.name, self.sources),
        }

    @property
    def sources(self) -> tuple[str, ...]:
        """The .c files of the library, without the example."""
        kernels = _kernels_of(self.parts.emitted)
        return (f"{self.name}.c", *(f"kernels/{kernel}" for kernel in kernels if kernel.endswith(".c")))

    @property
    def data_bytes(self) -> int:
        """Bytes of weights, biases and scales."""
        return sum(layer.data_bytes for layer in self.layers)

    def assembled(self) -> dict[str, str | bytes]:
        """Return the model's files for GCC and a little-endian core; see `CProject.assembled`."""
        weights, binary = integer_sources.assembler(self.name, self.parts.emitted)
        return {
            f"{self.name}.h": sources.header(self.parts),
            f"{self.name}.c": sources.body(self.parts),
            f"{self.name}.weights.h": sources.weights(self.parts, apart=True),
            f"{self.name}_weights.s": weights,
            f"{self.name}.bin": binary,
        }

    def write(self, folder: Path | str) -> Path:
        """Write all files; see `CProject.write`."""
        return write_files(self.files, folder)

    def _readme(self) -> str:
        layers = [
            {
                "index": layer.index, "name": pages.cell(layer.name), "title": layer.title, "data_bytes": layer.data_bytes,
                "alive": alive,
            }
            for layer, (_, alive) in zip(self.layers, self.arena.timeline, strict=True)
        ]  # fmt: skip
        return sources.filled(
            "README.md", **sources.common(self.parts), device=text.comment(self.device) if self.device else "",
            data_bytes=self.data_bytes, macs=sum(info.macs for info in self.parts.network.layers_info()), layers=layers,
        )  # fmt: skip


def project(
    network: DynamicNetwork, folder: Path | str, *, name: str = DEFAULT, device: str | None = None
) -> DynamicProject:
    """Write the C project of a network into `folder` and return it; see `generate`."""
    c_project = generate(network, name=name, device=device)
    c_project.write(folder)
    return c_project


def generate(network: DynamicNetwork, *, name: str = DEFAULT, device: str | None = None) -> DynamicProject:
    """Return the C project of a network: C99, self-contained, no allocation, bit for bit the network's results.

    Raises InvalidInput for a name that is invalid in C or a size beyond the kernels' fields, Unsupported for an operator without a
    kernel.
    """
    checked_name(name)
    graph = network.graph
    for operator in graph.operators:
        DYNAMIC_EMITTERS.rule(
            operator.kind, operator.name
        )  # check before planning, so that the error names the export
    arena = plan(network)
    by_output = {operator.output: operator for operator in graph.operators}
    nodes = [arena.layout.nodes[index] for index in arena.plan.order]
    names = [text.layer_name(name, index, node.name) for index, node in enumerate(nodes)]
    emitted = tuple(
        emit(DynamicContext(network, arena.layout, identifier), by_output[node.output])
        for node, identifier in zip(nodes, names, strict=True)
    )
    layers = tuple(
        CLayer(index, node.name, identifier, code.title, code.kernels, code.encoding, code.data_bytes)
        for index, (node, identifier, code) in enumerate(zip(nodes, names, emitted, strict=True))
    )
    parts = sources.Parts(name, network, arena, nodes, emitted)
    return DynamicProject(name, arena, layers, parts, device)


def _kernels_of(emitted: Sequence[Emitted]) -> dict[str, str]:
    files = {f"{kernel}.c" for code in emitted for kernel in code.kernels}
    if files & {"nd_sigmoid.c", "nd_tanh.c"}:
        files.add("nn_sigmoid.c")
    kept = files | {"nn.h", _HEADER}
    return {file: content for file, content in kernel_sources().items() if file in kept}


@cache
def kernel_sources() -> Mapping[str, str]:
    """Return every kernel file by name, with a digest of all kernels' sources in their symbols; see `sparsemod.export.c.kernel_sources`."""
    shared = {name: integer_kernels()[name] for name in _SHARED}
    folder = package_files("sparsemod.export.c.dynamic") / "kernels"
    entries = sorted((e for e in folder.iterdir() if e.name.endswith((".c", ".h"))), key=lambda e: e.name)
    texts = {e.name: e.read_text(encoding="utf-8") for e in entries}
    return {**shared, **versioned(texts, _HEADER, shared)}
