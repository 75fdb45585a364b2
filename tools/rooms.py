"""Print the rooms of the code: lines, imports between them, cycles, and imports that point upwards.

    python3 dev.py rooms            one line for each room, then the violations
    python3 dev.py rooms --files    also the imports that form each cycle between files

Last come the entry points that pyproject.toml declares: code of a higher room that a lower one finds by a group's name.

A room is a folder (or a single module) directly below `sparsemod` or `service`. `FLOORS` orders the rooms from the
bottom up: a room may import only rooms of lower floors. Imports inside functions and under TYPE_CHECKING count like
any other. This file uses only the standard library.
"""

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("sparsemod.errors", "sparsemod.version"),
    (
        "sparsemod.decoding",
        "sparsemod.layouts",
        "sparsemod.scales",
        "sparsemod.sequences",
        "sparsemod.signals",
    ),
    (
        "sparsemod.files",
        "sparsemod.patterns",
        "sparsemod.records",
        "sparsemod.registry",
        "sparsemod.stage_errors",
        "sparsemod.templates",
        "sparsemod.units",
        "sparsemod.yaml_text",
    ),
    ("sparsemod.plugins", "sparsemod.seeds"),
    ("sparsemod.objectives", "sparsemod.space", "sparsemod.stages"),
    ("sparsemod.quality", "sparsemod.sources", "sparsemod.targets"),
    ("sparsemod.spec", "sparsemod.kinds"),
    ("sparsemod.data", "sparsemod.graph", "sparsemod.arena", "sparsemod.networks"),
    (
        "sparsemod.pruning",
        "sparsemod.training",
        "sparsemod.morphisms",
        "sparsemod.report",
        "sparsemod.stopping",
        "sparsemod.substitutes",
    ),
    ("sparsemod.quantization",),
    ("sparsemod.importing", "sparsemod.measure", "sparsemod.search"),
    ("sparsemod.export",),
    ("sparsemod.emulator",),
    ("sparsemod.calibration", "sparsemod.delivery"),
    ("sparsemod.board",),
    ("sparsemod.pipeline",),
    ("sparsemod.studies",),
    ("sparsemod.interactive",),
    ("sparsemod.__init__",),
    ("service.settings", "service.telemetry", "service.schemas"),
    ("service.errors",),
    ("service.client",),
    ("service.processes",),
    ("service.store",),
    ("service.files",),
    ("service.jobs",),
    ("service.http", "service.worker", "service.suggester", "service.fleet"),
    ("service.cli",),
)
"""Rooms from the bottom up. Rooms on the same floor must not import each other."""


@dataclass(frozen=True)
class Import:
    """One file imports another; `lines` are the lines of the import statements."""

    importer: str
    imported: str
    lines: tuple[int, ...]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return dotted name -> path for every module of both packages; a package has the name of its folder."""
    paths = {}
    for top in ("sparsemod", "service"):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def imports(known: Mapping[str, Path]) -> list[Import]:
    """Return all imports of one module by another, anywhere in a file."""
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
    """Return the room of a module: its first two names, or `sparsemod.__init__` for the package itself."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else f"{module}.__init__"


def arrows(edges: Iterable[Import]) -> dict[str, set[str]]:
    """Return room -> the rooms that it imports."""
    between: dict[str, set[str]] = defaultdict(set)
    for one in edges:
        a, b = room(one.importer), room(one.imported)
        if a != b and b != "service.__init__":
            between[a].add(b)
    return dict(between)


def cycles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the strongly connected components with more than one node (Tarjan 1972), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

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
                components.append(sorted(component))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted(components)


def upward(edges: Iterable[Import]) -> list[Import]:
    """Return the imports of rooms on the same or a higher floor, and of rooms without a floor."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = []
    for one in edges:
        a, b = room(one.importer), room(one.imported)
        if a == b or b == "service.__init__":
            continue
        if floor.get(b, len(FLOORS)) >= floor.get(a, -1):
            wrong.append(one)
    return wrong


def file_cycles(all_imports: Iterable[Import]) -> list[list[str]]:
    """Return the cycles between files."""
    edges: dict[str, set[str]] = defaultdict(set)
    for one in all_imports:
        edges[one.importer].add(one.imported)
    return cycles(edges)


def entry_points(root: Path = ROOT) -> dict[str, dict[str, str]]:
    """The groups of entry points that pyproject.toml declares: group -> name -> place. They are no imports."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: dict[str, dict[str, str]] = project.get("entry-points", {})
    return groups


def main(argv: list[str]) -> int:
    """Print the rooms; exit code 1 when there is a cycle or an upward import."""
    parser = argparse.ArgumentParser(prog="dev.py rooms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", action="store_true", help="show the imports that form each cycle of files")
    options = parser.parse_args(argv)
    known = modules()
    all_imports = imports(known)
    between = arrows(all_imports)
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
    circles, tied, wrong = cycles(between), file_cycles(all_imports), upward(all_imports)
    count = sum(map(len, between.values()))
    print(f"\n{len(lines)} rooms, {count} arrows, {len(circles)} cycles between rooms, {len(tied)} between files, "
          f"{len(wrong)} upward imports")  # fmt: skip
    for group, points in entry_points().items():
        for name, place in points.items():
            print(f"entry point {group}: {name} = {place}")
    for name in homeless:
        print(f"no floor: {name}")
    for circle in circles:
        print("cycle of rooms: " + ", ".join(circle))
    for circle in tied:
        print("cycle of files: " + ", ".join(circle))
        if options.files:
            for one in all_imports:
                if one.importer in circle and one.imported in circle:
                    print(f"    {one.importer} -> {one.imported}, line {', '.join(map(str, one.lines))}")
    for one in wrong:
        print(f"upward: {one.importer} -> {one.imported}, line {', '.join(map(str, one.lines))}")
    return 1 if circles or tied or wrong or homeless else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
