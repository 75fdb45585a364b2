"""[TEST] of a `config.cfg`: the settings of `sparsemod test`.

SpArSeMod trains a network of an earlier run for more epochs and reports its error on the test set. `arm` names
the network, `name` and `root` name the run. `quant_scheme`, `pruning`, `splitter` and `objectives` describe the
run and must be equal to those of the run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec

_ARM = "the name of a network: the index of its trial, such as 7 or 7_0 (each trial here has one network)"


def arm_index(name: str, field: str = "arm") -> int:
    """Return the index of the trial of an arm's name, such as 7 or Ax's 7_0. Raises InvalidInput."""
    match = re.fullmatch(r"([0-9]{1,9})(_0)?", name.strip())
    if match is None:
        raise InvalidInput(field, name, _ARM)
    return int(match[1])


@dataclass(frozen=True)
class TestSettings:
    """What [TEST] says: the run's folder, the trial, the epochs and the number of trainings.

    `folders`: where the run may be, in order: `root/name` as `sparsemod run` writes it, or `root` itself.
    `arm`, `epochs` and `seeds` are None where the file does not say. `expected`: keys of the file with the value
    that the run's spec must have: key -> (field of the spec, value in the file, wanted values, place).
    """

    __test__ = False  # no test class of pytest

    folders: tuple[Path, ...]
    arm: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    expected: Mapping[str, tuple[str, str, Any, str]] = field(default_factory=dict)

    def folder(self) -> Path:
        """Return the first of `folders` that holds a run, else the first one."""
        return next((f for f in self.folders if (f / "spec.json").is_file()), self.folders[0])

    def check(self, spec: ExperimentSpec) -> None:
        """Check that the run's spec has the settings of [TEST]. Raises InvalidSpec that names every difference."""
        data = spec.to_dict()
        mistakes = []
        for key, (path, text, wanted, place) in self.expected.items():
            value: Any = data
            for part in path.split("."):
                value = value[part]
            if not _agrees(value, wanted):
                allowed = f"as in the run in {self.folder()}, whose {path} is {value}"
                mistakes.append(InvalidSpec(key, text, allowed, place))
        if mistakes:
            mistakes[0].others = tuple(mistakes[1:])
            raise mistakes[0]


def _agrees(value: Any, wanted: Any) -> bool:
    """Return whether the run's value is the wanted one; `(not X)` is written as {"not": X}."""
    if isinstance(wanted, Mapping):
        return bool(value != wanted["not"])
    return bool(value == wanted)
