"""The C files of the kernels that all networks share."""

from functools import cache
from importlib.resources import files

from sparsemod.files import fingerprint

_VERSIONED = "/* Versions: a kernel's symbol ends in a digest of the sources of all kernels. */"


@cache
def _kernel_files() -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the version of the kernels, and (name, text) of each file."""
    folder = files("sparsemod.export.c") / "kernels"
    entries = [entry for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))]
    texts = {e.name: e.read_text(encoding="utf-8") for e in sorted(entries, key=lambda e: e.name)}
    version = fingerprint(repr(texts))[:8]
    symbols = [name.removesuffix(".c") for name in texts if name.endswith(".c")]
    names = "".join(f"#define {symbol} {symbol}_{version}\n" for symbol in symbols)
    if _VERSIONED not in texts["nn.h"]:
        raise RuntimeError(
            f"kernels/nn.h lacks the line {_VERSIONED!r}, after which the kernels get their version"
        )
    texts["nn.h"] = texts["nn.h"].replace(_VERSIONED, f"{_VERSIONED}\n{names}")
    return version, tuple(texts.items())


def kernel_sources() -> dict[str, str]:
    """Return every kernel file (headers and the .c files) by name: the same for all networks, so they can be compiled once.

    Each .c file defines the function with its name. nn.h adds a digest of all kernels' sources to the functions' names as a suffix.
    So one firmware can contain exports of different releases: each calls its own kernels.
    """
    return dict(_kernel_files()[1])


def generated_sources() -> dict[str, str]:
    """Return the templates of the kernels that are generated for one shape, by name."""
    folder = files("sparsemod.export.c") / "templates"
    entries = (entry for entry in folder.iterdir() if entry.name.startswith(("dsp_", "mve_")))
    return {e.name: e.read_text(encoding="utf-8") for e in sorted(entries, key=lambda e: e.name)}


def kernels_version() -> str:
    """Return the digest in the symbols of the kernels."""
    return _kernel_files()[0]
