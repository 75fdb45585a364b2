"""The search space: validity, encodings, moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemod.errors import InvalidCandidate, InvalidInput
from sparsemod.space.space import Categorical, Condition, Constraint, Fixed, Integer, Real, Space


def conditional_space(limit: float = 1e9) -> Space:
    """Every kind of parameter, one nested condition, one constraint."""
    return Space(
        [
            Integer("blocks", 1, 3),
            Integer("filters_1", 1, 100, log=True),
            Integer("filters_2", 1, 100, when=(Condition(parameter="blocks", values=(2, 3)),)),
            Categorical("kind", ("conv", "separable", "down")),
            Real("multiplier", 0.1, 2.0, when=(Condition(parameter="kind", values=("separable",)),)),
            Categorical("pool", (False, True)),
            Categorical("width", (8, 16, 32), ordered=True),
            Real("learning_rate", 1e-4, 1e-1, log=True),
            Fixed("version", 3),
        ],
        [Constraint(coefficients={"filters_1": 1, "filters_2": 1}, bound=limit)],
    )


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.sampled_from([60.0, 1e9]))
def test_samples_and_moves_are_valid(seed, limit):
    space, rng = conditional_space(limit), np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    assert space.validate(a) == a
    moved = space.mutate(a, rng)
    assert space.validate(moved) == moved
    assert moved != a
    child = space.crossover(a, b, rng)
    assert set(space.active(child)) == set(child)
    before = dict(a)
    space.mutate(a, rng)
    assert a == before


@given(seeds)
def test_unit_cube_round_trip(seed):
    space, rng = conditional_space(), np.random.default_rng(seed)
    values = space.sample(rng)
    back = space.decode(space.unit(values))
    assert back.keys() == values.keys()
    for name, value in values.items():
        assert back[name] == (pytest.approx(value) if isinstance(value, float) else value)
    assert space.key(dict(reversed(values.items()))) == space.key(values)


@given(seeds)
def test_encoding_is_bounded_and_tells_candidates_apart(seed):
    space, rng = conditional_space(), np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    for row in (space.encode(a), space.encode(b)):
        assert row.shape == (len(space.features),)
        assert np.all((row >= 0) & (row <= 1))
    assert (space.key(a) == space.key(b)) == bool(np.array_equal(space.encode(a), space.encode(b)))


def test_integers_are_drawn_evenly():
    space = Space([Integer("n", 1, 4)])
    drawn = [space.decode(np.array([u]))["n"] for u in (np.arange(400) + 0.5) / 400]
    assert [drawn.count(n) for n in (1, 2, 3, 4)] == [100] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters_1": 0}, "parameters.filters_1 = 0: a whole number from 1 to 100"),
        ({"filters_1": True}, "parameters.filters_1 = True: a whole number"),
        ({"kind": "dense"}, "parameters.kind = 'dense': one of 'conv', 'separable', 'down'"),
        ({"blocks": 1}, "parameters.filters_2 = 7: only given when blocks in [2, 3]"),
        ({"learning_rate": 1.0}, "parameters.learning_rate = 1.0: a number from 0.0001 to 0.1"),
        ({"learning_rate": float("nan")}, "parameters.learning_rate = nan: a number"),
        ({"pool": 1}, "parameters.pool = 1: one of False, True"),
        ({"version": 4}, "parameters.version = 4: only 3"),
        ({"colour": 1}, "parameters.colour = 1: a parameter of the space: blocks"),
    ],
)
def test_invalid_candidates_name_the_parameter(change, message):
    good = {
        "blocks": 2, "filters_1": 5, "filters_2": 7, "kind": "conv", "pool": False, "width": 8, "learning_rate": 0.01, "version": 3,
    }  # fmt: skip
    space = conditional_space()
    assert space.validate(good)
    with pytest.raises(InvalidCandidate) as caught:
        space.validate({**good, **change})
    assert message in str(caught.value)


def test_missing_parameter_and_broken_constraint():
    space = Space(
        [Integer("a", 1, 9), Integer("b", 1, 9)], [Constraint(coefficients={"a": 1, "b": 2}, bound=10)]
    )
    with pytest.raises(
        InvalidCandidate, match=r"parameters.b = None: is missing; a whole number from 1 to 9"
    ):
        space.validate({"a": 1})
    with pytest.raises(InvalidCandidate, match=r"must meet a \+ 2 b <= 10"):
        space.validate({"a": 9, "b": 1})
    impossible = Space([Integer("a", 5, 9)], [Constraint(coefficients={"a": 1}, bound=2)])
    with pytest.raises(InvalidInput, match="met by none of 10"):
        impossible.sample(np.random.default_rng(0), tries=10)


def test_space_refuses_bad_definitions():
    with pytest.raises(InvalidInput, match="each parameter once"):
        Space([Integer("a", 1, 2), Real("a", 1, 2)])
    with pytest.raises(InvalidInput, match="a parameter listed before it: none"):
        Space([Integer("a", 1, 2, when=(Condition(parameter="b", values=(1,)),)), Integer("b", 1, 2)])
    with pytest.raises(InvalidInput, match="a numeric parameter"):
        Space([Categorical("a", ("x",))], [Constraint(coefficients={"a": 1}, bound=1)])
    with pytest.raises(InvalidInput, match="log needs low > 0"):
        Integer("a", 0, 5, log=True)
    with pytest.raises(InvalidInput, match="low <= high"):
        Real("a", 2, 1)


def test_complete_and_override():
    space = conditional_space()
    completed = space.complete({"blocks": 2, "filters_1": 1000, "filters_2": 3, "multiplier": 1.0})
    assert space.validate(completed)
    assert completed["filters_1"] == 100
    assert "multiplier" not in completed
    narrow = space.override(
        {"filters_2": Fixed(name="filters_2", value=4), "sparsity": Real("sparsity", 0, 0.9)}
    )
    assert narrow.parameter("filters_2").when == space.parameter("filters_2").when
    assert narrow.names[-1] == "sparsity"


def test_a_space_with_nothing_to_move_returns_a_copy():
    space = Space([Fixed("a", 1)])
    values = {"a": 1}
    assert space.mutate(values, np.random.default_rng(0)) == values
    assert space.mutate(values, np.random.default_rng(0)) is not values


def test_a_space_of_very_many_whole_numbers_is_large():
    space = Space([Integer(f"filters_{place}", 1, 100) for place in range(27)])
    assert space.cardinality == pytest.approx(1e54)
    assert Space([]).cardinality == 1
