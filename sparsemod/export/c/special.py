"""Kernels that are generated for the shape of a layer, beside the kernel that runs on every core.

A rule of `SPECIAL` writes such a kernel for layers of its kind, where their numbers allow one. The project holds both: the compiler
takes the special kernel where the macro `condition` is true, and the plain one elsewhere, with the same results. To add a kernel for
other cores, write a module with rules like `sparsemod.export.c.dsp`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsemod.export.c.kernel_files import kernels_version
from sparsemod.files import fingerprint
from sparsemod.kinds import Stage

_NAME = "@name@"


@dataclass(frozen=True)
class Special:
    """The code of a layer with a kernel of its own: `calls`, `arrays` and `kernels` (file -> text) as in `Emitted`.

    `condition`: the macro that is true where the kernel runs. `constants`: the declarations of the functions.
    `header`: the file in kernels/ that defines the macro and what the kernels share."""

    condition: str
    calls: tuple[str, ...]
    arrays: tuple[Any, ...]
    constants: str
    kernels: Mapping[str, str] = field(default_factory=dict)
    header: str = "nn_dsp.h"


@dataclass(frozen=True)
class Plain:
    """The layer runs the plain kernel on a core that has kernels of single shapes, for this `reason`."""

    reason: str


Rule = Callable[[Any, Any], Special | Plain | None]

SPECIAL: Stage[Rule] = Stage("the kernels of single shapes", builtin=("sparsemod.export.c @SPECIAL",))
"""Rules by kind: (context, layer) -> the layer's own kernel, or why it runs the plain one; None for other cores."""

HELIUM: Stage[Rule] = Stage("the kernels of single shapes on Helium", builtin=("sparsemod.export.c @HELIUM",))
"""The same for cores with vector instructions (MVE)."""

NARROW: Stage[Rule] = Stage(
    "the kernels of single shapes on Armv6-M", builtin=("sparsemod.export.c @NARROW",)
)
"""The same for cores with 16-bit instructions alone (Armv6-M)."""


def special(context: Any, layer: Any) -> Special | Plain | None:
    """Return the layer's own kernel for the core of `context`, or why it runs the plain one; None where the core has no such kernels."""
    for stage in (SPECIAL, HELIUM, NARROW):
        if stage.has(layer.kind):
            found = stage.rule(layer.kind, layer.name)(context, layer)
            if found is not None:
                return found
    return None


def named(prefix: str, text: Callable[[str], str]) -> tuple[str, str]:
    """Return (name, text) of a kernel whose name ends in a digest of its text and of the shared kernels.

    Layers and models with equal kernels share one."""
    name = f"{prefix}_{fingerprint(kernels_version() + text(_NAME))[:8]}"
    return name, text(name)
