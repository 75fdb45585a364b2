"""Shared by the tests of `sparsemod.run`, `load` and `connect`: a short search on digits, and the entry
points of this checkout."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_docs import ROOT
from support_trials import tiny_spec

from sparsemod.report.result_source import CLIENTS
from sparsemod.spec.experiment import ExperimentSpec

ROUNDS = {
    "r1": {"trials": 4, "epochs": 3},
    "r2": {"trials": 0, "epochs": 1},
    "r3": {"trials": 1, "epochs": 1},
}


def search(**changes: Any) -> ExperimentSpec:
    """Four Sobol trials and a morph; two objectives; some candidates are infeasible. `changes` replace parts of the spec."""
    parts: dict[str, Any] = {
        "name": "a short search", "network": {"family": "mlp", "options": {"max_layers": 2, "max_width": 32}}, "rounds": ROUNDS,
        "objectives": ["error", "model_size"], "budgets": ["flash <= 2500 B"], "seed": 4,
    }  # fmt: skip
    return tiny_spec(**{**parts, **changes})


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clients that pyproject.toml declares, as an installation would declare them."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][CLIENTS.group]
    info = tmp_path / "entry-points" / "checkout-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: checkout\nVersion: 1\n")
    lines = "".join(f"{name} = {place}\n" for name, place in declared.items())
    (info / "entry_points.txt").write_text(f"[{CLIENTS.group}]\n{lines}")
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.setattr(CLIENTS, "_loaded", False)
    yield
