"""The family `mobile`: its networks, extreme candidates, int8 and C, pruning, inheritance after pruning."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_morphisms import COLOURS, DIGITS, built, difference, outputs, random_parent, seasoned
from support_programs import needs_compiler
from support_pruning import started
from torch import nn

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.export.c.host import FLAGS, host_run_all
from sparsemod.graph import capture, deployed
from sparsemod.measure.predicted import predict
from sparsemod.morphisms import inherit, morphs
from sparsemod.morphisms.mobile_genes import MobileGenes
from sparsemod.networks import create_family
from sparsemod.networks.mobile_plan import plan
from sparsemod.pruning import shrink
from sparsemod.pruning.channels import channels_of
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.records import DataInfo, Value
from sparsemod.targets import operator_model

TINY = [
    DataInfo(name="dot", shape=(1, 1, 1), classes=2),
    DataInfo(name="row", shape=(1, 1, 5), classes=3),
    DataInfo(name="two", shape=(2, 2, 2), classes=2),
    DataInfo(name="strip", shape=(3, 7, 2), classes=4),
]
HEAD: dict[str, Value] = {"head": "average", "dense": 0, "dropout": 0.0}


def inverted(filters: int, **others: Value) -> dict[str, Value]:
    values: dict[str, Value] = {
        "type": "inverted", "filters": filters, "kernel": 3, "expansion": 2, "down": "none", "squeeze": False,
    }  # fmt: skip
    return values | others


def conv(filters: int, *kernels: int, **others: Value) -> dict[str, Value]:
    values: dict[str, Value] = {
        "type": "conv", "filters": filters, "branches": len(kernels), "down": "none", "squeeze": False,
    }  # fmt: skip
    values |= {"join": "add"} if len(kernels) > 1 else {}
    return values | {f"p{p}_kernel": kernel for p, kernel in enumerate(kernels, 1)} | others


def separable(filters: int, **others: Value) -> dict[str, Value]:
    values: dict[str, Value] = {
        "type": "separable",
        "filters": filters,
        "kernel": 3,
        "down": "none",
        "squeeze": False,
    }
    return values | others


def candidate(*blocks: dict[str, Value], **others: Value) -> dict[str, Value]:
    values: dict[str, Value] = {"stem": False, "blocks": len(blocks)} | HEAD | others
    for b, block in enumerate(blocks, 1):
        values |= {f"b{b}_{part}": value for part, value in block.items()}
    return values


def network(parameters: dict[str, Value], data: DataInfo = DIGITS, **options: Any) -> nn.Module:
    family = create_family("mobile", {"max_blocks": 5, **options})
    family.space(data).validate(parameters)
    return seasoned(built(family, parameters, data, 0), 0).eval()


def test_structure_by_hand() -> None:
    parameters = candidate(
        conv(4, 3, 1, join="concat"),
        inverted(8, squeeze=True, ratio=4),
        separable(5, down="pool"),
        stem=True, stem_filters=3, stem_kernel=3, stem_down="stride",
    )  # fmt: skip
    module = network(parameters)
    expected = {
        "stem": 9 * 3 + 6,
        "b1": 4 * 3 * 9 + 4 * 3 + 16,
        # expansion to 16, depthwise, 4 squeezed units, projection to 8
        "b2": 8 * 16 + 32 + 9 * 16 + 32 + (16 * 4 + 4) + (4 * 16 + 16) + 16 * 8 + 16,
        "b3": 9 * 8 + 16 + 8 * 5 + 10,
    }
    for name, count in expected.items():
        assert sum(p.numel() for p in module.get_submodule(f"features.{name}").parameters()) == count, name
    planned = plan(parameters, DIGITS)
    assert [block.size for block in planned.blocks] == [(4, 4), (4, 4), (4, 4), (2, 2)]
    assert [block.residual for block in planned.blocks] == [False, False, True, False]
    assert planned.features == 5


def test_a_shortcut_needs_equal_shapes_and_a_block_before() -> None:
    blocks = inverted(1), inverted(1), inverted(1, down="pool"), inverted(1, down="stride"), inverted(2)
    planned = plan(candidate(*blocks), DIGITS)
    assert [block.residual for block in planned.blocks] == [False, True, True, False, False]
    assert (
        plan(candidate(inverted(4), stem=True, stem_filters=4, stem_kernel=3, stem_down="none"), DIGITS)
        .blocks[1]
        .residual
    )


def test_gates_are_one_for_weights_of_zero_and_at_most_two() -> None:
    gate = network(candidate(conv(6, 3, squeeze=True, ratio=2))).get_submodule("features.b1.gate")
    x = torch.rand(2, 6, 5, 5)
    with torch.no_grad():
        gate.excite.bias.fill_(9.0)  # type: ignore[union-attr,operator]
        gate.excite.weight.zero_()  # type: ignore[union-attr,operator]
        assert torch.equal(gate(x), 2 * x)
        gate.excite.bias.zero_()  # type: ignore[union-attr,operator]
        assert torch.equal(gate(x), x)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    data=st.sampled_from([DIGITS, COLOURS, *TINY]),
    most=st.sampled_from([1, 2, 20]),
)
def test_every_candidate_runs_or_names_the_block_that_is_too_deep(
    seed: int, data: DataInfo, most: int
) -> None:
    family = create_family(
        "mobile", {"max_filters": most, "max_blocks": 5, "max_dense_width": 9, "max_kernel": 7}
    )
    parameters = family.space(data).sample(np.random.default_rng(seed))
    try:
        module = family.build(parameters, data).eval()
    except BuildError as error:
        assert error.layer in parameters and parameters[error.layer] in ("stride", "pool")
        assert f"images of {data.shape[1]} x {data.shape[2]}" in str(error)
        return
    planned = plan(parameters, data)
    assert module(torch.zeros(2, *data.shape)).shape == (2, data.classes)
    last = planned.blocks[-1]
    assert module.get_submodule("features")(torch.zeros(1, *data.shape)).shape == (
        1,
        last.outputs,
        *last.size,
    )
    for block, module_of in zip(planned.blocks, module.get_submodule("features"), strict=True):  # type: ignore[call-overload]
        assert getattr(module_of, "residual", False) == block.residual
        assert isinstance(module_of.gate, nn.Identity) == (block.squeezed == 0)


@pytest.mark.parametrize(
    ("down", "shape", "message"),
    [
        ("stride", (1, 1, 1), r"b2_down: block 2: a feature map of 1 x 1 is too small for stride 2; .* images of 1 x 1 \(dot\)"),
        ("pool", (1, 1, 5), r"b2_down: block 2: a feature map of 1 x 5 is too small to be halved by pooling"),
    ],
)  # fmt: skip
def test_too_deep_names_block_and_sizes(down: str, shape: tuple[int, ...], message: str) -> None:
    data = DataInfo(name="dot", shape=shape, classes=2)
    with pytest.raises(BuildError, match=message):
        create_family("mobile").build(candidate(separable(1), separable(1, down=down)), data)


def test_a_stride_on_one_row_halves_the_columns() -> None:
    data = DataInfo(name="row", shape=(1, 1, 5), classes=2)
    module = network(candidate(conv(1, 5, down="stride"), inverted(1, down="stride")), data)
    assert module.get_submodule("features")(torch.zeros(1, 1, 1, 5)).shape == (1, 1, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": "inverted, dense"}, r"network\.options\.types = 'inverted, dense': some of inverted, separable, conv"),
        ({"types": ""}, r"network\.options\.types = ''"),
        ({"types": "conv, conv"}, "each once"),
        ({"types": 3}, r"network\.options\.types = 3"),
        ({"max_kernel": 2}, r"network\.options\.max_kernel = 2: a whole number from 3 to 15"),
        ({"squeeze": "yes"}, r"network\.options\.squeeze = 'yes': true or false"),
    ],
)  # fmt: skip
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_family("mobile", options)


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"types": "inverted"}, ("branches", "join", "p1_kernel")),
        ({"types": "conv", "max_branches": 1}, ("expansion", "b1_kernel", "join", "p2_kernel")),
        ({"types": "separable", "squeeze": False, "stem": False}, ("expansion", "branches", "squeeze", "ratio", "stem")),
    ],
)  # fmt: skip
def test_options_leave_parameters_out(options: dict[str, Any], absent: tuple[str, ...]) -> None:
    family = create_family("mobile", {**options, "max_filters": 6})
    space = family.space(DIGITS)
    assert not [name for name in space.names if name.endswith(absent)]
    rng = np.random.default_rng(0)
    for seed in range(4):
        parent, module = random_parent(family, space, DIGITS, seed)
        for morph in morphs(family, space, parent, rng, 3):
            assert morph.parameters == space.validate(morph.parameters)
            try:
                child = built(family, morph.parameters, DIGITS, 1)
            except BuildError:
                continue
            found = inherit(family, parent, module.state_dict(), morph.parameters, child, DIGITS)
            assert found.preserved or not morph.preserving


@needs_compiler
@pytest.mark.slow(every=6)
@pytest.mark.parametrize("batch", range(6))
def test_int8_in_c_gives_the_interpreters_bytes(batch: int) -> None:
    cases = []
    for seed, data in enumerate((DIGITS, COLOURS, *TINY), 6 * batch):
        family = create_family("mobile", {"max_filters": (1, 4, 10)[seed % 3]})
        _, module = random_parent(family, family.space(data), data, seed)
        x = torch.randn(16, *data.shape, generator=torch.Generator().manual_seed(seed))
        made = quantize(module.eval(), x)
        assert isinstance(made, IntegerNetwork)
        with torch.no_grad():
            truth = module(x).numpy()
        assert np.abs(made.logits(x) - truth).max() < 0.2 * max(1.0, np.abs(truth).max())
        assert predict(deployed(capture(module, data.shape)), operator_model("cortex-m4")).instructions > 0
        cases.append((made, made.quantize_input(x)))
    if batch == 0:
        kinds = {layer.kind for made, _ in cases for layer in made.layers}
        assert {"add", "concat", "multiply", "table", "conv"} <= kinds
    flags = tuple("-O1" if flag == "-O2" else flag for flag in FLAGS)
    for (made, images), found in zip(cases, host_run_all(cases, flags=flags), strict=True):
        assert np.array_equal(found, made.run(images))


PRUNED = candidate(
    conv(6, 3, 1), inverted(6, squeeze=True, ratio=2), inverted(6, kernel=5), conv(4, 3, 3, join="concat", squeeze=True, ratio=4),
    separable(8),
)  # fmt: skip


def pruned(sparsity: float = 0.5) -> nn.Module:
    """The network of PRUNED, half of whose filters are zero."""
    module = network(PRUNED)
    pruner = started("filters", sparsity, module, DIGITS.shape)
    pruner.before_epoch(1, 1)
    pruner.finish()
    return module.eval()


def test_channels_go_together_across_shortcut_depthwise_and_gate() -> None:
    groups = {
        layers
        for layers in (group.layers for group in channels_of(capture(network(PRUNED), DIGITS.shape)).groups)
    }
    p = "features"
    assert (f"{p}.b1.p1.conv", f"{p}.b1.p2.conv", f"{p}.b2.project", f"{p}.b3.project") in groups
    assert (f"{p}.b2.expand.conv", f"{p}.b2.gate.excite") in groups and (f"{p}.b3.expand.conv",) in groups
    assert {(f"{p}.b4.p1.conv", f"{p}.b4.gate.excite"), (f"{p}.b4.p2.conv", f"{p}.b4.gate.excite")} <= groups
    assert (f"{p}.b2.gate.squeeze",) in groups and (f"{p}.b5.pointwise.conv",) in groups


def test_a_pruned_network_shrinks_and_a_child_inherits_from_it() -> None:
    module = pruned()
    small = shrink(module, DIGITS.shape)
    assert difference(outputs(module, DIGITS), outputs(small, DIGITS)) < 1e-4
    assert sum(p.numel() for p in small.parameters()) < 0.5 * sum(p.numel() for p in module.parameters())
    assert small.get_submodule("features.b2.project").out_channels == 3
    family = create_family("mobile", {"max_blocks": 5})
    for state in (module.state_dict(), small.state_dict()):
        child = built(family, PRUNED, DIGITS, 1)
        result = inherit(family, PRUNED, state, PRUNED, child, DIGITS)
        child.load_state_dict(result.state_dict, strict=True)
        assert result.preserved, result.notes
        assert difference(outputs(module, DIGITS), outputs(child.eval(), DIGITS)) < 1e-4


@pytest.mark.parametrize(("before", "after", "same"), [(2, 8, False), (8, 2, True)])
def test_a_gate_with_fewer_units_computes_another_function_and_says_so(
    before: int, after: int, same: bool
) -> None:
    parent, child = (candidate(separable(8, squeeze=True, ratio=ratio)) for ratio in (before, after))
    module, made = network(parent), built(create_family("mobile"), child, DIGITS, 1)
    result = inherit("mobile", parent, module.state_dict(), child, made, DIGITS)
    made.load_state_dict(result.state_dict, strict=True)
    assert result.preserved is same
    assert (difference(outputs(module, DIGITS), outputs(made.eval(), DIGITS)) < 1e-5) is same
    assert result.notes == (f"b1: squeeze-and-excite: {8 // before}->{8 // after} units",)


def test_genes_survive_a_round_trip() -> None:
    space = create_family("mobile").space(DIGITS)
    rng = np.random.default_rng(0)
    for _ in range(50):
        parameters = space.sample(rng)
        assert MobileGenes(parameters).parameters() == parameters


def test_a_run_of_shortcuts_is_widened_as_one_and_said_in_words() -> None:
    family = create_family("mobile", {"max_blocks": 5})
    space = family.space(DIGITS)
    parent = space.complete(candidate(separable(4), inverted(4), inverted(4), conv(3, 3, 1, join="concat")))
    words = [
        word
        for seed in range(30)
        for m in morphs(family, space, parent, np.random.default_rng(seed), 5)
        for word in m.operators
    ]
    text = "\n".join(words)
    assert "widen b1 to b3 4->" in text and "widen b4 3->" in text
    assert "add block b" in text and "expansion" in text and "add branch b4_p3 (concat, kernel" in text
    assert "add squeeze-and-excite b" in text and "change downsampling b" in text and "none->" in text


def test_a_hidden_layer_of_one_unit_inherits() -> None:
    """It has no room for both signs of the next layer's inputs."""
    family = create_family("mobile")
    parent = candidate(inverted(3))
    module = network(parent)
    child = parent | {"dense": 1, "d1_width": 1}
    made = built(family, child, DIGITS, 1)
    result = inherit(family, parent, module.state_dict(), child, made, DIGITS)
    made.load_state_dict(result.state_dict, strict=True)
    assert not result.preserved
    assert torch.equal(made.state_dict()["head.classifier.bias"], module.state_dict()["head.classifier.bias"])
