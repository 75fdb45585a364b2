"""Rooms import downwards only, and no file takes part in a cycle of imports."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

_spec = importlib.util.spec_from_file_location("rooms", ROOT / "tools" / "rooms.py")
assert _spec is not None and _spec.loader is not None
rooms = importlib.util.module_from_spec(_spec)
sys.modules["rooms"] = rooms
_spec.loader.exec_module(rooms)


@pytest.fixture(scope="module")
def found() -> list[object]:
    return rooms.imports(rooms.modules())


def test_no_cycle_between_rooms_or_files(found: list[object]) -> None:
    assert rooms.cycles(rooms.arrows(found)) == []
    assert rooms.file_cycles(found) == []


def test_no_import_points_upwards(found: list[object]) -> None:
    assert rooms.upward(found) == []
    housed = {name for floor in rooms.FLOORS for name in floor} | {"service.__init__"}
    assert {rooms.room(name) for name in rooms.modules()} <= housed


def test_the_command_prints_the_rooms() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "dev.py", "rooms"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "0 cycles between rooms, 0 between files, 0 upward imports" in done.stdout
    assert "sparsemod.pipeline" in done.stdout


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_lazy_and_type_checking_imports_count(tmp_path: Path) -> None:
    write(tmp_path, "sparsemod/__init__.py", "")
    write(
        tmp_path,
        "sparsemod/errors.py",
        "if TYPE_CHECKING:\n    from sparsemod.spec.experiment import ExperimentSpec\n",
    )
    write(tmp_path, "sparsemod/spec/__init__.py", "")
    write(tmp_path, "sparsemod/spec/experiment.py", "def f():\n    import sparsemod.errors\n")
    seen = rooms.imports(rooms.modules(tmp_path))
    assert rooms.cycles(rooms.arrows(seen)) == [["sparsemod.errors", "sparsemod.spec"]]
    assert rooms.file_cycles(seen) == [["sparsemod.errors", "sparsemod.spec.experiment"]]
    assert [(one.importer, one.imported, one.lines) for one in rooms.upward(seen)] == [
        ("sparsemod.errors", "sparsemod.spec.experiment", (2,))
    ]
