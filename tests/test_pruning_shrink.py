import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_pruning import (
    MODULES,
    Concat,
    Depthwise,
    FlattenBlocks,
    Grouped,
    Plain,
    Recurrent,
    Residual,
    Shared,
    Shuffled,
    seeded,
    started,
)
from torch import nn
from torch.nn.utils import parametrizations

from sparsemod.errors import BuildError
from sparsemod.graph import capture
from sparsemod.pruning import planned_shrink_graph, shrink
from sparsemod.pruning.channels import channels_of

pytestmark = pytest.mark.slow(every=6)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pruned(module, shape, sparsity):
    """The module with whole filters zeroed, as training leaves it."""
    pruner = started("filters", sparsity, module, shape)
    pruner.before_epoch(1, 1)
    pruner.finish()
    return module.eval()


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@settings(max_examples=25)
@given(kind=st.sampled_from(MODULES), sparsity=st.floats(0, 0.95), seed=st.integers(0, 100))
def test_a_shrunk_module_is_smaller_and_computes_the_same(kind, sparsity, seed):
    module = pruned(seeded(kind, seed), kind.shape, sparsity)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    small = shrink(module, kind.shape)
    x = torch.randn(5, *kind.shape)
    with torch.no_grad():
        torch.testing.assert_close(small(x), module(x), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())
    # the same shapes were promised before training
    planned = planned_shrink_graph(capture(seeded(kind, seed + 1), kind.shape), sparsity, module.state_dict())
    assert dict(planned.shapes) == dict(capture(small, kind.shape).shapes)
    if sparsity > 0.5:
        assert parameters(small) < parameters(module)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.9])
def test_the_cut_graph_is_the_capture_of_the_cut_module(kind, sparsity):
    module = seeded(kind)
    cut = planned_shrink_graph(capture(module, kind.shape), sparsity, module.state_dict())
    captured = capture(shrink(pruned(module, kind.shape, sparsity), kind.shape), kind.shape)
    assert [(o.name, o.kind, dict(o.attributes)) for o in cut.operators] == [
        (o.name, o.kind, dict(o.attributes)) for o in captured.operators
    ]
    assert dict(cut.shapes) == dict(captured.shapes)
    used = [k for o in cut.operators for k in (o.weight, o.bias) if k]
    assert {k: cut.state[k].shape for k in used} == {k: captured.state[k].shape for k in used}


def test_a_shrunk_module_trains_on():
    small = shrink(pruned(seeded(Residual), Residual.shape, 0.5), Residual.shape).train()
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    small(torch.randn(8, *Residual.shape)).square().mean().backward()
    optimizer.step()
    assert (small.stem.out_channels, small.first.in_channels, small.first.out_channels) == (4, 4, 3)
    assert small.norm.num_features == 4 and small.head.in_features == 4 and small.head.out_features == 4


def test_depthwise_and_flatten_follow_their_channels():
    small = shrink(pruned(seeded(Depthwise), Depthwise.shape, 0.5), Depthwise.shape)
    assert (small.expand.out_channels, small.depthwise.groups, small.depthwise.out_channels) == (4, 4, 8)
    assert (small.norm.num_features, small.project.in_channels, small.head.out_channels) == (8, 8, 4)
    small = shrink(pruned(seeded(FlattenBlocks), FlattenBlocks.shape, 0.6), FlattenBlocks.shape)
    assert small[0].out_channels == 2 and small[4].in_features == 2 * 16


def test_added_layers_lose_the_same_filters_also_across_a_concat():
    small = shrink(pruned(seeded(Concat), Concat.shape, 0.5), Concat.shape)
    assert (small.a.out_channels, small.b.out_channels, small.c.out_channels) == (3, 2, 5)


def test_the_groups_of_a_convolution_lose_the_same_places():
    channels = channels_of(capture(seeded(Grouped), Grouped.shape))
    assert channels.frozen == {"8": "coupled to the network's output"}
    assert channels.labels["0"].tolist() == channels.labels["0"][:4].tolist() * 2
    small = shrink(pruned(seeded(Grouped), Grouped.shape, 0.5), Grouped.shape)
    assert (small[0].out_channels, small[2].groups, small[2].in_channels) == (4, 2, 4)
    assert small[2].weight.shape == (4, 2, 3, 3) and small[4].weight.shape == (5, 4, 1, 1)


def test_channels_pass_a_shuffle_between_grouped_convolutions():
    module = seeded(Shuffled)
    channels = channels_of(capture(module, Shuffled.shape))
    assert channels.frozen == {"head": "coupled to the network's output"}
    small = shrink(pruned(module, Shuffled.shape, 0.5), Shuffled.shape)
    assert (small.stem.out_channels, small.restore.out_channels) == (6, 6), "they are added"
    assert (small.reduce.groups, small.reduce.in_channels, small.reduce.out_channels) == (3, 6, 9)
    assert (small.depthwise.groups, small.restore.in_channels) == (9, 9)


def test_a_shuffle_without_grouped_convolution_keeps_its_channels():
    module = nn.Sequential(nn.Conv2d(2, 8, 1), nn.ChannelShuffle(4), nn.Conv2d(8, 3, 1))
    assert channels_of(capture(module, (2, 4, 4))).frozen["0"] == "its channels are copied to other places"


def test_units_and_inputs_of_recurrent_layers_are_removed():
    module = seeded(Recurrent)
    before = channels_of(capture(module, Recurrent.shape), module.state_dict())
    assert before.frozen == {"head": "coupled to the network's output"}
    sizes = {group.layers: len(group.units) for group in before.groups}
    gru = ("gru.l0", "gru.l0_reverse", "gru.l1", "gru.l1_reverse")
    assert sizes == {("conv",): 8, gru: 6, ("lstm.l0",): 10}
    small = shrink(pruned(module, Recurrent.shape, 0.5), Recurrent.shape)
    assert (small.conv.out_channels, small.gru.input_size, small.gru.hidden_size) == (4, 4, 3)
    assert (small.lstm.input_size, small.lstm.hidden_size, small.head.in_features) == (6, 5, 10)
    assert small.gru.weight_ih_l1_reverse.shape == (9, 6) and small.lstm.weight_hh_l0.shape == (20, 5)


def test_a_recurrent_layer_used_twice_is_kept():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gru = nn.Conv1d(4, 6, 1), nn.GRU(6, 6, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            steps, _ = self.gru(self.conv(x).transpose(1, 2))
            return self.head(self.gru(steps)[0].mean(1))

    module = Twice()
    channels = channels_of(capture(module, (4, 5)), module.state_dict())
    assert not channels.groups and channels.frozen["conv"] == "a recurrent layer reads them"


def test_a_layer_used_twice_is_pruned_once():
    small = shrink(pruned(seeded(Shared), Shared.shape, 0.5), Shared.shape)
    assert small.twice.weight.shape[:2] == (3, 3) and small.stem.out_channels == 3


def test_channels_coupled_to_the_input_stay():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head((x + self.conv(x)).mean((2, 3)))

    channels = channels_of(capture(Skip(), (4, 5, 5)))
    assert channels.frozen["conv"] == "coupled to the network's input" and not channels.groups


def test_computed_weights_are_left_alone():
    module = seeded(Plain)
    parametrizations.weight_norm(module[0])
    graph = capture(module, Plain.shape)
    assert channels_of(graph, dict(module.named_parameters())).frozen["0.conv"] == "its weights are computed"
    small = shrink(pruned(module, Plain.shape, 0.5), Plain.shape)
    assert small[0].weight.shape == (10, 2, 3, 3) and small[4].out_channels == 4
    cut = planned_shrink_graph(graph, 0.5, module.state_dict())
    assert dict(cut.shapes) == dict(capture(small, Plain.shape).shapes)


def test_sizes_written_into_forward_are_found_out():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            return self.head(self.conv(x).view(-1, 16))

    with pytest.raises(BuildError, match="written into its forward"):
        shrink(pruned(Hidden(), (1, 4, 4), 0.5), (1, 4, 4))


def test_a_module_with_every_filter_zero_keeps_one_of_each_layer():
    module = seeded(Plain)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    small = shrink(module, Plain.shape)
    assert small[0].out_channels == small[4].out_channels == 1 and small[9].out_features == 4


class Numbers(nn.Module):
    """A convolution whose output meets numbers of the code: scale and shift after a function, and perhaps a product."""

    shape = (1, 8, 8)

    def __init__(self, function, product=False):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 3)
        self.function, self.product = function, product

    def forward(self, x):
        x = self.first(x)
        y = self.function(x.mean((2, 3), keepdim=True) if self.product else x)
        return self.head(self.second(x * y if self.product else y).mean((2, 3)))


@pytest.mark.parametrize(
    ("function", "product", "left", "why"),
    [
        (lambda x: 2 * x, False, 3, None),
        (lambda x: 2 * torch.tanh(x), False, 3, None),
        (lambda x: 2 * torch.relu(x) + 1, False, 6, "a number is added to it"),
        (lambda x: torch.tanh(x) + 1, False, 6, "a number is added to it"),
        (lambda x: 2 * torch.sigmoid(x), False, 6, "its function of zero is not zero"),
        (lambda x: 2 * torch.sigmoid(x), True, 3, None),
        (lambda x: torch.clamp(x + 1, 0, 2), True, 3, None),
    ],
)
def test_numbers_of_the_code_hold_for_any_channels_whose_zeros_stay_zeros(function, product, left, why):
    module = Numbers(function, product).eval()
    assert channels_of(capture(module, module.shape)).frozen.get("first") == why
    small = shrink(pruned(module, module.shape, 0.5), module.shape)
    assert small.first.out_channels == left
