"""Recurrent layers from torch to integers: capture in both ways, lengths, costs, and the error against float."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support_recurrent import ENDS, PackedNetwork, SequenceNetwork
from test_operators_sequences import same
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsemod.arena import plan
from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export import export
from sparsemod.export.c import plan as c_plan
from sparsemod.graph import capture, deployed, run_float
from sparsemod.graph.capture import _graph, evaluating, example_for
from sparsemod.graph.macs import macs
from sparsemod.graph.signature import inputs_of
from sparsemod.graph.trace import exported, recorded
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.size import deployed_bytes, layer_sizes
from sparsemod.networks.packed_module import PackedInput
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.float_network import FloatNetwork
from sparsemod.sequences import last_step, mean_steps

STEPS = (9, 5)


def network(
    kind: type[nn.RNNBase], end: str, both: bool, first: bool, packed: bool = False, layers: int = 2
) -> nn.Module:
    torch.manual_seed(0)
    width = 6 * (2 if both else 1) * (STEPS[0] if end == "all" else 1)
    layer = kind(5, 6, layers, batch_first=first, bidirectional=both)
    made = PackedNetwork if packed else SequenceNetwork
    return made(nn.Sequential(), layer, end, nn.Linear(width, 3), 1).eval()


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_both_ways_of_capturing_give_the_same_graph(
    kind: type[nn.RNNBase], both: bool, first: bool, end: str
) -> None:
    module = network(kind, end, both, first)
    inputs, examples = inputs_of(module, STEPS, "time-features"), (example_for(module, STEPS),)
    with evaluating(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export's advice on the layers of torch
        fast, truth = (_graph(module, program(module, examples), inputs) for program in (recorded, exported))
    assert same(fast, truth), (fast.operators, truth.operators)
    x = torch.randn(4, *STEPS)
    torch.testing.assert_close(run_float(deployed(fast), x), module(x), atol=1e-5, rtol=1e-5)


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_packed_sequences_stop_at_their_lengths(
    kind: type[nn.RNNBase], both: bool, first: bool, end: str
) -> None:
    module = network(kind, end, both, first, packed=True)
    x, lengths = torch.randn(6, *STEPS), torch.tensor([9, 3, 1, 7, 9, 4])
    graph = deployed(capture(module, STEPS, "time-features"))
    assert graph.uses_lengths
    torch.testing.assert_close(run_float(graph, x, lengths=lengths), module(x, lengths), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run_float(graph, x), module(x), atol=1e-5, rtol=1e-5)
    floats = FloatNetwork.from_bytes(FloatNetwork(graph).to_bytes())
    assert np.allclose(floats.logits(x, lengths), module(x, lengths).detach().numpy(), atol=1e-5)
    padded = x.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = 99.0  # nothing reads the padding
    assert torch.equal(run_float(graph, padded, lengths=lengths), run_float(graph, x, lengths=lengths))


class OfPacked(nn.Module):
    """A user's network on packed sequences, which reads the last valid step in one of the usual ways."""

    def __init__(self, how: str, first: bool, both: bool) -> None:
        super().__init__()
        self.how, self.first = how, first
        self.rnn = nn.GRU(5, 6, 2, batch_first=first, bidirectional=both)
        self.classifier = nn.Linear(12 if both else 6, 3)

    def forward(self, packed: PackedSequence) -> Tensor:
        made, lengths = pad_packed_sequence(self.rnn(packed)[0], batch_first=self.first)
        samples, last = torch.arange(len(lengths)), lengths - 1
        if self.how == "index":
            return self.classifier(made[samples, last] if self.first else made[last, samples])
        axis = 1 if self.first else 0
        places = last.view(-1, 1, 1) if self.first else last.view(1, -1, 1)
        sizes = list(made.shape)
        sizes[axis] = 1
        return self.classifier(made.gather(axis, places.expand(sizes).to(made.device)).squeeze(axis))


@pytest.mark.parametrize("how", ["index", "gather"])
@pytest.mark.parametrize(("first", "both"), [(True, False), (False, True)])
def test_a_network_on_packed_sequences_may_pick_the_last_valid_step(
    how: str, first: bool, both: bool
) -> None:
    torch.manual_seed(1)
    module = PackedInput(OfPacked(how, first, both)).eval()
    x, lengths = torch.randn(6, *STEPS), torch.tensor([9, 3, 1, 7, 9, 4])
    truth = module.network(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    graph = deployed(capture(module, STEPS, "time-features"))
    assert graph.uses_lengths
    torch.testing.assert_close(run_float(graph, x, lengths=lengths), truth, atol=1e-5, rtol=1e-5)
    made = quantize(module, x, layout="time-features", lengths=lengths)
    assert np.abs(made.logits(x, lengths) - truth.detach().numpy()).max() < 0.1


def test_another_step_than_the_last_valid_one_is_refused() -> None:
    def before(x: Tensor, lengths: Tensor) -> Tensor:
        return x[torch.arange(len(x)), lengths - 2]

    def of_one_sample(x: Tensor, lengths: Tensor) -> Tensor:
        return x[torch.zeros(len(x), dtype=torch.long), lengths - 1]

    def two_before(x: Tensor, lengths: Tensor) -> Tensor:
        return x[torch.arange(len(x)), torch.sub(lengths, 1, alpha=2)]

    for use in (before, two_before, of_one_sample):
        with pytest.raises(Unsupported, match="mixes the samples' lengths"):
            capture(Lengths(use), STEPS, "time-features")


def test_only_the_last_state_is_kept_when_nothing_reads_another_step() -> None:
    for end in ("last", "state"):
        for packed in (False, True):
            graph = capture(network(nn.GRU, end, False, True, packed), STEPS, "time-features")
            assert [(o.name, o.kind) for o in graph.operators] == [
                ("layer.l0", "gru"), ("layer.l1", "gru"), ("classifier", "linear"),
            ]  # fmt: skip
            assert [o.attributes["last"] for o in graph.operators[:2]] == [False, True]
            assert graph.shapes["layer.l0"] == (9, 6)


def test_costs_follow_the_steps() -> None:
    module = network(nn.LSTM, "state", False, True)
    graph = deployed(capture(module, STEPS, "time-features"))
    weights = 4 * 6 * (5 + 6) + 4 * 6 * (6 + 6)
    assert macs(graph) == 9 * weights + 18
    # 9 bytes of constants for each row of the input's and of the state's weights, and for each output of the classifier
    assert deployed_bytes(layer_sizes(graph)) == weights + 2 * 2 * 24 * 9 + 18 + 3 * 9
    # input, all steps of the first layer and its state; then these steps, the last state of the second layer and its state
    size = plan(graph_layout(graph).problem).size
    assert size == max(45 + 54 + 24, 54 + 6 + 24)
    made = quantize(graph, torch.randn(16, *STEPS))
    assert isinstance(made, IntegerNetwork)
    assert c_plan(made).size == size
    info = {layer.name: layer for layer in made.layers_info()}
    assert info["layer.l0"].macs == 9 * 24 * 11 and info["layer.l0"].bias_bytes == 2 * 24 * 4


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_the_error_against_float_is_that_of_int8(kind: type[nn.RNNBase]) -> None:
    """The stated error of docs/operators.md: over 100 steps, root mean square below 1/128, the scale of the output; at most 0.1."""
    torch.manual_seed(1)
    layer = kind(6, 24, 2, batch_first=True, bidirectional=True)

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(2.5)  # as after training: states from -1 to 1
    module = Steps().eval()
    x = torch.randn(64, 100, 6)
    made = quantize(module, x, layout="time-features")
    truth = module(x).detach().numpy()
    off = made.logits(x) - truth
    assert np.abs(truth).max() > 0.8
    assert np.sqrt(np.mean(off**2)) < 1 / 128 and np.abs(off).max() < 0.1, (
        np.sqrt(np.mean(off**2)),
        np.abs(off).max(),
    )


class Strange(nn.Module):
    """A use of recurrent layers or of lengths."""

    def __init__(self, use: Callable[[nn.GRU, Tensor], Tensor], **options: object) -> None:
        super().__init__()
        self.layer, self.use = nn.GRU(5, 6, batch_first=True, **options), use  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self.layer, x)


class Lengths(nn.Module):
    uses_lengths = True

    def __init__(self, use: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.use = use

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.use(x, torch.full((len(x),), x.shape[1]) if lengths is None else lengths)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Strange(lambda g, x: g(x, torch.ones(1, len(x), 6))[0]), "'gru' at layer 'layer'.*first state other than zeros"),
        (Strange(lambda g, x: g(x)[1].transpose(0, 1).flatten(1), num_layers=2), "'transpose'.*only single ones"),
        (Strange(lambda g, x: g(x.transpose(0, 1))[0]), "'gru'.*not that of batch_first"),
        (Lengths(lambda x, n: x.sum(1) / n[:, None]), "use of the lengths.*only reach packed recurrent layers"),
        (Lengths(lambda x, n: last_step(x, n - 1)), "'sparsemod.last_step'.*not the network's second input"),
        (Lengths(lambda x, n: x[: int(n.max())]), "use of the lengths"),
    ],
)  # fmt: skip
def test_uses_without_a_graph_are_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        capture(module, STEPS, "time-features")


def test_a_projection_is_refused() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LSTM(5, 6, proj_size=3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

    with pytest.raises(Unsupported, match=r"'lstm' at layer 'layer'.*proj_size"):
        capture(Projected(), STEPS, "time-features")


def test_a_layout_without_steps_is_refused() -> None:
    with pytest.raises(Unsupported, match="layout channels-length, not time-features"):
        capture(network(nn.GRU, "last", False, True), STEPS, "channels-length")


@pytest.mark.parametrize("lengths", [[1, 2, 10], [0, 1, 2], [1, 2], [1.0, 2.0, 3.0]])
def test_wrong_lengths_are_refused(lengths: list[float]) -> None:
    module = network(nn.GRU, "state", False, True, packed=True)
    made = quantize(module, torch.randn(8, *STEPS), layout="time-features")
    x = torch.randn(3, *STEPS)
    with pytest.raises(InvalidInput, match="lengths"):
        made.predict(x, np.array(lengths))
    with pytest.raises(InvalidInput, match="lengths"):
        run_float(capture(module, STEPS, "time-features"), x, lengths=torch.tensor(lengths))


def test_padding_is_in_reach_of_no_gradient() -> None:
    x, lengths = torch.randn(4, 7, 3, requires_grad=True), torch.tensor([7, 2, 1, 5])
    (last_step(x, lengths).sum() + mean_steps(x, lengths).sum()).backward()
    expected = torch.zeros(4, 7, 3)
    for row, length in enumerate(lengths.tolist()):
        expected[row, :length] += 1 / length
        expected[row, length - 1] += 1
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)
    assert torch.equal(last_step(x), x[:, -1]) and torch.equal(mean_steps(x), x.mean(1))


def test_sorted_batches_and_a_pooled_length() -> None:
    class Sorted(nn.Module):
        uses_lengths = True

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(5, 6, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
            steps = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
            half = torch.div(steps, 2, rounding_mode="floor").clamp_min(1)
            pooled = nn.functional.max_pool1d(x.transpose(1, 2), 2).transpose(1, 2)
            return self.layer(pack_padded_sequence(pooled, half, batch_first=True))[1][0]

    module = Sorted().eval()
    graph = capture(module, STEPS, "time-features")
    assert [o.attributes.get("lengths") for o in graph.operators if o.traits.recurrent] == [2]
    x, lengths = torch.randn(4, *STEPS), torch.tensor([9, 6, 3, 1])
    torch.testing.assert_close(run_float(graph, x, lengths=lengths), module(x, lengths))


def test_onnx_computes_recurrent_layers_exactly(tmp_path: Path) -> None:
    for number, kind in enumerate((nn.GRU, nn.LSTM)):
        made = quantize(network(kind, "all", True, True), torch.randn(16, *STEPS), layout="time-features")
        assert isinstance(made, IntegerNetwork)
        layers = [layer for layer in made.layers if layer.traits.recurrent]
        assert {(layer.reverse, layer.features) for layer in layers} >= {(True, 5), (False, 12)}
        for check in export(
            "onnx", made, tmp_path / str(number), samples=torch.randn(20, *STEPS)
        ).verifications:
            assert check.largest_difference == 0


def test_formats_without_lengths_or_recurrent_layers_say_so(tmp_path: Path) -> None:
    packed = quantize(
        network(nn.GRU, "state", False, True, packed=True), torch.randn(8, *STEPS), layout="time-features"
    )
    with pytest.raises(Unsupported, match=r"the onnx export .*'gru with lengths'.*supported by: c"):
        export("onnx", packed, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=r"the tflite export .*'gru'.*supported by: c, onnx"):
        export("tflite", packed, tmp_path)  # type: ignore[arg-type]
