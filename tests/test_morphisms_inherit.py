"""Inherited weights: the function is preserved where `preserved` is true, and it is true wherever an operator
promises it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_morphisms import (
    COLOURS,
    DIGITS,
    SERIES,
    SIGNAL,
    TABLE,
    built,
    difference,
    outputs,
    random_parent,
    seasoned,
)
from torch import nn

from sparsemod.errors import BuildError
from sparsemod.morphisms import Inheritance, inherit, morphs
from sparsemod.morphisms.inheritance.align import align
from sparsemod.morphisms.inheritance.convolution import Taps, factorize, resize_kernel
from sparsemod.morphisms.operators import CNN, CNN1D, CNN_RNN, MLP, MOBILE, RNN
from sparsemod.networks import create_family
from sparsemod.records import DataInfo, Value

pytestmark = pytest.mark.slow(every=6)

KINDS: list[tuple[str, dict[str, Value], DataInfo]] = [
    ("cnn", {"max_filters": 12, "max_dense_width": 50}, DIGITS),
    ("cnn", {"max_filters": 9, "max_dense_width": 50, "batch_norm": False}, COLOURS),
    ("cnn1d", {"max_filters": 12, "max_dense_width": 50}, SIGNAL),
    ("cnn1d", {"max_filters": 9, "max_dense_width": 50, "batch_norm": False, "causal": True}, SERIES),
    ("mobile", {"max_filters": 8, "max_dense_width": 50}, DIGITS),
    ("mobile", {"max_filters": 6, "max_dense_width": 50, "batch_norm": False}, COLOURS),
    ("mlp", {"max_width": 40}, TABLE),
    ("mlp", {"max_width": 40, "batch_norm": True}, DIGITS),
    ("rnn", {"max_layers": 3, "min_units": 2, "max_units": 20}, SERIES),
    ("cnn_rnn", {"max_filters": 9, "min_units": 2, "max_units": 12}, SIGNAL),
    ("cnn_rnn", {"max_filters": 9, "min_units": 2, "max_units": 12, "batch_norm": False}, SERIES),
]

OPERATORS = {"cnn": CNN, "cnn1d": CNN1D, "mlp": MLP, "mobile": MOBILE, "rnn": RNN, "cnn_rnn": CNN_RNN}

SMALL: dict[str, Value] = {
    "blocks": 1, "b1_layers": 2, "b1_l1_type": "conv", "b1_l1_filters": 4, "b1_l1_kernel": 3,
    "b1_l2_type": "separable", "b1_l2_filters": 6, "b1_l2_kernel": 2, "b1_pool": True,
    "head": "flatten", "dense": 1, "d1_width": 12, "dropout": 0.1,
}  # fmt: skip


def pass_on(
    kind: tuple[str, dict[str, Value], DataInfo],
    parent: dict[str, Value],
    module: nn.Module,
    child: dict[str, Value],
    seed: int = 5,
) -> tuple[Inheritance, float]:
    """Inherit, load strictly, and compare the outputs."""
    name, options, data = kind
    family = create_family(name, options)
    made = built(family, child, data, seed)
    fresh = {key: value.clone() for key, value in made.state_dict().items()}
    result = inherit(name, parent, module.state_dict(), child, made, data)
    assert all(torch.equal(made.state_dict()[key], fresh[key]) for key in fresh), (
        "the child itself is not changed"
    )
    made.load_state_dict(result.state_dict, strict=True)
    assert all(bool(torch.isfinite(value).all()) for value in result.state_dict.values())
    return result, difference(outputs(module, data), outputs(made, data))


@pytest.mark.parametrize(
    ("kind", "operator"),
    [(kind, op) for kind in KINDS for op in OPERATORS[kind[0]] if op.name != "change window"],
    ids=lambda value: getattr(value, "name", "") or f"{value[0]}-{value[2].name}",
)
def test_each_operator(kind: tuple[str, dict[str, Value], DataInfo], operator: Any) -> None:
    family = create_family(*kind[:2])
    space = family.space(kind[2])
    tried = 0
    for seed in range(40):
        parent, module = random_parent(family, space, kind[2], seed)
        step = operator.apply(space, parent, np.random.default_rng(seed))
        if step is None:
            continue
        try:
            result, off = pass_on(kind, parent, module, step[0])
        except BuildError:
            continue
        assert result.preserved or not operator.preserves, (step[1], result.notes)
        assert not result.preserved or off < 1e-5, (step[1], off, result.notes)
        assert result.preserved or result.notes
        tried += 1
        if tried == 6:
            return
    assert tried >= 6 or operator.name == "change"  # nothing but dropout to change here


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(KINDS))
def test_compositions_and_strangers(seed: int, kind: tuple[str, dict[str, Value], DataInfo]) -> None:
    family = create_family(*kind[:2])
    space = family.space(kind[2])
    parent, module = random_parent(family, space, kind[2], seed)
    rng = np.random.default_rng(seed)
    children = [m.parameters for m in morphs(family, space, parent, rng, 3)]
    for child in [*children, parent, random_parent(family, space, kind[2], seed + 1)[0]]:
        try:
            result, off = pass_on(kind, parent, module, child)
        except BuildError:
            continue
        assert not result.preserved or off < 1e-5, (parent, child, off, result.notes)
        assert child is not parent or (result.preserved and off == 0 and not result.notes)


def test_preserving_morphs_composed() -> None:
    kept = total = 0
    for seed in range(30):
        kind = KINDS[seed % len(KINDS)]
        family = create_family(*kind[:2])
        space = family.space(kind[2])
        parent, module = random_parent(family, space, kind[2], seed)
        for morph in morphs(family, space, parent, np.random.default_rng(seed), 6):
            if morph.preserving:
                result, off = pass_on(kind, parent, module, morph.parameters)
                assert not result.preserved or off < 1e-5
                kept, total = kept + result.preserved, total + 1
    assert kept >= 0.95 * total > 20


def test_batch_norm_layers_start_as_the_identity_in_training_too() -> None:
    """Statistics of the new norm match its input, so that training does not begin by shifting all values."""
    torch.manual_seed(0)
    family = create_family("cnn")
    parent = SMALL | {"b1_layers": 1, "b1_l1_filters": 8, "b1_pool": False}
    parent = family.space(DIGITS).complete(parent)
    module = built(family, parent, DIGITS, 0)
    samples = torch.randn(256, 1, 8, 8)
    module.train()
    for _ in range(200):
        module(samples)
    child = family.space(DIGITS).complete(parent | {"b1_layers": 2, "b1_l2_filters": 8, "b1_l2_type": "conv"})
    made = built(family, child, DIGITS, 1)
    made.load_state_dict(inherit("cnn", parent, module.state_dict(), child, made, DIGITS).state_dict)
    with torch.no_grad():
        first = made.get_submodule("features.b1_l1").train()(samples)
        second = made.get_submodule("features.b1_l2").train()(first)
    assert float((second - first).abs().mean()) < 0.15 * float(first.abs().mean())


def test_pruned_filters_are_dropped_for_nothing() -> None:
    kind = KINDS[0]
    family = create_family(*kind[:2])
    parent = SMALL | {"b1_l1_filters": 10}
    module = built(family, parent, DIGITS, 0)
    first = module.get_submodule("features.b1_l1")
    with torch.no_grad():
        for gone in (1, 4, 5):
            first.conv.weight[gone] = 0  # type: ignore[union-attr,index,operator]
            first.norm.bias[gone] = 0  # type: ignore[union-attr,index,operator]
    result, off = pass_on(kind, parent, module, parent | {"b1_l1_filters": 7})
    assert result.preserved and off < 1e-6
    assert result.notes == ("b1_l1 from b1_l1: 7 of 10 outputs kept, all that were not pruned",)
    result, _ = pass_on(kind, parent, module, parent | {"b1_l1_filters": 6})
    assert not result.preserved


def test_a_physically_smaller_parent() -> None:
    """Weights of a network whose filters were removed, under the parameters it was built from."""
    kind = KINDS[0]
    family = create_family(*kind[:2])
    module = built(family, SMALL, DIGITS, 0)
    smaller = built(family, SMALL | {"b1_l1_filters": 3, "b1_l2_filters": 4, "d1_width": 11}, DIGITS, 1)
    made = built(family, SMALL, DIGITS, 2)
    result = inherit("cnn", SMALL, smaller.state_dict(), SMALL, made, DIGITS)
    made.load_state_dict(result.state_dict)
    assert result.preserved and difference(outputs(smaller, DIGITS), outputs(made, DIGITS)) < 1e-5
    assert difference(outputs(module, DIGITS), outputs(made, DIGITS)) > 1e-3


def test_foreign_weights_fall_back_and_say_so() -> None:
    family = create_family("cnn")
    made = built(family, SMALL, DIGITS, 0)
    state = {
        ("features.b1_l1.other.weight" if n == "features.b1_l1.conv.weight" else n): t
        for n, t in made.state_dict().items()
    }
    result = inherit("cnn", SMALL, state, SMALL, made, DIGITS)
    assert not result.preserved
    assert (
        "the parent's weights are not those of its parameters (no features.b1_l1.conv.weight)"
        in result.notes[1]
    )


def test_a_users_family_inherits_tensors_that_fit() -> None:
    parent, child = (
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
    )
    fresh = {name: tensor.clone() for name, tensor in child.state_dict().items()}
    result = inherit("mine", {"w": 3}, parent.state_dict(), {"w": 5}, child, TABLE)
    child.load_state_dict(result.state_dict, strict=True)
    assert torch.equal(child[0].weight[:3], parent[0].weight) and torch.equal(
        child[0].weight[3:], fresh["0.weight"][3:]
    )
    assert torch.equal(child[2].bias, parent[2].bias)
    assert not result.preserved and result.notes[0] == "1 of 4 tensors copied unchanged"
    assert "0.weight: (3, 4) -> (5, 4), the common corner copied" in result.notes


@given(old=st.integers(1, 7), new=st.integers(1, 7))
def test_resized_kernels_keep_the_pixels_own_tap(old: int, new: int) -> None:
    kernel = torch.zeros(old, old)
    kernel[(old - 1) // 2, (old - 1) // 2] = 1
    result = resize_kernel(kernel, Taps(old), Taps(new))
    assert result.shape == (new, new) and result[(new - 1) // 2, (new - 1) // 2] == 1 and result.sum() == 1


@given(
    old=st.builds(Taps, st.integers(1, 7), st.sampled_from([1, 2, 4]), st.just(False)),
    new=st.builds(Taps, st.integers(1, 7), st.sampled_from([1, 2, 4]), st.just(False)),
    causal=st.booleans(),
)
def test_kernels_over_time_keep_the_steps_that_both_read(old: Taps, new: Taps, causal: bool) -> None:
    old, new = replace(old, causal=causal), replace(new, causal=causal)
    kernel = torch.arange(1.0, old.kernel + 1).reshape(1, 1, 1, old.kernel)
    result = resize_kernel(kernel, old, new, flat=True)
    assert result.shape == (1, 1, 1, new.kernel)
    read = dict(zip(old.offsets, kernel.flatten().tolist(), strict=True))
    assert result.flatten().tolist() == [read.get(offset, 0.0) for offset in new.offsets]
    assert old.within(new) == (int((result > 0).sum()) == old.kernel)


@pytest.mark.parametrize("head", ["average", "flatten"])
@pytest.mark.parametrize("steps", [8, 13, 20])
def test_windows_of_another_length_keep_the_weights_of_their_steps(head: str, steps: int) -> None:
    parent: dict[str, Value] = {
        "blocks": 1, "b1_layers": 1, "b1_l1_type": "conv", "b1_l1_filters": 4, "b1_l1_kernel": 3,
        "b1_l1_dilation": 2, "b1_pool": True, "head": head, "dense": 0, "dropout": 0.0,
    }  # fmt: skip
    family = create_family("cnn1d", {"causal": True})
    module = seasoned(built(family, parent, SIGNAL, 0), 0)
    other = SIGNAL.model_copy(update={"shape": (3, steps)})
    child = built(family, parent, other, 1)
    result = inherit(family, parent, module.state_dict(), parent, child, other)
    child.load_state_dict(result.state_dict, strict=True)
    assert result.preserved == (head == "average" or steps == 13)
    before, after = module.state_dict(), child.state_dict()
    name = "head.classifier.weight"
    if head == "flatten":  # steps that only one of them reads have no weight in the child
        common = min(steps // 2, 6)
        found = after[name].reshape(4, 4, steps // 2)
        assert torch.equal(found[..., :common], before[name].reshape(4, 4, 6)[..., :common])
        assert not found[..., common:].any()
        del before[name]
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_factorizing_a_separable_kernel_loses_nothing() -> None:
    depthwise, pointwise = torch.randn(3, 1, 3, 3), torch.randn(5, 3, 1, 1)
    d, p, lost = factorize(pointwise * depthwise.transpose(0, 1))
    torch.testing.assert_close(
        p * d.transpose(0, 1), pointwise * depthwise.transpose(0, 1), atol=1e-5, rtol=1e-4
    )
    assert lost < 1e-5
    assert 0 < factorize(torch.randn(5, 3, 3, 3))[2] < 1


def test_alignment_prefers_matches_and_finds_insertions() -> None:
    def pairs(old: str, new: str) -> list[tuple[int | None, int | None]]:
        return align(
            len(old),
            len(new),
            lambda i, j: 0.0 if old[i] == new[j] else 0.9,
            lambda i, j: 1.0,
            lambda i, j: 1.0,
        )

    assert pairs("aa", "aaa") == [(0, 0), (1, 1), (None, 2)]
    assert pairs("ab", "axb") == [(0, 0), (None, 1), (1, 2)]
    assert pairs("abc", "ac") == [(0, 0), (1, None), (2, 1)]
    assert pairs("", "") == []
