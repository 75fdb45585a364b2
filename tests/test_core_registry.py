"""Plug-ins: by decorator, by an installed package's entry point, by module:attribute; clashes are errors."""

import importlib
import inspect
import re
import runpy
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support_operators import STAGES as OPERATOR_STAGES

from sparsemod.arena.memory import MEMORY
from sparsemod.data.source import DATASETS
from sparsemod.errors import DuplicateName, InvalidInput, UnknownName
from sparsemod.kinds import KINDS
from sparsemod.networks import FAMILIES, create_family, family
from sparsemod.records import DataInfo
from sparsemod.registry import Registry, builtin_modules
from sparsemod.sources.base import SOURCES
from sparsemod.space.parameters import Integer
from sparsemod.spec import methods
from sparsemod.stages.base import STAGES

RULES_OF_KINDS = tuple(stage for stage in OPERATOR_STAGES if stage not in (KINDS, MEMORY))
"""The stages whose rules are found by their decorators; kinds and memory rules are tables of a few modules."""


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
def test_a_module_that_cannot_be_imported_is_reported_in_a_line(tmp_path, monkeypatch, source, message):
    (tmp_path / "tins.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        InvalidInput, match=rf"network\.family = 'tins:x': a module that can be imported; {message}"
    ):
        Registry("colour", "sparsemod.none").get("tins:x", imports=True, field="network.family")


@pytest.mark.usefixtures("package")
def test_a_broken_entry_point_affects_no_other_plugin(tmp_path):
    points = tmp_path / "paints-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "gone = paints:gone\n")
    registry = Registry("colour", "sparsemod.test_colours")
    assert registry.names() == ("green",)
    with pytest.raises(
        InvalidInput,
        match="colour = 'gone': its entry point paints:gone of paints cannot be loaded: AttributeError",
    ):
        registry.get("gone")


FACTORY = """
from sparsemod.networks.family import family
from sparsemod.space.parameters import Integer
from sparsemod.data import dataset


def make(name, depth):
    @family(name, space=[Integer("width", depth, 99)])
    def build(parameters, data):
        raise NotImplementedError
    return build


def source(name, size):
    @dataset(name)
    def load(root):
        return size
    return load


shallow, deep = make("shallow_test", 1), make("deep_test", 9)
few, many = source("few_test", 1), source("many_test", 9)
quiet = family("quiet_test", space=[Integer("width", 2, 9)])(lambda parameters, data: None)
loud = family("loud_test", space=[Integer("width", 3, 9)])(lambda parameters, data: None)
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module with two families of one factory, two of lambdas, and two datasets of one factory."""
    (tmp_path / "factories_test.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "factories_test", raising=False)
    for registry in (FAMILIES, DATASETS):
        registry.names()
        monkeypatch.setattr(registry, "_members", dict(registry._members))
    return tmp_path / "factories_test.py"


@pytest.mark.usefixtures("factories")
def test_a_plug_in_is_found_by_identity():
    data = DataInfo(name="digits", shape=(64,), classes=10)
    for attribute, name, low in (
        ("deep", "deep_test", 9), ("shallow", "shallow_test", 1), ("loud", "loud_test", 3), ("quiet", "quiet_test", 2),
    ):  # fmt: skip
        found = create_family(f"factories_test:{attribute}", imports=True)
        assert (found.name, found.space(data).parameter("width").low) == (name, low)
        assert create_family(name).space(data).parameter("width").low == low
    assert DATASETS.get("factories_test:many", imports=True)(None) == 9
    assert DATASETS.get("many_test")(None) == 9


def test_one_factory_cannot_take_a_name_twice(factories):
    factories.write_text(FACTORY + 'make("deep_test", 5)\n')
    with pytest.raises(
        InvalidInput, match=r"'deep_test': already registered by factories_test.make.<locals>.build, line"
    ):
        FAMILIES.get("factories_test:deep", imports=True)
    # The same function with two spaces is two families.
    family("twice_test", space=[Integer("width", 1, 2)])(plug_in)
    with pytest.raises(DuplicateName):
        family("twice_test", space=[Integer("width", 1, 3)])(plug_in)


def test_an_object_of_two_names_must_be_named():
    registry = Registry("colour", "sparsemod.none")
    for name in ("red", "blue"):
        registry.add(name, SimpleNamespace(origin=plug_in))
    with pytest.raises(InvalidInput, match="registered under several names; use one: red, blue"):
        registry.get(f"{__name__}:plug_in", imports=True)


def test_a_module_may_run_twice(factories):
    """A module run twice, as __main__ and by name or because it is reloaded: the second run replaces the
    first."""
    runpy.run_path(str(factories), run_name="__main__")
    module = importlib.import_module("factories_test")
    assert FAMILIES.get("deep_test").origin is module.deep
    importlib.reload(module)
    assert FAMILIES.get("deep_test").origin is module.deep
    assert create_family("factories_test:deep", imports=True).name == "deep_test"
    other = factories.with_name("others_test.py")
    other.write_text(FACTORY)
    with pytest.raises(DuplicateName, match="shallow_test"):
        importlib.import_module("others_test")


def test_an_interactive_session_may_define_a_family_again():
    registry = Registry("colour", "sparsemod.none")
    session = {"registry": registry, "__name__": "__main__"}
    cell = "@registry.register('red')\ndef red():\n    return {}\n"
    for answer in (1, 2):
        exec(compile(cell.format(answer), "<stdin>", "exec"), session)  # noqa: S102
    assert registry.get("red")() == 2
    with pytest.raises(DuplicateName):
        exec(compile(cell.format(3).replace("def red", "def blue"), "<stdin>", "exec"), session)  # noqa: S102


@pytest.mark.usefixtures("package")
def test_an_entry_point_cannot_take_a_taken_name():
    registry = Registry("colour", "sparsemod.test_colours")
    registry.add("green", plug_in)
    with pytest.raises(InvalidInput, match=r"entry point paints:green.*DuplicateName: .*already registered"):
        registry.get("green")


def test_a_new_file_in_a_registry_s_folder_is_found_by_its_decorator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own_methods_test"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from sparsemod.registry import Registry\nTHINGS = Registry('thing', 'no.group', ('own_methods_test @THINGS',))\n"
    )
    (folder / "one.py").write_text(
        "from own_methods_test import THINGS\n\n\n@THINGS.register('one')\ndef one(): ...\n"
    )
    (folder / "helper.py").write_text("raise RuntimeError('@THINGS.register( in a text: no decorator')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("own_methods_test")
    (folder / "two.py").write_text(
        "from own_methods_test import THINGS\n\n\n@THINGS.register('two')\ndef two(): ...\n"
    )
    assert module.THINGS.names() == ("one", "two")


def test_no_list_names_single_members() -> None:
    """A method, a data set, a family, a source or a stage of this package is one file: nothing else changes."""
    for registry in (*methods.FAMILIES.values(), DATASETS, FAMILIES, SOURCES, STAGES, *RULES_OF_KINDS):
        for entry in registry._builtin:
            if " @" not in entry:  # a module that registers a whole table of names
                assert not re.search(
                    r"^@\w+\.register\(", inspect.getsource(importlib.import_module(entry)), re.MULTILINE
                ), entry
            assert list(builtin_modules([entry])), f"{registry.kind}: no file of {entry}"


def test_a_second_thread_waits_for_the_first_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_member_test.py").write_text(
        "import slow_registry_test as shared\n"
        "shared.started.set()\n"
        "shared.asked.wait(0.5)  # the other thread looks up now\n"
        "shared.THINGS.add('slow', shared)\n"
    )
    (tmp_path / "slow_registry_test.py").write_text(
        "import threading\nfrom sparsemod.registry import Registry\n"
        "started, asked = threading.Event(), threading.Event()\n"
        "THINGS = Registry('thing', 'no.group', ('slow_member_test',))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    shared = importlib.import_module("slow_registry_test")
    found: list[tuple[str, ...]] = []
    first = threading.Thread(target=lambda: found.append(shared.THINGS.names()))
    first.start()
    assert shared.started.wait(60)
    found.append(shared.THINGS.names())
    shared.asked.set()
    first.join(60)
    assert found == [("slow",)] * 2
