"""What holds for every registered family; a new one is tested by being registered."""

import numpy as np
import pytest
import torch
from support_morphisms import COLOURS, DIGITS, SERIES, SIGNAL, built, random_parent

from sparsemod.errors import BuildError
from sparsemod.graph import capture, deployed
from sparsemod.morphisms import inherit, morphs
from sparsemod.networks import FAMILIES, create_family
from sparsemod.records import DataInfo

NAMES = [name for name in FAMILIES.names() if FAMILIES.get(name).origin.__module__.startswith("sparsemod.")]
COMPLETE = [
    name
    for name in NAMES
    if getattr(FAMILIES.get(name).origin, "task", "classification") == "classification"
    and all(p.default is not p.empty for p in FAMILIES.get(name).__signature__.parameters.values())
]
"""The families of classifiers that need no option: one that needs a file, or another task, has tests of its own."""


def _readable(name: str, data: DataInfo) -> bool:
    layouts = FAMILIES.get(name).layouts
    return data.layout in layouts if layouts else data in (DIGITS, COLOURS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (name, data)
        for name in COMPLETE
        for data in (DIGITS, COLOURS, SERIES, SIGNAL)
        if _readable(name, data)
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_conformance(name: str, data: DataInfo) -> None:
    family = create_family(name)
    space = family.space(data)
    assert space.names == family.space(data).names
    for seed in range(4):
        parameters, module = random_parent(family, space, data, seed)
        assert module(torch.zeros(3, *data.shape)).shape == (3, data.classes)
        same = built(family, parameters, data, 9).state_dict()
        again = built(family, parameters, data, 9).state_dict()
        assert all(torch.equal(same[key], again[key]) for key in same)
        graph = capture(module, data.shape, data.layout)
        assert graph.shapes[graph.output] == (data.classes,)
        kinds = {operator.kind for operator in deployed(graph).operators}
        images = {"add", "conv", "linear", "relu", "max_pool", "global_avg_pool", "flatten"}
        assert kinds <= images | {"gru", "lstm", "concat", "transpose", "mean_steps", "multiply", "table"}
        for morph in morphs(family, space, parameters, np.random.default_rng(seed), 2):
            try:
                child = built(family, morph.parameters, data, seed)
            except BuildError:
                continue
            state = inherit(family, parameters, module.state_dict(), morph.parameters, child, data).state_dict
            child.load_state_dict(state, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_documented(name: str) -> None:
    factory = FAMILIES.get(name)
    assert factory.__doc__
    for option in factory.__signature__.parameters:
        assert f"`{option}`" in factory.__doc__, f"option {option} of {name} is not documented"
