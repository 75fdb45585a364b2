"""A user's own family, as a function or a class, right and wrong."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparsemod.errors import BuildError, DuplicateName, InvalidInput, UnknownName
from sparsemod.networks import FAMILIES, create_family, family
from sparsemod.records import DataInfo, Value
from sparsemod.space.space import Categorical, Fixed, Integer, Real, Space

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    FAMILIES.names()
    held = dict(FAMILIES._members)
    yield
    FAMILIES._members.clear()
    FAMILIES._members.update(held)


def small(parameters: Mapping[str, Value], data: DataInfo, *, depth: int = 1) -> nn.Module:
    """A little network."""
    width = int(parameters["width"])
    middle = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), *middle, nn.Linear(width, data.classes)
    )


class Undecorated:
    """A family that is only named as module:attribute."""

    def space(self, data: DataInfo) -> list[Integer]:
        return [Integer("width", 4, 32)]

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> nn.Module:
        return small(parameters, data)


def test_a_function_is_a_family() -> None:
    family("tiny", space=[Integer("width", 4, 32)])(small)
    made = create_family("tiny", {"depth": 2})
    assert made.space(DIGITS).names == ("width",)
    module = made.build({"width": 8}, DIGITS)
    assert module.training and module(torch.zeros(4, 1, 8, 8)).shape == (4, 10)
    assert sum(isinstance(m, nn.Linear) for m in module.modules()) == 4
    with pytest.raises(InvalidInput, match=r"network\.options\.deep = 2: an option of 'tiny': depth"):
        create_family("tiny", {"deep": 2})


@pytest.mark.parametrize(
    "space",
    [
        Space([Integer("width", 4, 32), Fixed("kind", "a")]),
        {"width": Integer("any", 4, 32), "kind": "a"},
        {"width": [4, 8], "kind": ["a", "b"]},
        lambda data: [Integer("width", 4, data.classes), Real("rate", 0.0, 1.0)],
    ],
)
def test_spaces_in_every_form(space: Any) -> None:
    family("formed", space=space)(small)
    assert len(create_family("formed").space(DIGITS).names) == 2


def test_a_generator_of_parameters_is_not_used_up() -> None:
    family("generated", space=(Integer(name, 4, 32) for name in ("width", "height")))(small)
    made = create_family("generated")
    assert made.space(DIGITS).names == made.space(DIGITS).names == ("width", "height")


def test_shorthand_keeps_its_meaning() -> None:
    family("short", space={"width": [4, 8], "kind": "a"})(small)
    parameters = create_family("short").space(DIGITS).parameters
    assert parameters == (Categorical("width", (4, 8)), Fixed("kind", "a"))


def test_by_module_and_attribute() -> None:
    name = f"{__name__}:Undecorated"
    assert create_family(name, imports=True).build({"width": 5}, DIGITS)(torch.zeros(1, 1, 8, 8)).shape == (
        1,
        10,
    )
    with pytest.raises(UnknownName, match="code cannot be named here"):
        create_family(name)
    with pytest.raises(InvalidInput, match="a class with `space` and `build`"):
        create_family(f"{__name__}:DIGITS", imports=True)


def returning(result: Any) -> Any:
    def build(parameters: Mapping[str, Value], data: DataInfo) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    return build


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (3, r"family 'odd' built a int, not a torch\.nn\.Module"),
        (None, r"family 'odd' built a NoneType"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 4)),
            r"family 'odd': for 2 samples .* \(2, 4\), expected \(2, 10\)",
        ),
        (nn.Linear(3, 10), r"family 'odd': the network does not run on digits \(1, 8, 8\): RuntimeError"),
        (KeyError("width"), r"family 'odd' raised KeyError: 'width'"),
    ],
)
def test_wrong_networks_name_the_family(result: Any, message: str) -> None:
    family("odd", space=[Integer("width", 1, 2)])(returning(result))
    with pytest.raises(BuildError, match=message):
        create_family("odd").build({"width": 1}, DIGITS)


def test_wrong_space_names_the_family() -> None:
    family("odd", space=lambda data: 3)(small)
    with pytest.raises(InvalidInput, match="space of family 'odd' = 3: a Space, a list"):
        create_family("odd").space(DIGITS)


def test_registration_is_checked() -> None:
    with pytest.raises(InvalidInput, match="a function needs its space"):
        family("bare")(small)
    with pytest.raises(InvalidInput, match="a class with a method 'space'"):
        family("empty")(nn.Linear)
    with pytest.raises(DuplicateName, match="already registered by sparsemod"):
        family("cnn", space=[])(small)


def test_a_space_that_raises_names_the_family() -> None:
    @family("thrower")
    class Thrower:
        def space(self, data: DataInfo) -> list[Integer]:
            raise NotImplementedError("later")

        def build(self, parameters: Mapping[str, Value], data: DataInfo) -> nn.Module:
            return nn.Identity()

    with pytest.raises(
        InvalidInput, match=r"network\.family = 'thrower': .* it raised NotImplementedError: later"
    ):
        create_family("thrower").space(DIGITS)


def test_an_entry_point_names_a_decorated_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in docs/own.md, in a process that has not imported the module."""
    (tmp_path / "their_networks.py").write_text(
        "from torch import nn\n"
        "from sparsemod.networks.family import family\n"
        "from sparsemod.space.parameters import Integer\n\n\n"
        "@family('theirs', space=[Integer('width', 1, 4)])\n"
        "def theirs(parameters, data):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, data.classes))\n"
    )
    metadata = tmp_path / "their_networks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their_networks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[sparsemod.families]\ntheirs = their_networks:theirs\nalso = their_networks:theirs\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "from sparsemod.networks.family import create_family\n"
        "from sparsemod.records import DataInfo\n"
        "data = DataInfo(name='digits', shape=(1, 8, 8), classes=10)\n"
        "for name in ('theirs', 'also'):\n"
        "    print(create_family(name).space(data))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout == "Space(width)\nSpace(width)\n", done.stderr


def test_a_class_that_rejects_its_options_is_reported_with_its_line() -> None:
    class Picky:
        def __init__(self, widest: int = 8) -> None:
            raise ValueError(f"{widest} is too wide")

        def space(self, data: DataInfo) -> list[Integer]:
            return []

        def build(self, parameters: Mapping[str, Value], data: DataInfo) -> nn.Module:
            return nn.Identity()

    family("picky")(Picky)
    message = r"network\.options = {'widest': 9}: .*ValueError: 9 is too wide \(test_networks_user\.py, line"
    with pytest.raises(InvalidInput, match=message):
        create_family("picky", {"widest": 9})
