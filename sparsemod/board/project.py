"""The firmware as a project for a real board: CMake, or Zephyr.

The folder `network` of a project belongs to sparsemod and is replaced with every network. All other files are yours: they are written
once, and never again.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from sparsemod.board.firmware import Firmware
from sparsemod.emulator import machine
from sparsemod.emulator.machines import STACK
from sparsemod.errors import Conflict, UnknownName
from sparsemod.files import move, scratch
from sparsemod.templates import render

NETWORK = "network"
_MARK = "sources.cmake"

KINDS: Mapping[str, tuple[str, ...]] = {
    "cmake": ("CMakeLists.txt", "port.c", "README.md"),
    "zephyr": ("CMakeLists.txt", "prj.conf", "port.c", "README.md"),
}
"""Kind of project -> the files that are yours."""
_STANDALONE = ("startup_arm.c", "startup_riscv.c", "port_cmsdk.c", "port_nrf51.c", "port_ns16550.c")


def write_project(
    firmware: Firmware, folder: Path, kind: str, core: str, *, hertz: int = 0, flash: int = 0, ram: int = 0
) -> list[Path]:
    """Write the project of a firmware; return the files that were written, without those of `network`.

    `hertz`, `flash`, `ram`: of the board, for the defaults of the project; 0 where unknown. Raises UnknownName for a kind, Conflict when
    the folder's `network` is not sparsemod's.
    """
    if kind not in KINDS:
        raise UnknownName("--kind", kind, KINDS)
    write_network(firmware, folder)
    target = machine(core)
    values = {
        "core": target.core,
        "riscv": target.architecture.prefix.startswith("riscv"),
        "prefix": target.architecture.prefix,
        "flags": " ".join((*target.flags, *target.architecture.flags)),
        "hertz": hertz,
        "flash": flash or target.rom_bytes,
        "ram": ram or target.ram_bytes,
        "stack": STACK,
    }
    texts = {name: render("sparsemod.board", f"{kind}/{name}", **values) for name in KINDS[kind]}
    if kind == "cmake":
        own = files("sparsemod.board") / "c"
        texts |= {f"standalone/{name}": (own / name).read_text(encoding="utf-8") for name in _STANDALONE}
        script = files("sparsemod.emulator") / "memory.ld"
        texts["standalone/memory.ld"] = script.read_text(encoding="utf-8")
    written = []
    for name, text in texts.items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            written.append(path)
    return written


def write_network(firmware: Firmware, folder: Path) -> None:
    """Replace the folder `network` of a project, at once. Raises Conflict when it is not sparsemod's."""
    target = folder / NETWORK
    if target.exists() and not (target / _MARK).is_file():
        raise Conflict(f"{target} is no folder of sparsemod; choose another --project folder")
    folder.mkdir(parents=True, exist_ok=True)
    texts = portable_files(firmware)
    sources = [name for name in texts if name.endswith(".c")]
    texts[_MARK] = render("sparsemod.board", _MARK, sources=sources)
    with scratch(f".{NETWORK}-", folder) as making:
        for name, content in texts.items():
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            (making / name).write_text(content, encoding="utf-8", newline="\n")
        if target.exists():
            move(target, making.with_name("old"))
        move(making, target)


def portable_files(firmware: Firmware) -> dict[str, str]:
    """Return the network, its kernels, the golden vectors and the check as C, by path."""
    project, program = firmware.project, firmware.program
    headers = [name for name in project.files if name.endswith(".h")]
    texts = {name: project.files[name] for name in (*headers, *project.sources)}
    if project.name != NETWORK:
        texts[f"{NETWORK}.c"] = str(program.network[f"{NETWORK}.c"])
    own = firmware.files(assembled=False)
    return texts | {name: content for name, content in own.items() if isinstance(content, str)}
