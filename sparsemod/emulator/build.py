"""Build an ELF file for an emulated machine from C sources.

Start-up code and kernels do not depend on the network. They are compiled once per machine, compiler, flags
and sources, and cached in $SPARSEMOD_CACHE (else $XDG_CACHE_HOME/sparsemod or ~/.cache/sparsemod). So are the kernels
that are generated for one shape, in the folder `objects`. Only the network's own files are compiled each time.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from sparsemod.emulator.machines import STACK, Machine
from sparsemod.emulator.toolchain import call, compile_c, versions
from sparsemod.files import fingerprint, move, scratch

FLAGS = ("-std=c99", "-O2", "-ffunction-sections", "-fdata-sections")
_HARNESS = (
    "-ffreestanding",
    "-fno-builtin",
    "-fno-tree-loop-distribute-patterns",
    "-fno-lto",  # its assembler code names its functions
)
MARK_BYTES = 4


def cache_folder() -> Path:
    """Return the folder of the cache for compiled kernels."""
    named = os.environ.get("SPARSEMOD_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparsemod"


def prepared(machine: Machine, kernels: Mapping[str, str], cache: Path | None = None) -> Path:
    """Return the folder with harness.o, kernels.a, linker script, mark.h and kernel headers; build it if missing.

    `kernels` maps file names to text. Several processes may call this concurrently. Raises EmulationError.
    """
    resources, architecture = files("sparsemod.emulator"), machine.architecture
    names = ("harness.c", architecture.harness, "memory.ld")
    own = {name: (resources / name).read_text(encoding="utf-8") for name in names}
    texts = {**own, "mark.h": architecture.mark_text, **kernels}
    digest = fingerprint(repr((machine, FLAGS, _HARNESS, versions(architecture)[0], sorted(texts.items()))))
    folder = (cache or cache_folder()) / "kernels" / f"{machine.core}-{digest[:24]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch("making-", folder.parent) as making:
        _make(machine, texts, [name for name in kernels if name.endswith(".c")], making)
        try:
            move(making, folder)
        except OSError:
            # Another process was faster; its result is the same.
            if not folder.is_dir():
                raise
    return folder


def _make(machine: Machine, texts: Mapping[str, str], kernels: list[str], folder: Path) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    architecture = machine.architecture
    common = (*machine.flags, *architecture.flags, *FLAGS)
    include = f'-DHARNESS_CORE="{architecture.harness}"'
    harness = (*common, *_HARNESS, *architecture.harness_flags, include, "-c", "harness.c")
    compile_c(harness, folder, architecture=architecture)
    if kernels:
        compile_c([*common, "-c", *kernels], folder, architecture=architecture)
    objects = [f"{Path(name).stem}.o" for name in kernels]
    call([architecture.ar, "rcs", "kernels.a", *objects], folder, 60.0)


def _object(machine: Machine, prepared: Path, name: str, text: str | bytes, folder: Path) -> str:
    """Return the object file of a kernel that is generated for one shape, from the cache beside the prepared folder, or compile it.

    Such a kernel depends on its own text and the kernels' headers, not on the network."""
    key = fingerprint(repr((prepared.name, FLAGS, name, text)))[:32]
    cached = prepared.parent.parent / "objects" / key[:2] / f"{key}.o"
    if not cached.is_file():
        arguments = (*machine.flags, *machine.architecture.flags, *FLAGS, f"-I{prepared}")
        compile_c([*arguments, "-c", name, "-o", f"{key}.o"], folder, architecture=machine.architecture)
        cached.parent.mkdir(parents=True, exist_ok=True)
        # Another process may make the same file; either is whole.
        with scratch("making-", cached.parent) as making:
            shutil.copyfile(folder / f"{key}.o", making / cached.name)
            move(making / cached.name, cached)
    return str(cached)


def link(
    machine: Machine,
    prepared: Path,
    network: Mapping[str, str | bytes],
    folder: Path,
    *,
    marks: bool = True,
    main: Sequence[str] | None = None,
) -> Path:
    """Compile the network's files (name -> text) in `folder` and link them; `marks` adds a mark between layers.

    `main`: further arguments of the compiler for a program that has its own start-up code in place of the harness.

    Raises DoesNotFit with the machine's region and the bytes over, EmulationError when the C code does not
    compile.
    """
    for name, content in network.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    own = {
        name: text for name, text in network.items() if name.startswith("kernels/") and name.endswith(".c")
    }
    objects = [_object(machine, prepared, name, text, folder) for name, text in own.items()]
    places = {
        "_vectors_origin": machine.vectors,
        "_rom_origin": machine.rom,
        "_rom_length": machine.rom_bytes,
        "_ram_origin": machine.ram,
        "_ram_length": machine.ram_bytes,
        "_stack_length": STACK,
    }
    compile_c(
        [
            *machine.flags,
            *machine.architecture.flags,
            *FLAGS,
            *(("-include", str(prepared / "mark.h")) if marks and main is None else ()),
            *(main or ()),
            f"-I{prepared}",
            *(name for name in network if name.endswith((".c", ".s")) and name not in own),
            *objects,
            *((str(prepared / "harness.o"),) if main is None else ()),
            str(prepared / "kernels.a"),
            *machine.architecture.link_flags,
            "-nostartfiles",
            "-Wl,--gc-sections,--no-warn-rwx-segments",
            *(f"-Wl,--defsym,{name}={value:#x}" for name, value in places.items()),
            "-T",
            str(prepared / "memory.ld"),
            "-o",
            "network.elf",
        ],
        folder,
        architecture=machine.architecture,
    )
    return folder / "network.elf"
