import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_pruning import MODULES, Mlp, Plain, Residual, seeded, started
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.pruning import METHODS, SCHEDULES, planned_keep, planned_pruned
from sparsemod.pruning.weights import prunable_weights


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def step(module, optimizer, kind):
    x = torch.randn(16, *kind.shape)
    module.train()
    optimizer.zero_grad()
    module(x).square().mean().backward()
    optimizer.step()


def trained(kind, method, sparsity, epochs=5, schedule="cubic", steps=3):
    """The module, its pruner and the sparsity after each epoch; momentum and weight decay work against the masks."""
    module = seeded(kind)
    pruner = started(method, sparsity, module, kind.shape, schedule)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    history = []
    for epoch in range(1, epochs + 1):
        pruner.before_epoch(epoch, epochs)
        for _ in range(steps):
            step(module, optimizer, kind)
            pruner.after_step()
        history.append((pruner.sparsity, pruner.at_target))
    return module, pruner, history


@given(st.integers(1, 500), st.floats(0, 0.999))
def test_planned_counts(filters, sparsity):
    kept = planned_keep(filters, sparsity)
    assert 1 <= kept <= filters
    assert kept - 1 <= (1 - sparsity) * filters + 1e-6 and kept >= (1 - sparsity) * filters - 1e-6
    assert abs(planned_pruned(filters, sparsity) - sparsity * filters) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("filters", "sparsity", "kept"),
    [(10, 0.3, 7), (10, 0.7, 3), (8, 0.5, 4), (3, 0.5, 2), (1, 0.99, 1), (9, 0, 9)],
)
def test_known_counts(filters, sparsity, kept):
    assert planned_keep(filters, sparsity) == kept


def test_schedules():
    cubic = SCHEDULES.create(SCHEDULES.config("cubic", begin=0.2, end=0.7))
    shot = SCHEDULES.create(SCHEDULES.config("one-shot", begin=0.5))
    assert [cubic.share(p) for p in (0, 0.2, 0.7, 1)] == [0, 0, 1, 1]
    assert cubic.share(0.45) == pytest.approx(1 - 0.5**3)
    assert [shot.share(p) for p in (0, 0.49, 0.5, 1)] == [0, 0, 1, 1]


@pytest.mark.parametrize(("begin", "end"), [(-0.1, 0.5), (0.5, 0.5), (0.5, 1.5), (1.0, 2.0)])
def test_bad_schedules(begin, end):
    with pytest.raises(InvalidInput, match=r"pruning\.schedule"):
        SCHEDULES.config("cubic", begin=begin, end=end)


@pytest.mark.parametrize("kind", [Plain, Mlp])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.937])
@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_magnitude_reaches_the_exact_count_and_keeps_it(kind, sparsity, schedule):
    module, pruner, history = trained(kind, "magnitude", sparsity, schedule=schedule)
    weights = prunable_weights(module)
    total = sum(w.numel() for w in weights.values())
    zeros = sum(int((w == 0).sum()) for w in weights.values())
    assert zeros == planned_pruned(total, sparsity)
    assert pruner.sparsity == pytest.approx(zeros / total)
    assert pruner.at_target
    shares = [s for s, _ in history]
    assert shares == sorted(shares) and history[0] == (0.0, False)
    pruner.finish()


def test_magnitude_takes_the_smallest_of_the_whole_network_and_keeps_biases_and_norms():
    module = seeded(Plain)
    before = {n: w.detach().clone() for n, w in prunable_weights(module).items()}
    others = {n: p.detach().clone() for n, p in module.named_parameters() if n not in before}
    pruner = started("magnitude", 0.6, module, Plain.shape)
    pruner.before_epoch(1, 1)
    kept = torch.cat([before[n][m] for n, m in pruner.masks.items()]).abs()
    gone = torch.cat([before[n][~m] for n, m in pruner.masks.items()]).abs()
    largest = min(w.abs().max() for w in before.values())
    assert gone.max() <= kept.min() or gone.max() <= largest
    assert all(torch.equal(p, others[n]) for n, p in module.named_parameters() if n in others)


def test_no_layer_dies_of_global_magnitude():
    module = seeded(Mlp)
    with torch.no_grad():
        module[3].weight.mul_(1e-6)
    pruner = started("magnitude", 0.99, module, Mlp.shape)
    pruner.before_epoch(1, 1)
    assert all(int((w != 0).sum()) >= 1 for w in prunable_weights(module).values())


@pytest.mark.parametrize("kind", MODULES)
def test_pruned_filters_give_exact_zeros_and_the_planned_counts_remain(kind):
    module, pruner, _ = trained(kind, "filters", 0.5)
    assert pruner.at_target
    channels = pruner._channels
    assert channels.groups or kind is None
    seen = {}
    tensors = dict(module.named_parameters())
    for group in channels.groups:
        for name in channels.filters:
            labels = channels.rows[name]
            mine = [i for i, label in enumerate(labels.tolist()) if label in group.units]
            if mine:
                alive = tensors[name][mine].flatten(1).ne(0).any(1).tolist()
                seen[name] = seen.get(name, 0) + sum(alive)
                states = {(labels[i], stays) for i, stays in zip(mine, alive, strict=True)}
                assert len(states) == len(group.units), "rows of one unit go together"
                assert sum(stays for _, stays in states) == planned_keep(len(group.units), 0.5)
    assert seen


def test_layers_that_cannot_be_pruned_are_named():
    pruner = started("filters", 0.5, seeded(Residual), Residual.shape)
    assert pruner.frozen == {"head": "coupled to the network's output"}


def test_mistakes_are_named():
    with pytest.raises(InvalidInput, match=r"pruning\.sparsity = 1\.0"):
        METHODS.config("magnitude", sparsity=1.0)
    with pytest.raises(UnknownName, match=r"did you mean magnitude\?"):
        METHODS.get("magnitud")
    pruner = started("magnitude", 0.5, seeded(Mlp), Mlp.shape)
    with pytest.raises(InvalidInput, match=r"before sparsity 0.5"):
        pruner.finish()
    with pytest.raises(InvalidInput, match="epoch"):
        pruner.before_epoch(0, 3)
    other = started("magnitude", 0.5, seeded(Plain), Plain.shape)
    with pytest.raises(InvalidInput, match="masks of this network"):
        other.load_state_dict(pruner.state_dict())


def test_masks_hold_in_channels_last_memory():
    module = seeded(Plain).to(memory_format=torch.channels_last)
    plain = seeded(Plain)
    for each in (module, plain):
        pruner = started("magnitude", 0.7, each, Plain.shape)
        pruner.before_epoch(1, 1)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), plain.parameters(), strict=True))


def test_a_network_with_nothing_to_prune_is_at_its_target():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    pruner = started("filters", 0.5, module, (1, 2, 2))
    assert pruner.at_target and pruner.sparsity == 0
    assert pruner.frozen == {"1": "coupled to the network's output"}
