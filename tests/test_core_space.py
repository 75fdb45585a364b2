"""The search space: validity, encodings, moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemod.errors import InvalidCandidate, InvalidInput
from sparsemod.search.pool import every
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
            Integer("units", 4, 64, step=4),
            Integer("taps", 8, 64, log=True, step=8),
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
        ({"blocks": 1}, "parameters.filters_2 = 7: allowed only when blocks in [2, 3]"),
        ({"learning_rate": 1.0}, "parameters.learning_rate = 1.0: a number from 0.0001 to 0.1"),
        ({"learning_rate": float("nan")}, "parameters.learning_rate = nan: a number"),
        ({"units": 6}, "parameters.units = 6: a whole number from 4 to 64 in steps of 4"),
        ({"pool": 1}, "parameters.pool = 1: one of False, True"),
        ({"version": 4}, "parameters.version = 4: only 3"),
        ({"colour": 1}, "parameters.colour = 1: a parameter of the space: blocks"),
    ],
)
def test_invalid_candidates_name_the_parameter(change, message):
    good = {
        "blocks": 2, "filters_1": 5, "filters_2": 7, "kind": "conv", "pool": False, "width": 8, "units": 12, "taps": 16, "learning_rate": 0.01, "version": 3,
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
    with pytest.raises(InvalidInput, match=r"space.a.when = 'b': another parameter of the space: c"):
        Space([Integer("a", 1, 2, when=(Condition(parameter="b", values=(1,)),)), Integer("c", 1, 2)])
    for unfit in (Categorical("a", ("x",)), Categorical("a", (1, 2)), Fixed("a", "x"), Fixed("a", True)):
        with pytest.raises(InvalidInput, match=r"a number, or a list of numbers with `ordered: true`: b$"):
            Space([unfit, Integer("b", 1, 2)], [Constraint(coefficients={"a": 1}, bound=1)])
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


def test_whole_numbers_with_a_step():
    units = Integer("units", 4, 64, step=4)
    multiples = list(range(4, 65, 4))
    assert units.cardinality == 16
    assert [n for n in range(-10, 80) if units.holds(n)] == multiples
    assert [units.clip(n) for n in (-5, 5, 6.1, 63, 1e300)] == [4, 4, 8, 64, 64]
    drawn = [units.from_unit((place + 0.5) / 1600) for place in range(1600)]
    assert [drawn.count(n) for n in multiples] == [100] * 16
    taps = Integer("taps", 8, 64, log=True, step=8)
    assert [taps.from_unit(taps.unit(n)) for n in range(8, 65, 8)] == list(range(8, 65, 8))
    assert taps.unit(16) - taps.unit(8) == pytest.approx(taps.unit(32) - taps.unit(16), rel=0.25)
    assert [values["units"] for values in every(Space([units]))] == multiples


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (7, "units.high = 64: 4 + a whole number of steps of 7: 60 or 67"),
        (0, "units.step = 0: should be greater than or equal to 1"),
    ],
)
def test_a_step_leads_from_low_to_high(step, message):
    with pytest.raises(InvalidInput) as caught:
        Integer("units", 4, 64, step=step)
    assert message in str(caught.value)


@given(seeds)
def test_moves_of_stepped_numbers_stay_on_their_steps(seed):
    space, rng = (
        Space([Integer("units", 3, 31, step=7), Integer("taps", 8, 64, log=True, step=8)]),
        np.random.default_rng(seed),
    )
    values = space.sample(rng)
    for _ in range(10):
        moved = space.mutate(values, rng, strength=0.01)
        assert space.validate(moved) == moved != values
        values = moved


def test_a_constraint_on_an_ordered_list_of_numbers():
    space = Space(
        [Categorical("width", (8, 16, 32), ordered=True), Integer("units", 4, 64, step=4)],
        [Constraint(coefficients={"width": 1, "units": 1}, bound=24)],
    )
    found = {(values["width"], values["units"]) for values in every(space)}
    assert found == {(w, u) for w in (8, 16, 32) for u in range(4, 65, 4) if w + u <= 24}
    with pytest.raises(InvalidCandidate, match="must meet width"):
        space.validate({"width": 32, "units": 4})


def test_a_condition_may_precede_its_parameter():
    first = Integer("a", 1, 2, when=(Condition(parameter="b", values=(1,)),))
    space = Space(
        [first, Integer("c", 1, 2), Integer("b", 1, 2, when=(Condition(parameter="c", values=(2,)),))]
    )
    assert space.names == ("c", "b", "a")
    assert space.validate({"a": 2, "b": 1, "c": 2}) == {"c": 2, "b": 1, "a": 2}
    assert space.complete({"c": 1}) == {"c": 1}
    third = Integer("c", 1, 2, when=(Condition(parameter="a", values=(1,)),))
    with pytest.raises(InvalidInput, match=r"space.a.when = 'b': no cycle: a -> b -> c -> a"):
        Space([first, Integer("b", 1, 2, when=(Condition(parameter="c", values=(2,)),)), third])
    with pytest.raises(InvalidInput, match="no cycle: a -> a"):
        Space([Integer("a", 1, 2, when=(Condition(parameter="a", values=(1,)),))])


def test_parameters_with_one_value_are_filled_in():
    in_two = (Condition(parameter="blocks", values=(2,)),)
    space = Space(
        [
            Fixed("bits", 8),
            Integer("blocks", 1, 2),
            Categorical("pool", ("max",), when=in_two),
            Integer("n", 3, 3),
        ]
    )
    assert space.validate(space.fill({"blocks": 1})) == {"bits": 8, "blocks": 1, "n": 3}
    assert space.fill({"blocks": 2, "n": 4}) == {"blocks": 2, "n": 4, "bits": 8, "pool": "max"}
    assert space.fill({}) == {"bits": 8, "n": 3}
    assert space.key({"blocks": 2}) == space.key(space.fill({"blocks": 2}))
