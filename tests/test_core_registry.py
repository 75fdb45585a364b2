"""Plug-ins: by decorator, by an installed package's entry point, by module:attribute; clashes are errors."""

import sys

import pytest

from sparsemod.errors import DuplicateName, InvalidInput, UnknownName
from sparsemod.registry import Registry


def plug_in() -> str:
    """Something to register."""
    return "ours"


def test_names_are_unique_and_looked_up():
    registry = Registry("colour", "sparsemod.test_colours")
    registry.add("red", plug_in)
    registry.add("red", plug_in)  # the same thing again is no clash
    assert registry.get("red") is plug_in
    with pytest.raises(DuplicateName, match=r"colour = 'red': already registered by"):
        registry.add("red", len)
    with pytest.raises(UnknownName, match=r"wall\.colour = 'blue': known: red"):
        registry.get("blue", field="wall.colour")
    with pytest.raises(InvalidInput, match="must not be empty"):
        registry.add("a:b", plug_in)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a module and an entry point."""
    (tmp_path / "paints.py").write_text("def green():\n    return 'theirs'\n")
    metadata = tmp_path / "paints-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: paints\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sparsemod.test_colours]\ngreen = paints:green\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("paints", None)


@pytest.mark.usefixtures("package")
def test_an_installed_package_registers_by_an_entry_point():
    registry = Registry("colour", "sparsemod.test_colours")
    assert registry.names() == ("green",)
    assert registry.get("green")() == "theirs"


@pytest.mark.usefixtures("package")
def test_module_and_attribute_only_where_imports_are_allowed():
    registry = Registry("colour", "sparsemod.none")
    assert registry.get("paints:green", imports=True)() == "theirs"
    with pytest.raises(UnknownName, match="code cannot be named here"):
        registry.get("paints:green")
    with pytest.raises(UnknownName, match="no module 'brushes'"):
        registry.get("brushes:green", imports=True)
    with pytest.raises(UnknownName, match="module 'paints' has no 'mauve'"):
        registry.get("paints:mauve", imports=True)
    for name in (":green", "paints:", ".paints:green", "paints:a.b"):
        with pytest.raises(UnknownName, match="or MODULE:ATTRIBUTE"):
            registry.get(name, imports=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no paint')", r"tins raised ValueError: no paint \(tins\.py, line 1\)"),
        ("def green(:", r"tins raised SyntaxError: .*\(tins\.py, line 1\)"),
        ("import no_such_brush", r"tins raised ModuleNotFoundError: .*'no_such_brush' \(tins\.py, line 1\)"),
        ("import re\nre.compile('(')", r"tins raised \w+: .* \(tins\.py, line 2\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_in_a_line(tmp_path, monkeypatch, source, message):
    (tmp_path / "tins.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        InvalidInput, match=rf"network\.family = 'tins:x': a module that can be imported; {message}"
    ):
        Registry("colour", "sparsemod.none").get("tins:x", imports=True, field="network.family")


@pytest.mark.usefixtures("package")
def test_a_broken_entry_point_costs_nobody_else_anything(tmp_path):
    points = tmp_path / "paints-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "gone = paints:gone\n")
    registry = Registry("colour", "sparsemod.test_colours")
    assert registry.names() == ("green",)
    with pytest.raises(
        InvalidInput,
        match="colour = 'gone': its entry point paints:gone of paints cannot be loaded: AttributeError",
    ):
        registry.get("gone")
