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
    modules = [path for package in ("sparsemod", "service") for path in (ROOT / package).rglob("*.py")]
    broken = {str(path.relative_to(ROOT)): list(broken_rules(path.read_text())) for path in modules}
    assert not {path: rules for path, rules in broken.items() if rules}


def test_broken_rules_are_seen() -> None:
    assert len(list(broken_rules("x = 1  # TODO\nassert x\n" + "\n" * 400))) == 4
