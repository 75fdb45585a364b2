"""Datasets match their declared facts."""

import subprocess
import sys

import pytest

from sparsemod.data import declared, load
from sparsemod.errors import UnknownName
from sparsemod.spec.parts import DatasetSpec


def test_declared_info_equals_the_loaded_one():
    assert declared("digits") == load(DatasetSpec(name="digits")).info


@pytest.mark.parametrize(
    ("name", "known"),
    [("mnist", True), ("cifar10", True), ("cifar10-binary", True), ("cifar100", True), ("npz", False)],
)
def test_fixed_datasets_declare_themselves(name, known):
    assert (declared(name) is not None) == known


def test_unknown_name():
    with pytest.raises(UnknownName, match=r"dataset\.name = 'colours': known: cifar10"):
        declared("colours")


def test_asking_loads_no_torch():
    code = "import sys; from sparsemod.data import declared; declared('mnist'); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
