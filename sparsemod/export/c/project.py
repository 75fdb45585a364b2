"""A network's C project: all files as text, and a function that writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sparsemod.arena import Fused
from sparsemod.errors import Conflict, InvalidInput, Unsupported
from sparsemod.export.c import pages, sources, text
from sparsemod.export.c.arena import ArenaPlan, plan
from sparsemod.export.c.encoding import encodings as stored_encodings
from sparsemod.export.c.kernel_files import kernel_sources
from sparsemod.export.c.layers import EMITTERS, CLayer, Context, Emitted, emit
from sparsemod.export.c.rows import Grouped, grouped
from sparsemod.export.c.streaming import Streaming, streaming
from sparsemod.export.names import DEFAULT, checked_name
from sparsemod.files import move, scratch
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Layer

HEADER = "kernels/nn.h"
_REQUANTIZING = (
    "nn_apply.c",
    "nn_apply_mask.c",
    "nn_apply_gaps.c",
    "nn_depthwise.c",
    "nn_mean.c",
    "nn_multiply.c",
    "nn_matmul.c",
    "nn_gru.c",
    "nn_lstm.c",
)


@dataclass(frozen=True)
class CProject:
    """A C project. `arena`: its memory; `layers`: the layers that run (views such as flatten do not).

    `parts`: the input of the file generators. `device`: the device that the README mentions, when known. `core`: the core for which
    layers have kernels of their own, "" for none."""

    name: str
    arena: ArenaPlan
    layers: tuple[CLayer, ...]
    parts: sources.Parts = field(repr=False)
    device: str | None = None
    core: str = ""

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Path in the folder -> content."""
        kernels = _kernels_of(self.parts.codes) | own_kernels(self.parts.codes)
        return {
            f"{self.name}.h": sources.header(self.parts),
            f"{self.name}.c": sources.body(self.parts),
            f"{self.name}.weights.h": sources.weights(self.parts),
            **{f"kernels/{kernel}": content for kernel, content in kernels.items()},
            **pages.pages(self, self.device),
        }

    @property
    def sources(self) -> tuple[str, ...]:
        """The .c files of the library, without the example."""
        kernels = _kernels_of(self.parts.codes) | own_kernels(self.parts.codes)
        return (f"{self.name}.c", *(f"kernels/{kernel}" for kernel in kernels if kernel.endswith(".c")))

    @property
    def data_bytes(self) -> int:
        """Bytes of weights, biases and scales, as encoded."""
        return sum(layer.data_bytes for layer in self.layers)

    def assembled(self) -> dict[str, str | bytes]:
        """Return the model's files for GCC and a little-endian core, with the weights as a binary file that the assembler includes.

        They compile in a fraction of the time to the same code and constants."""
        weights, binary = sources.assembler(self.name, self.parts.codes)
        return {
            f"{self.name}.h": sources.header(self.parts),
            f"{self.name}.c": sources.body(self.parts),
            f"{self.name}.weights.h": sources.weights(self.parts, apart=True),
            f"{self.name}_weights.s": weights,
            f"{self.name}.bin": binary,
            **{f"kernels/{file}": content for file, content in own_kernels(self.parts.codes).items()},
        }

    def write(self, folder: Path | str) -> Path:
        """Write all files atomically: `folder` appears complete or not at all.

        Replaces an earlier project in `folder`. Raises Conflict for other content."""
        return write_files(self.files, folder)


def write_files(files: Mapping[str, str], folder: Path | str) -> Path:
    """Write a project's files; see `CProject.write`."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and any(folder.iterdir()) and not (folder / HEADER).is_file():
        raise Conflict(f"{folder} contains other files; choose a new folder or one with a C project")
    with scratch(f".{folder.name}-", folder.parent) as new_folder:
        for path, content in files.items():
            (new_folder / path).parent.mkdir(parents=True, exist_ok=True)
            (new_folder / path).write_text(content, encoding="utf-8", newline="\n")
        if folder.exists():
            move(folder, new_folder.with_name("old"))
        move(new_folder, folder)
    return folder


def project(
    network: IntegerNetwork,
    folder: Path | str,
    *,
    name: str = DEFAULT,
    device: str | None = None,
    encodings: Mapping[str, str] | None = None,
    core: str | None = None,
    fused: Sequence[Fused] | None = None,
) -> CProject:
    """Write the C project of a network into `folder` and return it; see `generate` and `CProject.write`."""
    c_project = generate(network, name=name, device=device, encodings=encodings, core=core, fused=fused)
    c_project.write(folder)
    return c_project


def generate(
    network: IntegerNetwork,
    *,
    name: str = DEFAULT,
    device: str | None = None,
    encodings: Mapping[str, str] | None = None,
    core: str | None = None,
    fused: Sequence[Fused] | None = None,
) -> CProject:
    """Return the C project of a network: C99, self-contained, no allocation, bit for bit the interpreter's results.

    `name`: prefix of the files and functions. `device`: a title for the README. `encodings` (layer -> encoding; dense for absent
    layers) replaces the network's choice of encodings (see `sparsemod.export.c.encoding`). `core`: the core for which layers get kernels
    of their own (see `sparsemod.export.c.special`; default: the network's, "" for none). Other cores run the same files. `fused`: the layers
    that run together, some rows at a time (default: the network's choice; see `sparsemod.arena.chains`). Raises InvalidInput for a name
    that is invalid in C, a size beyond the kernels' fields, or layers that cannot run together, Unsupported for a layer without a kernel.
    """
    checked_name(name)
    for layer in network.layers:
        EMITTERS.rule(layer.kind, layer.name)  # check before planning, so that the error names the export
    stored = stored_encodings(network) if encodings is None else encodings
    core = network.core if core is None else core
    arena = plan(network, core, fused)
    by_name = {layer.name: layer for layer in network.layers}
    steps = grouped(arena)
    layers_of = [(step, place) for step in steps for place in range(len(step.nodes))]
    nodes = [step.nodes[place] for step, place in layers_of]
    names = [text.layer_name(name, index, node.name) for index, node in enumerate(nodes)]
    emitted = sources.unshared(
        [
            _emitted(Context(network, arena.layout, identifier, stored, core=core), by_name, step, place)
            for (step, place), identifier in zip(layers_of, names, strict=True)
        ]
    )
    layers = tuple(
        CLayer(
            index,
            node.name,
            identifier,
            code.title,
            code.kernels,
            code.encoding,
            code.data_bytes,
            code.special is not None,
            code.plain,
            "" if step.chain is None else step.chain.name,
        )
        for index, (node, identifier, code, (step, _)) in enumerate(
            zip(nodes, names, emitted, layers_of, strict=True)
        )
    )
    identifiers = {node.name: identifier for node, identifier in zip(nodes, names, strict=True)}
    stream, refused = _streaming(network, name, identifiers, stored, emitted)
    parts = sources.Parts(name, network, arena, nodes, tuple(names), tuple(emitted), steps, stream, refused)
    return CProject(name, arena, layers, parts, device, core)


def _emitted(context: Context, by_name: Mapping[str, Layer], step: Grouped, place: int) -> Emitted:
    """Return the C code of a step's layer; where layers run together, that of one call."""
    layer = by_name[step.nodes[place].name]
    if step.chain is None:
        return emit(context, layer)
    part = step.chain.parts[place]
    if layer.traits.window:
        layer = replace(layer, padding=part.node.window.padding)  # type: ignore[call-arg]
    return emit(replace(context, images=part.images), layer)


def _streaming(
    network: IntegerNetwork,
    name: str,
    identifiers: Mapping[str, str],
    encodings: Mapping[str, str],
    emitted: Sequence[Emitted],
) -> tuple[Streaming | None, str]:
    """Return the streaming form without the arrays of the window form, or None and the reason for a network on sequences."""
    if len(network.tensors[network.input].axes.positions) != 1:
        return None, ""
    try:
        steps = streaming(network, name, identifiers, encodings)
    except Unsupported as error:
        return None, str(error)
    codes = sources.unshared([*emitted, *(layer.code for layer in steps.layers)])[len(emitted) :]
    layers = (replace(layer, code=code) for layer, code in zip(steps.layers, codes, strict=True))
    return replace(steps, layers=tuple(layers)), ""


def _kernels_of(emitted: Sequence[Emitted]) -> dict[str, str]:
    files = {f"{kernel}.c" for code in emitted for kernel in code.kernels}
    if files & set(_REQUANTIZING):
        files.add("nn_requantized_any.c")
    files |= {"nn.h"} | {code.special.header for code in emitted if code.special}
    return {file: content for file, content in kernel_sources().items() if file in files}


def own_kernels(emitted: Sequence[Emitted]) -> dict[str, str]:
    """Return the C files, by name, of kernels that layer rules provide. Raises InvalidInput for a name that another file has."""
    sources: dict[str, str] = {}
    for code in emitted:
        special = code.special.kernels if code.special else {}
        for file, content in (*code.own_kernels.items(), *special.items()):
            if file in kernel_sources() or sources.get(file, content) != content:
                raise InvalidInput("own_kernels", file, "a name that no other kernel's file has")
            sources[file] = content
    return sources
