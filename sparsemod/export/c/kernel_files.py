"""The C files of the kernels that all networks share, and the templates of those that are generated for one shape."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from sparsemod.files import fingerprint
from sparsemod.kinds.families import FAMILIES

_VERSIONED = "/* Versions: a kernel's symbol ends in a digest of the sources of all kernels. */"

_HEADERS = {f"nn_{family}.h": family for family in FAMILIES}


@cache
def _kernel_files() -> tuple[tuple[str, str], ...]:
    """Return (name, text) of each file; the symbols of the shared kernels end in a digest of the shared files."""
    folder = files("sparsemod.export.c") / "kernels"
    entries = [entry for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))]
    texts = {e.name: e.read_text(encoding="utf-8") for e in sorted(entries, key=lambda e: e.name)}
    shared = {name: text for name, text in texts.items() if name not in _HEADERS}
    return tuple({**texts, **versioned(shared, "nn.h")}.items())


def versioned(
    texts: Mapping[str, str], header: str, others: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return kernel files by name whose symbols end in a digest of these files and of `others`, which they use."""
    version = fingerprint(repr({**(others or {}), **texts}))[:8]
    symbols = [name.removesuffix(".c") for name in texts if name.endswith(".c")]
    names = "".join(f"#define {symbol} {symbol}_{version}\n" for symbol in symbols)
    if _VERSIONED not in texts[header]:
        raise RuntimeError(
            f"kernels/{header} lacks the line {_VERSIONED!r}, after which the kernels get their version"
        )
    return {**texts, header: texts[header].replace(_VERSIONED, f"{_VERSIONED}\n{names}")}


def kernel_sources() -> dict[str, str]:
    """Return every kernel file (headers and the .c files) by name: the same for all networks, so they can be compiled once.

    Each .c file defines the function with its name. nn.h adds a digest of all kernels' sources to the functions' names as a suffix.
    So one firmware can contain exports of different releases: each calls its own kernels.
    """
    return dict(_kernel_files())


def has_family(core: str) -> bool:
    """Whether some layers have kernels of their own on `core`."""
    return any(runs(core) for runs in FAMILIES.values())


def sources_on(core: str) -> dict[str, str]:
    """Return the files from which the kernels that run on `core` are made: the shared ones, and those of its families.

    Those are headers, templates, and modules that write instructions."""
    found = {
        name: text
        for name, text in kernel_sources().items()
        if name not in _HEADERS or FAMILIES[_HEADERS[name]](core)
    }
    prefixes = tuple(f"{family}_" for family, runs in FAMILIES.items() if runs(core))
    assemblers = tuple(f"{family}_assembler" for family, runs in FAMILIES.items() if runs(core))
    folder = files("sparsemod.export.c")
    entries = [entry for entry in (folder / "templates").iterdir() if entry.name.startswith(prefixes)]
    entries += [entry for entry in folder.iterdir() if entry.name.startswith(assemblers)]
    return found | {e.name: e.read_text(encoding="utf-8") for e in entries}


@cache
def kernels_version() -> str:
    """Return a digest of all kernel files."""
    return fingerprint(repr(_kernel_files()))[:8]
