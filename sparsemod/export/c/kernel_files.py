"""The C files of the kernels that all networks share."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from sparsemod.files import fingerprint

_VERSIONED = "/* Versions: a kernel's symbol ends in a digest of the sources of all kernels. */"


def versioned(
    texts: Mapping[str, str], header: str, others: Mapping[str, str] | None = None
) -> tuple[str, dict[str, str]]:
    """Return a digest of kernel files and of `others`, which they use; and these files by name, whose symbols end in the digest."""
    version = fingerprint(repr({**(others or {}), **texts}))[:8]
    symbols = [name.removesuffix(".c") for name in texts if name.endswith(".c")]
    names = "".join(f"#define {symbol} {symbol}_{version}\n" for symbol in symbols)
    if _VERSIONED not in texts[header]:
        raise RuntimeError(
            f"kernels/{header} lacks the line {_VERSIONED!r}, after which the kernels get their version"
        )
    return version, {**texts, header: texts[header].replace(_VERSIONED, f"{_VERSIONED}\n{names}")}


@cache
def _kernel_files() -> tuple[str, dict[str, str]]:
    """Return the version of the kernels, and the text of each file."""
    folder = files("sparsemod.export.c") / "kernels"
    entries = [entry for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))]
    texts = {e.name: e.read_text(encoding="utf-8") for e in sorted(entries, key=lambda e: e.name)}
    return versioned(texts, "nn.h")


def kernel_sources() -> dict[str, str]:
    """Return every kernel file (headers and the .c files) by name: the same for all networks, so they can be compiled once.

    Each .c file defines the function with its name. nn.h adds a digest of all kernels' sources to the functions' names as a suffix.
    So one firmware can contain exports of different releases: each calls its own kernels.
    """
    return dict(_kernel_files()[1])


def generated_sources() -> dict[str, str]:
    """Return the templates of the kernels that are generated for one shape, by name."""
    folder = files("sparsemod.export.c") / "templates"
    entries = (entry for entry in folder.iterdir() if entry.name.startswith("dsp_"))
    return {e.name: e.read_text(encoding="utf-8") for e in sorted(entries, key=lambda e: e.name)}


def kernels_version() -> str:
    """Return the digest in the symbols of the kernels."""
    return _kernel_files()[0]
