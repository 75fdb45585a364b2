"""Plug-ins with configs: versions, user code, and the errors of members that cannot be used."""

import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from sparsemod import registry
from sparsemod.errors import InvalidInput, InvalidSpec, UnknownName
from sparsemod.plugins import Names, Plugin, PluginConfig, Plugins
from sparsemod.spec.experiment import ExperimentSpec

MINIMAL = {"dataset": {"name": "digits"}, "network": {"family": "mlp"}}


class PaintConfig(PluginConfig):
    """Base of the paints' configs."""

    name: str = Field(description="Name of the paint.")


class OilConfig(PaintConfig):
    """In version 1, `thickness` was in micrometres; in version 2 it is in millimetres."""

    version: int = Field(2, description="Version of these keys.")
    thickness: float = Field(0.1, ge=0, description="In millimetres.")

    @classmethod
    def upgraded(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        return {**data, "thickness": data["thickness"] / 1000} if version == 1 else data


class Oil(Plugin[OilConfig]):
    """Dries slowly."""

    Config = OilConfig


@pytest.fixture
def paints() -> Plugins[Any, PaintConfig]:
    found: Plugins[Any, PaintConfig] = Plugins("paint", "sparsemod.paints", "paint", PaintConfig, ())
    found.register("oil")(Oil)
    return found


def test_a_config_of_an_earlier_version_is_upgraded(paints: Plugins[Any, PaintConfig]) -> None:
    new = paints.config("oil", thickness=0.25)
    assert paints.read({"name": "oil", "version": 1, "thickness": 250.0}) == new
    assert paints.read({"name": "oil", "version": 2, "thickness": 0.25}) == new
    assert paints.read({"name": "oil", "thickness": 0.25}) == new, "what people write has today's keys"
    assert new.version == 2 and paints.create(new).config is new
    with pytest.raises(InvalidInput, match=r"paint\.version = 3: at most 2"):
        paints.config("oil", version=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "a mapping with the key 'name', or the name of the paint"),
        ({}, "is missing"),
        ({"name": 3}, "the name of the paint"),
        ({"name": "oli"}, "known: oil; did you mean oil?"),
        ({"name": "oil", "thickness": "thin"}, "a valid number"),
        ({"name": "oil", "colour": 1}, "known here: name, thickness"),
    ],
)
def test_errors_of_a_config(paints: Plugins[Any, PaintConfig], given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        paints.read(given)
    assert message in str(caught.value)


def test_members_need_a_config_of_their_family(paints: Plugins[Any, PaintConfig]) -> None:
    class Bare(Plugin[PaintConfig]):
        pass

    class Foreign(Plugin[PluginConfig]):
        Config = PluginConfig

    for member in (Bare, Foreign, 3):
        with pytest.raises(InvalidInput, match="a subclass of PaintConfig"):
            paints.register("other")(member)
    assert paints.names() == ("oil",)


def test_a_member_of_a_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("oil", f"{__name__}:Oil", "sparsemod.paints"),
        EntryPoint("bad", f"{__name__}:MINIMAL", "sparsemod.paints"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "sparsemod.paints" else [])
    paints: Plugins[Any, PaintConfig] = Plugins("paint", "sparsemod.paints", "paint", PaintConfig, ())
    assert paints.config("oil") == OilConfig(name="oil", thickness=0.1)
    with pytest.raises(
        InvalidInput, match=r"its entry point .* cannot be loaded: .*a subclass of PaintConfig"
    ):
        paints.config("bad")


OWN = """
from sparsemod.spec.methods import ScheduleConfig
from sparsemod.training.schedules import Schedule

class Half(Schedule[ScheduleConfig]):
    "Half the rate."
    Config = ScheduleConfig

    def factor(self, progress):
        return 0.5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "own_schedules.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_schedules:Half"
    from sparsemod.spec.methods import SCHEDULES

    SCHEDULES._imported.pop("own_schedules:Half", None)
    sys.modules.pop("own_schedules", None)


def test_code_is_imported_only_where_that_is_allowed(own: str) -> None:
    from sparsemod.training.schedules import LearningRate

    data = {**MINIMAL, "training": {"schedule": {"name": own, "warmup": 1}}}
    with pytest.raises(
        InvalidSpec, match=r"training\.schedule\.name = 'own_schedules:Half': code cannot be named"
    ):
        ExperimentSpec.parse(data)
    assert "own_schedules" not in sys.modules
    assert not ExperimentSpec.stored(data).training.schedule.known and "own_schedules" not in sys.modules
    with pytest.raises(UnknownName, match=r"training\.schedule\.name = 'own_schedules:Half'"):
        ExperimentSpec.stored(data).check_methods()
    spec = ExperimentSpec.parse(data, names=Names.IMPORTED)
    assert LearningRate(1.0, spec.training.schedule, 2, 10).at(10) == 0.5
    # What this process has imported is known in it, for the spec's copies too.
    assert ExperimentSpec.parse(spec.to_dict()) == spec
    with pytest.raises(InvalidSpec, match="has no 'Third'"):
        ExperimentSpec.parse(
            {**MINIMAL, "training": {"schedule": "own_schedules:Third"}}, names=Names.IMPORTED
        )
    with pytest.raises(InvalidSpec, match="a class with a Config"):
        ExperimentSpec.parse({**MINIMAL, "training": {"schedule": "json:dumps"}}, names=Names.IMPORTED)


def test_threads_wait_until_all_members_are_registered() -> None:
    started, go = threading.Event(), threading.Event()

    class Slow(Plugins[Any, PaintConfig]):
        def _import_all(self) -> None:
            started.set()
            go.wait(5)
            self.register("oil")(Oil)

    paints = Slow("paint", "sparsemod.paints", "paint", PaintConfig, ("slow_paints",))
    module = type(sys)("slow_paints")
    importing = registry.importlib.import_module

    def slowly(name: str) -> Any:
        if name != "slow_paints":
            return importing(name)
        paints._import_all()
        return module

    registry.importlib.import_module = slowly  # type: ignore[assignment]
    try:
        first = threading.Thread(target=paints.names)
        first.start()
        started.wait(5)
        found: list[Any] = []
        second = threading.Thread(target=lambda: found.append(paints.names()))
        second.start()
        second.join(0.2)
        assert second.is_alive(), "it must not see a registry that is half full"
        go.set()
        first.join(5)
        second.join(5)
    finally:
        registry.importlib.import_module = importing
    assert found == [("oil",)]
