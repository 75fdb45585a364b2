"""Single weights of recurrent layers: every method prunes them; masks survive training, capture, int8 and C."""

from typing import Any

import numpy as np
import pytest
import torch
from support_pruning import Recurrent, begun, context, seeded
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsemod.export.c.host import host_run_all
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.pruning import METHODS
from sparsemod.pruning.base import Plan
from sparsemod.pruning.recurrent_patches import recurrent_inputs
from sparsemod.pruning.weights import graph_shapes, prunable_weights
from sparsemod.pruning.weights.recurrent_flow import make_linear
from sparsemod.quantization import SCHEMES, IntegerNetwork, quantize
from sparsemod.targets import device

pytestmark = pytest.mark.slow(every=3)

NAMES = [
    name for name in METHODS.names() if METHODS.get(name).__module__.startswith("sparsemod.pruning.weights.")
]
CELLS = [
    f"{part}_l{layer}{end}"
    for layer in (0, 1)
    for end in ("", "_reverse")
    for part in ("weight_ih", "weight_hh")
]
"""The weights of a bidirectional module of two layers."""


def test_the_weights_of_every_layer_direction_and_matrix_are_prunable() -> None:
    module = seeded(Recurrent)
    shapes = {name: tuple(weight.shape) for name, weight in prunable_weights(module).items()}
    assert set(shapes) == {
        "conv.weight", "head.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", *(f"gru.{name}" for name in CELLS),
    }  # fmt: skip
    assert graph_shapes(capture(module, Recurrent.shape)) == shapes, "the plan counts the same weights"


def test_weights_that_a_parametrization_computes_are_left_alone() -> None:
    module = seeded(Recurrent)
    nn.utils.parametrizations.weight_norm(module.get_submodule("lstm"), "weight_hh_l0")
    names = set(prunable_weights(module))
    assert "lstm.weight_hh_l0" not in names and "lstm.weight_ih_l0" in names
    assert set(graph_shapes(capture(module, Recurrent.shape))) == names


@pytest.mark.parametrize("name", NAMES)
def test_masks_of_recurrent_layers_survive_training_capture_and_quantization(name: str) -> None:
    module, plan, zeros = _trained(name)
    masks = {key: value == 0 for key, value in module.state_dict().items() if key in zeros}
    for key, gone in zeros.items():
        assert gone.any() and torch.equal(masks[key], gone), (key, "training keeps what the mask removes")
    graph = capture(module, Recurrent.shape)
    network = _integer(module)
    assert network.nonzeros() <= sum(w.numel() for w in prunable_weights(module).values()) - plan.zeros
    cells = {"gru.l0": "gru.{}_l0", "gru.l1_reverse": "gru.{}_l1_reverse", "lstm.l0": "lstm.{}_l0"}
    layers: dict[str, Any] = {layer.name: layer for layer in network.layers}
    for operator, key in cells.items():
        gone = torch.cat([zeros[key.format("weight_ih")], zeros[key.format("weight_hh")]], 1)
        captured = next(o for o in graph.operators if o.name == operator)
        assert not graph.state[captured.weight or ""][gone].any()
        assert not layers[operator].weight[gone.numpy()].any()
    stated = costs(deployed(graph), device("stm32f446"), nonzeros=network.layer_nonzeros())
    assert stated["nonzeros"].value == network.nonzeros()


def test_the_c_of_pruned_recurrent_layers_computes_the_integer_network() -> None:
    x = torch.randn(2, *Recurrent.shape, generator=torch.Generator().manual_seed(1))
    cases = [
        (network, network.quantize_input(x))
        for network in (_integer(_trained(name)[0]) for name in ("magnitude", "n_of_m"))
    ]
    for (network, images), output in zip(cases, host_run_all(cases), strict=True):
        assert np.array_equal(output, network.run(images))


def _trained(name: str) -> tuple[nn.Module, Plan, dict[str, Tensor]]:
    """The network after pruning at once and two steps against the masks, its plan, and what the masks remove."""
    module = seeded(Recurrent)
    keys: dict[str, Any] = {"sparsity": 0.6} if "sparsity" in METHODS.config_of(name).model_fields else {}
    method = begun(name, module, Recurrent.shape, **keys)
    plan = method.plan(capture(module, Recurrent.shape), method.config.sparsity, set(module.state_dict()))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    x, y = method.context.samples.slice(0, 16)
    for _ in range(2):  # movement needs a gradient before it prunes
        optimizer.zero_grad()
        method.context.loss(module.train()(x), y).backward()
        optimizer.step()
        method.after_step()
        method.before_epoch(1, 1)
    for _ in range(2):
        optimizer.zero_grad()
        method.context.loss(module(x), y).backward()
        optimizer.step()
        method.after_step()
    zeros = {key: ~mask for key, mask in method.masks.items()}
    assert sum(int(gone.sum()) for gone in zeros.values()) == plan.zeros
    if keys:
        assert method.sparsity == pytest.approx(0.6, abs=0.005) and not method.notes
    method.finish()
    return module.eval(), plan, zeros


def _integer(module: nn.Module) -> IntegerNetwork:
    samples = torch.randn(16, *Recurrent.shape, generator=torch.Generator().manual_seed(2))
    network = quantize(module, samples, SCHEMES.config("static"))
    assert isinstance(network, IntegerNetwork)
    return network


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("lengths", [None, [7, 4, 4, 1]])
def test_the_inputs_of_recurrent_weights_give_the_states_of_the_layer(
    kind: Any, lengths: list[int] | None
) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, 2, batch_first=True, bidirectional=True).eval()
    x: Tensor = torch.randn(4, 7, 3)
    given = x if lengths is None else pack_padded_sequence(x, torch.tensor(lengths), True)
    with torch.no_grad():
        found = recurrent_inputs(layer, given)
        made, _ = layer(given)
    assert set(found) == set(CELLS)
    made = made if lengths is None else pad_packed_sequence(made, True)[0]
    counts = lengths or [7] * 4
    # packed rows: the first steps of all samples, then the second ones, ...
    places = [(sample, step) for step in range(7) for sample in range(4) if step < counts[sample]]
    for row, (sample, step) in enumerate(places):
        before = made[sample, step - 1, :5] if step else torch.zeros(5)
        after = made[sample, step + 1, 5:] if step + 1 < counts[sample] else torch.zeros(5)
        torch.testing.assert_close(found["weight_hh_l1"][row], before)
        torch.testing.assert_close(found["weight_hh_l1_reverse"][row], after)
        torch.testing.assert_close(found["weight_ih_l0"][row], x[sample, step])


def test_sipp_keeps_the_weights_of_a_state_that_carries_the_output() -> None:
    """A unit whose state is always zero has no share in any gate: its column of the state's matrix goes first."""
    module = seeded(Recurrent)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            getattr(module.lstm, name)[4::10] = 0
    method = begun("sipp", module, Recurrent.shape, sparsity=0.3)
    method.before_epoch(1, 1)
    assert not method.masks["lstm.weight_hh_l0"][:, 4].any()


def test_the_linear_form_of_a_layer_adds_its_gates_and_keeps_its_shapes() -> None:
    layer = nn.GRU(1, 1, batch_first=True)
    with torch.no_grad():
        for name, values in {"weight_ih_l0": (1, 2, 3), "weight_hh_l0": (0.5, 1, 0.5)}.items():
            getattr(layer, name)[:, 0] = torch.tensor(values)
        layer.get_parameter("bias_ih_l0").zero_()
        layer.get_parameter("bias_hh_l0").zero_()
    make_linear(layer)
    made, last = layer(torch.ones(1, 2, 1))
    # the gates of the state sum to 2, so c = 1/2: s1 = 6 / 2, s2 = (6 + 2 x 3) / 2
    assert made.flatten().tolist() == [3.0, 6.0] and last.flatten().tolist() == [6.0]


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_linear_form_gives_what_the_layer_gives_in_shape_and_packing(
    kind: Any, batch_first: bool
) -> None:
    layer = kind(4, 6, 2, bidirectional=True, batch_first=batch_first)
    x = torch.rand(2, 5, 4) if batch_first else torch.rand(5, 2, 4)
    packed = pack_padded_sequence(x, torch.tensor([3, 5]), batch_first, enforce_sorted=False)
    inputs = (x, x[0] if batch_first else x[:, 0], packed)
    with torch.no_grad():
        expected = [_tensors(layer(given)) for given in inputs]
        make_linear(layer)
        found = [_tensors(layer(given)) for given in inputs]
    for before, after in zip(expected, found, strict=True):
        assert [t.shape for t in before] == [t.shape for t in after]


def _tensors(result: object) -> list[Tensor]:
    parts = result if isinstance(result, tuple) and not hasattr(result, "batch_sizes") else (result,)
    return [
        tensor
        for part in parts
        for tensor in (
            [part] if isinstance(part, Tensor) else [part.data] if hasattr(part, "batch_sizes") else part
        )
    ]


def test_synflow_cuts_the_network_off_at_no_layer_at_high_sparsity() -> None:
    """Directions, and inputs and states, are parallel: SynFlow may leave one of them, but a layer keeps a path."""
    module = seeded(Recurrent)
    method = begun("synflow", module, Recurrent.shape, sparsity=0.9)
    method.before_epoch(1, 1)
    kept = {name: int(mask.sum()) for name, mask in method.masks.items()}
    inputs = {
        "gru.weight_ih_l0": 16,
        "gru.weight_ih_l1": 16,
        "lstm.weight_ih_l0": 16,
        "conv.weight": 8,
        "head.weight": 8,
    }
    for name, least in inputs.items():
        assert sum(count for key, count in kept.items() if key.startswith(name)) >= least, kept
    module.eval()(torch.randn(4, *Recurrent.shape)).sum().backward()
    gradient = module.get_parameter("conv.weight").grad
    assert gradient is not None and gradient[method.masks["conv.weight"]].abs().max() > 0


def test_a_share_that_leaves_no_weight_for_each_layer_names_the_nearest() -> None:
    module = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    method = METHODS.create(METHODS.config("magnitude", sparsity=0.95))
    method.start(context(module, (4,)))
    method.before_epoch(1, 1)
    assert method.notes == ("pruning removed 0.8333 of the weights, the nearest reachable share to 0.95",)
