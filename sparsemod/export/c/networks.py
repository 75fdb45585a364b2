"""The C project of a deployed network of either kind: integer, or dynamically quantized."""

from collections.abc import Sequence
from pathlib import Path

from sparsemod.arena import Fused
from sparsemod.export.c import dynamic
from sparsemod.export.c.arena import ArenaPlan, plan
from sparsemod.export.c.dynamic.project import DynamicProject
from sparsemod.export.c.kernel_files import has_family
from sparsemod.export.c.layers import CLayer
from sparsemod.export.c.project import CProject, generate
from sparsemod.export.names import DEFAULT
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.integer_network import IntegerNetwork

CNetwork = IntegerNetwork | DynamicNetwork


def generate_any(
    network: CNetwork, *, name: str = DEFAULT, core: str | None = None
) -> CProject | DynamicProject:
    """Return the C project of a network; `core`: the core for which layers get kernels of their own (see `generate`).

    Raises Unsupported, InvalidInput."""
    if isinstance(network, DynamicNetwork):
        return dynamic.generate(network, name=name)
    return generate(network, name=name, core=core)


def kernel_choices(network: CNetwork, core: str) -> dict[str, str]:
    """Return layer -> the kernel that it runs on `core`: "generated" for its shape, or "shared", with the reason.

    Of layers that run together, some rows at a time, it says so. Empty for a core without generated kernels if no layers run together, and
    for a dynamically quantized network. Raises Unsupported, InvalidInput."""
    if isinstance(network, DynamicNetwork) or not (has_family(core) or network.fused):
        return {}
    return {
        layer.name: ", ".join(words)
        for layer in generate(network, core=core).layers
        if (words := _words(layer, network.fused, has_family(core)))
    }


def _words(layer: CLayer, fused: Sequence[Fused], generated: bool) -> list[str]:
    words = ["generated" if layer.special else f"shared: {layer.plain}" if layer.plain else "shared"]
    words = words if generated else []
    for each in fused:
        if layer.name in each.layers:
            rows = "a row" if each.rows == 1 else f"{each.rows} rows"
            words.append(f"{rows} of {each.layers[-1]} at a time, together with {_others(layer.name, each)}")
    return words


def _others(name: str, fused: Fused) -> str:
    return ", ".join(other for other in fused.layers if other != name)


def project_any(network: CNetwork, folder: Path | str, *, name: str = DEFAULT) -> CProject | DynamicProject:
    """Write the C project of a network into `folder` and return it."""
    c_project = generate_any(network, name=name)
    c_project.write(folder)
    return c_project


def plan_any(network: CNetwork) -> ArenaPlan:
    """Return the arena of a network's C project, in bytes. Raises Unsupported."""
    return dynamic.plan(network) if isinstance(network, DynamicNetwork) else plan(network)
