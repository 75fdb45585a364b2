"""Morphs are distinct, valid in any space, and leave their parent alone."""

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_morphisms import DIGITS, SERIES, TABLE

from sparsemod.errors import InvalidCandidate, InvalidInput
from sparsemod.morphisms import MORPHISMS, Inheritance, Morphism, MorphismSet, inherit, morphs
from sparsemod.morphisms.genes import CnnGenes
from sparsemod.morphisms.operators import CNN, CNN1D, CNN_RNN, MLP, MOBILE, RNN
from sparsemod.morphisms.steps import change
from sparsemod.networks import create_family
from sparsemod.records import DataInfo
from sparsemod.space.parameters import is_numeric
from sparsemod.space.space import Categorical, Constraint, Fixed, Integer, Parameter, Real, Space

WINDOWS: dict[str, Parameter] = {"max_len": Integer("max_len", 5, 9)}

SPACES = {
    "cnn": create_family("cnn").space(DIGITS),
    "cnn1d": create_family("cnn1d").space(SERIES).override(WINDOWS),
    "mobile": create_family("mobile").space(DIGITS),
    "mlp": create_family("mlp").space(TABLE).override(WINDOWS),
    "rnn": create_family("rnn").space(SERIES).override(WINDOWS),
    "cnn_rnn": create_family("cnn_rnn").space(SERIES).override(WINDOWS),
}
OPERATORS = {"cnn": CNN, "cnn1d": CNN1D, "mlp": MLP, "mobile": MOBILE, "rnn": RNN, "cnn_rnn": CNN_RNN}
FIRST = {
    "cnn": "b1_l1_filters",
    "cnn1d": "b1_l1_filters",
    "mlp": "l1_width",
    "mobile": "b1_filters",
    "rnn": "units",
    "cnn_rnn": "c1_filters",
}


def narrowed(parameter: Parameter, draw: Any) -> Parameter:
    """Draw the parameter with fewer values, in one of the forms that a spec allows."""
    kind = draw(st.sampled_from(["fixed", "values", "bounds"]))
    if isinstance(parameter, Categorical):
        values = draw(st.lists(st.sampled_from(parameter.values), min_size=1, unique=True))
        return (
            Fixed(parameter.name, values[0])
            if kind == "fixed"
            else Categorical(parameter.name, tuple(values))
        )
    if isinstance(parameter, Integer):
        low, high = sorted(draw(st.tuples(*[st.integers(parameter.low, parameter.high)] * 2)))
        if kind == "bounds" and high > low and draw(st.booleans()):
            step = draw(st.integers(1, high - low))
            return Integer(parameter.name, low, high - (high - low) % step, step=step)
        if kind == "values":
            return Categorical(parameter.name, tuple(sorted({low, (low + high) // 2, high})), ordered=True)
        return Fixed(parameter.name, low) if kind == "fixed" else Integer(parameter.name, low, high)
    return Fixed(parameter.name, 0.25) if kind == "fixed" else Real(parameter.name, 0.1, 0.3)


@st.composite
def spaces(draw: Any, family: str) -> Space:
    """The family's space with random overrides, pipeline parameters and constraints."""
    space = SPACES[family]
    chosen = draw(st.lists(st.sampled_from(space.names), unique=True, max_size=8))
    changes: dict[str, Parameter] = {name: narrowed(space.parameter(name), draw) for name in chosen}
    if draw(st.booleans()):
        changes["learning_rate"] = Real("learning_rate", 1e-4, 1e-1, log=True)
    made = space.override(changes)
    constraints = []
    first = FIRST[family]
    if draw(st.booleans()) and is_numeric(made.parameter(first)):
        bound = float(made.parameter(first).default)
        constraints.append(Constraint(coefficients={first: 1.0}, bound=bound))
    return Space(made.parameters, constraints)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31), family=st.sampled_from(list(SPACES)))
def test_closed_distinct_and_without_aliases(data: st.DataObject, seed: int, family: str) -> None:
    space = data.draw(spaces(family))
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    before = dict(parent)
    found = morphs(family, space, parent, rng, 12)
    assert parent == before
    assert len({space.key(m.parameters) for m in found} | {space.key(parent)}) == len(found) + 1
    for morph in found:
        assert morph.parameters == space.validate(morph.parameters)
        assert 1 <= len(morph.operators) <= 3
        assert morph.parameters is not parent
    assert len({id(m.parameters) for m in found}) == len(found)


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    seed=st.integers(0, 2**31),
    case=st.sampled_from([(family, operator) for family in OPERATORS for operator in OPERATORS[family]]),
)
def test_each_operator_is_closed(data: st.DataObject, seed: int, case: tuple[str, Any]) -> None:
    family, operator = case
    space = data.draw(spaces(family))
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    step = operator.apply(space, parent, rng)
    if step is not None:
        values, what = step
        assert values == space.validate(values) != parent
        assert what.startswith(operator.name + " ") and len(what) < 100


@pytest.mark.parametrize("family", list(SPACES))
def test_every_operator_is_used(family: str) -> None:
    space = SPACES[family].override({"learning_rate": Real("learning_rate", 1e-4, 1e-1, log=True)})
    rng = np.random.default_rng(1)
    names: Counter[str] = Counter()
    for _ in range(25):
        for morph in morphs(family, space, space.sample(rng), rng, 20):
            names.update(name.rsplit(" ", 1)[0] for name in morph.operators if name)
    text = " ".join(names)
    for operator in OPERATORS[family]:
        assert operator.name in text
    assert "change learning_rate" in text and "change dropout" in text


def test_twenty_children_of_one_parent_are_twenty() -> None:
    space = SPACES["cnn"]
    parent = space.sample(np.random.default_rng(0))
    assert len(morphs("cnn", space, parent, np.random.default_rng(0), 20)) == 20
    again = [morphs("cnn", space, parent, np.random.default_rng(3), 5) for _ in range(2)]
    assert again[0] == again[1]


def test_small_spaces_give_all_their_morphs() -> None:
    space = Space([Integer("width", 1, 3), Fixed("kind", "a")])
    found = morphs("unheard-of", space, {"width": 2, "kind": "a"}, np.random.default_rng(0), 10)
    assert sorted(str(m.parameters["width"]) for m in found) == ["1", "3"]
    assert {m.operators for m in found} <= {("change width 2->1",), ("change width 2->3",)} or len(found) == 2
    assert not morphs("unheard-of", Space([Fixed("kind", "a")]), {"kind": "a"}, np.random.default_rng(0), 10)


def test_a_family_may_bring_its_own_operators() -> None:
    class Double(Morphism):
        """Twice as wide."""

        name = "double"
        preserves = True

        def candidates(self, space: Any, parameters: Any, rng: Any) -> Any:
            yield {**parameters, "width": 2 * parameters["width"]}, "width"

    MORPHISMS.add(
        "test-doubling", MorphismSet([Double()], lambda *arguments: Inheritance({}, True, ("told",)))
    )
    space = Space([Integer("width", 1, 8)])
    found = morphs("test-doubling", space, {"width": 2}, np.random.default_rng(0), 9)
    assert {m.parameters["width"]: m.operators[0] for m in found} == {4: "double width", 8: "double width"}
    assert all(m.preserving for m in found)
    assert inherit("test-doubling", {}, {}, {}, None, TABLE).notes == ("told",)  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    space = SPACES["mlp"]
    with pytest.raises(InvalidCandidate, match=r"parameters\.layers"):
        morphs("mlp", space, {"layers": 99}, np.random.default_rng(0), 3)
    with pytest.raises(InvalidInput, match="n = -1"):
        morphs("mlp", space, space.sample(np.random.default_rng(0)), np.random.default_rng(0), -1)


@pytest.mark.parametrize("family", ["cnn", "cnn1d"])
def test_genes_survive_a_round_trip(family: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        parameters = SPACES[family].sample(rng)
        assert CnnGenes(parameters).parameters() == parameters


def test_proposing_morphs_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from sparsemod.morphisms import morphs; from sparsemod.networks import create_family\n"
        "from sparsemod.records import DataInfo\n"
        "s = create_family('cnn').space(DataInfo(name='d', shape=(1, 8, 8), classes=10)); r = np.random.default_rng(0)\n"
        "assert len(morphs('cnn', s, s.sample(r), r, 8)) == 8 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mlp_morphs_work_on_data_without_images() -> None:
    space = create_family("mlp").space(DataInfo(name="t", shape=(7,), classes=2))
    rng = np.random.default_rng(0)
    assert len(morphs("mlp", space, space.sample(rng), rng, 5)) == 5


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0.5, 0.50001, "0.5->0.50001"),
        (0.4999, 0.5, "0.4999->0.5"),
        (0.25, 0.5, "0.25->0.5"),
        (0.1, np.nextafter(0.1, 1.0), "0.1->0.10000000000000002"),
        (1e-3, 1.0004e-3, "0.001->0.0010004"),
        (8, 12, "8->12"),
        ("conv", "down", "conv->down"),
    ],
)
def test_a_change_shows_two_different_values(before: Any, after: Any, words: str) -> None:
    assert change(before, after if not isinstance(after, np.floating) else float(after)) == words


def test_no_morph_changes_a_value_into_itself() -> None:
    space = Space([Real("dropout", 0.4995, 0.5005), Real("rate", 1e-3, 1.001e-3, log=True)])
    rng = np.random.default_rng(0)
    found = [
        name
        for _ in range(20)
        for m in morphs("none", space, space.sample(rng), rng, 10)
        for name in m.operators
    ]
    assert len(found) > 100
    for name in found:
        before, _, after = name.rpartition(" ")[2].partition("->")
        assert before != after
