"""Print the rooms of the code: lines, imports between them, cycles, and imports that point upwards.

    python3 dev.py rooms            one line for each room, then what is wrong
    python3 dev.py rooms --files    the cycles between files too, with the imports that tie each

A room is a folder (or a single module) directly below `sparsemod` or `service`. `FLOORS` orders the rooms from the
bottom up: a room may import rooms of lower floors and none of its own floor. Imports inside functions and under
TYPE_CHECKING count like any other. Only the standard library is used here.
"""

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("sparsemod.errors",),
    ("sparsemod.layouts",),
    (
        "sparsemod.files",
        "sparsemod.records",
        "sparsemod.registry",
        "sparsemod.stage_errors",
        "sparsemod.units",
        "sparsemod.yaml_text",
    ),
    ("sparsemod.plugins",),
    ("sparsemod.objectives", "sparsemod.space", "sparsemod.stages"),
    ("sparsemod.sources", "sparsemod.targets"),
    ("sparsemod.spec", "sparsemod.kinds"),
    ("sparsemod.data", "sparsemod.graph", "sparsemod.arena", "sparsemod.networks"),
    ("sparsemod.pruning", "sparsemod.training", "sparsemod.morphisms", "sparsemod.report"),
    ("sparsemod.quantization",),
    ("sparsemod.measure", "sparsemod.search"),
    ("sparsemod.export",),
    ("sparsemod.emulator",),
    ("sparsemod.calibration", "sparsemod.delivery"),
    ("sparsemod.pipeline",),
    ("sparsemod.__init__",),
    ("service.settings", "service.schemas"),
    ("service.errors",),
    ("service.client",),
    ("service.processes",),
    ("service.store",),
    ("service.files",),
    ("service.jobs",),
    ("service.http", "service.worker", "service.suggester"),
    ("service.cli",),
)
"""Rooms from the bottom up. Rooms of one floor do not know each other."""


@dataclass(frozen=True)
class Import:
    """One file imports another; `lines` are the lines of the import statements."""

    importer: str
    imported: str
    lines: tuple[int, ...]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the two packages, by dotted name; a package by the name of its folder."""
    found = {}
    for top in ("sparsemod", "service"):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(known: Mapping[str, Path]) -> list[Import]:
    """All imports of one module by another, wherever in a file they stand."""
    lines: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in _targets(node, package):
                module = _module(target, known)
                if module and module != name:
                    lines[name, module].append(node.lineno)  # type: ignore[attr-defined]
    return [Import(a, b, tuple(sorted(set(where)))) for (a, b), where in sorted(lines.items())]


def _targets(node: ast.AST, package: str) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).strip(
                "."
            )
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def _module(target: str, known: Mapping[str, Path]) -> str:
    while target and target not in known:
        target = target.rpartition(".")[0]
    return target


def room(module: str) -> str:
    """The room of a module: its first two names; `sparsemod.__init__` for the package itself."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else f"{module}.__init__"


def arrows(found: Iterable[Import]) -> dict[str, set[str]]:
    """Room -> the rooms that it imports."""
    between: dict[str, set[str]] = defaultdict(set)
    for one in found:
        a, b = room(one.importer), room(one.imported)
        if a != b and b != "service.__init__":
            between[a].add(b)
    return dict(between)


def cycles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan 1972), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == node:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted(found)


def upward(found: Iterable[Import]) -> list[Import]:
    """Imports of a room on the same or a higher floor, and of rooms that have no floor."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = []
    for one in found:
        a, b = room(one.importer), room(one.imported)
        if a == b or b in ("service.__init__", "sparsemod.__init__"):
            continue
        if floor.get(b, len(FLOORS)) >= floor.get(a, -1):
            wrong.append(one)
    return wrong


def file_cycles(found: Iterable[Import]) -> list[list[str]]:
    """Cycles between files. A package's `__init__` that lists what its own modules offer is not followed back from them."""
    edges: dict[str, set[str]] = defaultdict(set)
    for one in found:
        edges[one.importer].add(one.imported)
    return cycles(edges)


def main(argv: list[str]) -> int:
    """Print the rooms; exit code 1 when there is a cycle or an upward import."""
    parser = argparse.ArgumentParser(prog="dev.py rooms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", action="store_true", help="show the imports that tie each cycle of files")
    options = parser.parse_args(argv)
    known = modules()
    found = imports(known)
    between = arrows(found)
    lines: dict[str, int] = defaultdict(int)
    files: dict[str, int] = defaultdict(int)
    for name, path in known.items():
        lines[room(name)] += len(path.read_text(encoding="utf-8").splitlines())
        files[room(name)] += 1
    for number, names in reversed(list(enumerate(FLOORS))):
        for name in names:
            below = ", ".join(sorted(between.get(name, ()))) or "nothing"
            print(f"{number:2}  {name:24} {files[name]:3} files {lines[name]:6} lines  imports {below}")
    homeless = sorted(set(lines) - {name for names in FLOORS for name in names} - {"service.__init__"})
    circles, tied, wrong = cycles(between), file_cycles(found), upward(found)
    count = sum(map(len, between.values()))
    print(f"\n{len(lines)} rooms, {count} arrows, {len(circles)} cycles between rooms, {len(tied)} between files, "
          f"{len(wrong)} upward imports")  # fmt: skip
    for name in homeless:
        print(f"no floor: {name}")
    for circle in circles:
        print("cycle of rooms: " + ", ".join(circle))
    for circle in tied:
        print("cycle of files: " + ", ".join(circle))
        if options.files:
            for one in found:
                if one.importer in circle and one.imported in circle:
                    print(f"    {one.importer} -> {one.imported}, line {', '.join(map(str, one.lines))}")
    for one in wrong:
        print(f"upward: {one.importer} -> {one.imported}, line {', '.join(map(str, one.lines))}")
    return 1 if circles or tied or wrong or homeless else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
