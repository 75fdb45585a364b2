"""House rules that no linter checks: short files, described modules, no assert as validation, nothing left to do."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def broken_rules(text: str) -> Iterator[str]:
    """Yield the style rules that a module's text breaks."""
    tree = ast.parse(text)
    if text.count("\n") > 400:
        yield "over 400 lines: split it, one method, one file"
    if tree.body and not ast.get_docstring(tree):
        yield "no line says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"line {node.lineno}: assert; an error of our own says more, and stays under python -O"
    for word in ("TODO", "FIXME", "XXX"):
        if word in text:
            yield word


def test_modules_keep_the_house_rules() -> None:
    modules = [path for folder in ("sparsemod", "service", "tools") for path in (ROOT / folder).rglob("*.py")]
    modules.append(ROOT / "dev.py")
    broken = {str(path.relative_to(ROOT)): list(broken_rules(path.read_text())) for path in modules}
    assert not {path: rules for path, rules in broken.items() if rules}


def test_broken_rules_are_seen() -> None:
    assert len(list(broken_rules("x = 1  # TODO\nassert x\n" + "\n" * 400))) == 4


_HANDMADE = {
    "hashlib": "digest_of, Hasher or fingerprint",
    "mkstemp": "NewFile",
    "NamedTemporaryFile": "NewFile",
    "fsync": "NewFile, append_durably or sync_folder",
    "rename": "move or NewFile",
    "replace": "move or NewFile",
}
"""What only sparsemod/files.py may use -> what other modules use instead."""

_MEMORY = ("VmRSS", "RssAnon", "ru_maxrss", "psutil", "statm")


def handmade(text: str) -> Iterator[str]:
    """What a module's text does itself although sparsemod.files or service.processes.memory does it."""
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
            names = [name for name in names if name not in ("replace", "rename") or node.module == "os"]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            os_call = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
            # `path.replace(target)` has one argument; those of strings have two, those of dates have names.
            one = len(node.args) == 1 and not node.keywords
            if node.func.attr not in ("replace", "rename") or os_call or one:
                names = [node.func.attr]
        for name in names:
            if name in _HANDMADE:
                yield f"line {node.lineno}: {name}; use {_HANDMADE[name]} of sparsemod.files"
    for word in _MEMORY:
        if word in text:
            yield f"{word}; use resident_bytes of service.processes.memory"


def test_digests_atomic_writes_and_resident_memory_have_one_place() -> None:
    homes = {"sparsemod/files.py", "service/processes/memory.py"}
    modules = [path for package in ("sparsemod", "service") for path in (ROOT / package).rglob("*.py")]
    places = {str(path.relative_to(ROOT)): list(handmade(path.read_text())) for path in modules}
    assert {place for place, found in places.items() if found} == homes, places


def test_handmade_work_is_seen() -> None:
    text = """
import hashlib, os
from os import replace
from dataclasses import replace
os.replace(a, b); os.rename(a, b); os.fsync(1); path.replace(b); path.rename(b); tempfile.mkstemp()
"ab".replace("a", "b"); date.replace(day=1); replace(x, y=1)
open("/proc/1/statm")
"""
    assert [found.split(": ")[-1].split(";")[0] for found in handmade(text)] == [
        "hashlib", "replace", "replace", "rename", "fsync", "replace", "rename", "mkstemp", "statm",
    ]  # fmt: skip
