"""Files around a project's C code: example, build files, README."""

from collections.abc import Sequence
from typing import Protocol

from sparsemod.export.c import text
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.export.c.layers import CLayer
from sparsemod.export.c.sources import Parts, common, filled, normalization
from sparsemod.quantization.integer_network import IntegerNetwork

WARNINGS = "-Wall -Wextra -Wconversion -pedantic"


class Described(Protocol):
    """The facts about a project that the pages contain."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> Parts: ...

    @property
    def arena(self) -> ArenaPlan: ...

    @property
    def layers(self) -> Sequence[CLayer]: ...

    @property
    def sources(self) -> Sequence[str]: ...

    @property
    def data_bytes(self) -> int: ...

    @property
    def core(self) -> str: ...


def pages(project: Described, device: str | None) -> dict[str, str]:
    """Return main.c, Makefile, CMakeLists.txt and README.md."""
    return {
        "main.c": filled("main.c", **common(project.parts), words=_printed(project.parts.network)),
        "README.md": _readme(project, device),
        **build_files(project.name, project.sources),
    }


def build_files(name: str, sources: Sequence[str]) -> dict[str, str]:
    """Return Makefile and CMakeLists.txt of a project."""
    building = {"name": name, "warnings": WARNINGS, "sources": sources}
    objects = [f"{path.removesuffix('.c')}.o" for path in sources]
    return {
        "Makefile": filled("Makefile", **building, objects=objects),
        "CMakeLists.txt": filled("CMakeLists.txt", **building),
    }


def _printed(network: IntegerNetwork) -> str:
    """Say what the example prints for a sample."""
    words = {
        "classes": "the number and the name of its class" if network.classes else "its class",
        "pixels": "the class of each position",
        "labels": "1 or 0 for each label",
        "values": "its values",
        "normal": "its score",
    }
    return words.get(network.kind, "its outputs")


def _readme(project: Described, device: str | None) -> str:
    network, arena = project.parts.network, project.arena
    alive = dict(arena.timeline)
    layers = [
        {
            "index": layer.index,
            "name": cell(layer.name),
            "title": layer.title,
            "encoding": layer.encoding,
            "special": "yes" if layer.special else f"no: {layer.plain}" if layer.plain else "-",
            "data_bytes": layer.data_bytes,
            "alive": alive[layer.fused or layer.name],
        }
        for layer in project.layers
    ]
    values = {**common(project.parts), "classes": [label_cell(label) for label in network.classes]}
    return filled(
        "README.md",
        **values,
        device=text.comment(device) if device else "",
        data_bytes=project.data_bytes,
        arena_size=arena.size,
        macs=sum(info.macs for info in network.layers_info()),
        normalization=normalization(network),
        layers=layers,
        fused=[
            {"layers": ", ".join(map(cell, chain.fused.layers)), "rows": chain.fused.rows}
            for chain in arena.layout.chains.values()
        ],
        core=project.core if any(layer.special or layer.plain for layer in project.layers) else "",
    )


def label_cell(name: str) -> str:
    """Escape a class's name for a Markdown table."""
    return " ".join(name.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def cell(name: str) -> str:
    """Escape a layer's name for a Markdown table."""
    return text.comment(name).replace("|", "\\|").replace("`", "'")
