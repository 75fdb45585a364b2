import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_pruning import MODULES, Mlp, Plain, Residual, seeded
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.pruning import PRUNERS, SCHEDULES, create_pruner, planned_keep, planned_pruned
from sparsemod.pruning.magnitude import prunable_weights
from sparsemod.pruning.schedules import Cubic, OneShot
from sparsemod.spec.training import PruningSpec


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
    pruner = create_pruner(PruningSpec(method=method, schedule=schedule), sparsity, kind.shape)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    pruner.start(module)
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
    cubic, shot = Cubic(0.2, 0.7), OneShot(0.5)
    assert [cubic.share(p) for p in (0, 0.2, 0.7, 1)] == [0, 0, 1, 1]
    assert cubic.share(0.45) == pytest.approx(1 - 0.5**3)
    assert [shot.share(p) for p in (0, 0.49, 0.5, 1)] == [0, 0, 1, 1]


@pytest.mark.parametrize("name", SCHEDULES.names())
@given(st.floats(0, 0.9), st.floats(0.01, 1), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_every_schedule_rises_from_zero_to_one(name, begin, length, places):
    schedule = SCHEDULES.get(name)(begin, min(1.0, begin + length))
    shares = [schedule.share(p) for p in sorted(places)]
    assert shares == sorted(shares) and all(0 <= s <= 1 for s in shares)
    assert schedule.share(1.0) == 1


@pytest.mark.parametrize(("begin", "end"), [(-0.1, 0.5), (0.5, 0.5), (0.5, 1.5), (1.0, 2.0)])
def test_bad_schedules(begin, end):
    with pytest.raises(InvalidInput, match="pruning"):
        Cubic(begin, end)


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
    pruner = create_pruner(PruningSpec(method="magnitude"), 0.6, Plain.shape)
    pruner.start(module)
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
    pruner = create_pruner(PruningSpec(method="magnitude"), 0.99, Mlp.shape)
    pruner.start(module)
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
                alive = tensors[name][mine].flatten(1).ne(0).any(1)
                seen[name] = seen.get(name, 0) + int(alive.sum())
                assert int(alive.sum()) == planned_keep(len(group.units), 0.5)
    assert seen


def test_layers_that_cannot_be_pruned_are_named():
    pruner = create_pruner(PruningSpec(method="filters"), 0.5, Residual.shape)
    pruner.start(seeded(Residual))
    assert pruner.frozen == {"head": "coupled to the network's output"}


@pytest.mark.parametrize("method", PRUNERS.names())
@pytest.mark.parametrize("kind", [Plain, Mlp])
def test_every_method_continues_from_its_state(method, kind):
    straight = create_pruner(PruningSpec(method=method), 0.6, kind.shape)
    straight.start(module := seeded(kind))
    for epoch in range(1, 4):
        straight.before_epoch(epoch, 6)
    state = straight.state_dict()
    again = create_pruner(PruningSpec(method=method), 0.6, kind.shape)
    again.start(other := seeded(kind))
    again.load_state_dict(state)
    assert again.sparsity == straight.sparsity and again.at_target == straight.at_target
    for pruner in (straight, again):
        for epoch in range(4, 7):
            pruner.before_epoch(epoch, 6)
        assert pruner.at_target
    assert all(
        torch.equal(a, b)
        for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("method", PRUNERS.names())
@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_every_method_ends_at_its_target_however_short_the_training(method, epochs):
    _, pruner, history = trained(Plain, method, 0.5, epochs=epochs, steps=1)
    assert history[-1][1] and pruner.at_target
    pruner.finish()


@pytest.mark.parametrize("method", PRUNERS.names())
def test_sparsity_zero_changes_nothing(method):
    module = seeded(Plain)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    pruner = create_pruner(PruningSpec(method=method), 0.0, Plain.shape)
    pruner.start(module)
    assert pruner.at_target and pruner.sparsity == 0
    pruner.before_epoch(1, 2)
    pruner.after_step()
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())


def test_mistakes_are_named():
    with pytest.raises(InvalidInput, match=r"sparsity = 1\.0"):
        create_pruner(PruningSpec(method="magnitude"), 1.0, (3,))
    with pytest.raises(UnknownName, match="known: filters, magnitude, none"):
        PRUNERS.get("lottery")
    pruner = create_pruner(PruningSpec(method="magnitude"), 0.5, Mlp.shape)
    pruner.start(seeded(Mlp))
    with pytest.raises(InvalidInput, match=r"before sparsity 0.5"):
        pruner.finish()
    with pytest.raises(InvalidInput, match="epoch"):
        pruner.before_epoch(0, 3)
    other = create_pruner(PruningSpec(method="magnitude"), 0.5, Plain.shape)
    other.start(seeded(Plain))
    with pytest.raises(InvalidInput, match="masks of this network"):
        other.load_state_dict(pruner.state_dict())


def test_masks_hold_in_channels_last_memory():
    module = seeded(Plain).to(memory_format=torch.channels_last)
    plain = seeded(Plain)
    for each in (module, plain):
        pruner = create_pruner(PruningSpec(method="magnitude"), 0.7, Plain.shape)
        pruner.start(each)
        pruner.before_epoch(1, 1)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), plain.parameters(), strict=True))


def test_a_network_with_nothing_to_prune_is_at_its_target():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    pruner = create_pruner(PruningSpec(method="filters"), 0.5, (1, 2, 2))
    pruner.start(module)
    assert pruner.at_target and pruner.sparsity == 0
    assert pruner.frozen == {"1": "coupled to the network's output"}
