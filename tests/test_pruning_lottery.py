"""Lottery tickets: ladders against the published counts, rewinding, random controls, a whole training."""

from typing import Any

import pytest
import torch
from support_pruning import Mlp, Plain, context, seeded
from support_training import digits, equal, small_cnn

from sparsemod.pruning import METHODS
from sparsemod.pruning.weights import prunable_weights
from sparsemod.pruning.weights.lottery_ticket import remaining
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train

CONV2 = ([3 * 64 * 9, 64 * 64 * 9], [64 * 16 * 16 * 256, 256 * 256, 2560], 0.1, 0.2)
CONV6 = (
    [1728, 36864, 73728, 147456, 294912, 589824], [256 * 4 * 4 * 256, 256 * 256, 2560], 0.15, 0.2,
)  # fmt: skip
TINY = ([3 * 8 * 9, 8 * 8 * 9, 8 * 8 * 9], [8 * 8 * 8 * 300, 300 * 100, 1000], 0.1, 0.2)
LENET: Any = ([], [784 * 300, 300 * 100, 1000], 0.1, 0.2)


@pytest.mark.parametrize(
    ("network", "one_shot", "expected"),
    [
        (LENET, False, [1.0, 0.8004, 0.6406, 0.5128]),
        (LENET, True, [1.0, 0.8004, 0.6407, 0.5129]),
        (CONV2, False, [1.0, 0.801, 0.6416, 0.5141]),
        (CONV6, False, [1.0, 0.8254, 0.6819, 0.5639]),
        (CONV6, True, [1.0, 0.8254, 0.682, 0.564]),
        (TINY, False, [1.0, 0.8013, 0.6422, 0.5147]),
        (TINY, True, [1.0, 0.8013, 0.6422, 0.5149]),
    ],
)
def test_the_share_that_stays_is_the_published_one(
    network: Any, one_shot: bool, expected: list[float]
) -> None:
    convs, linears, conv_rate, fc_rate = network
    ladders = [remaining(n, conv_rate, 3, one_shot, False) for n in convs]
    ladders += [remaining(n, fc_rate, 3, one_shot, n == linears[-1]) for n in linears]
    total = sum(ladder[0] for ladder in ladders)
    assert [round(sum(stay) / total, 4) for stay in zip(*ladders, strict=True)] == expected


def begun(module: Any, shape: tuple[int, ...], **keys: Any) -> Any:
    method = METHODS.create(METHODS.config("lottery_ticket", **keys))
    method.start(context(module, shape))
    return method


def disturb(module: torch.nn.Module, method: Any) -> None:
    """A training that moves every weight."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    method.after_step()


@pytest.mark.parametrize("one_shot", [False, True])
def test_survivors_return_to_their_initial_values(one_shot: bool) -> None:
    module = seeded(Mlp)
    initial = {name: w.detach().clone() for name, w in prunable_weights(module).items()}
    biases = {n: p.detach().clone() for n, p in module.named_parameters() if n not in initial}
    method = begun(module, Mlp.shape, rounds=2, one_shot=one_shot)
    for epoch in range(1, 7):
        method.before_epoch(epoch, 6)
        assert method.restarts == (epoch in (3, 5))
        if method.restarts:
            for name, mask in method.masks.items():
                weight = module.get_parameter(name)
                assert torch.equal(weight[mask], initial[name][mask]) and not weight[~mask].any()
            assert not torch.equal(module.get_parameter("1.bias"), biases["1.bias"]), "biases are not reset"
        disturb(module, method)
    assert method.at_target
    for name, mask in method.masks.items():
        expected = remaining(mask.numel(), 0.2, 2, one_shot, name == list(method.masks)[-1])[-1]
        assert int(mask.sum()) == expected


def test_late_rewinding_returns_to_the_weights_of_an_epoch() -> None:
    module = seeded(Mlp)
    method = begun(module, Mlp.shape, rounds=1, rewind=1)
    method.before_epoch(1, 6)
    disturb(module, method)
    early = {name: w.detach().clone() for name, w in prunable_weights(module).items()}
    method.before_epoch(2, 6)
    disturb(module, method)
    for epoch in (3, 4):
        method.before_epoch(epoch, 6)
    assert method.restarts
    assert all(torch.equal(module.get_parameter(n)[m], early[n][m]) for n, m in method.masks.items())


def test_the_random_control_keeps_the_masks_with_other_values() -> None:
    modules = [seeded(Plain), seeded(Plain)]
    methods = [
        begun(module, Plain.shape, rounds=1, random=random)
        for module, random in zip(modules, (False, True), strict=True)
    ]
    for method in methods:
        method.before_epoch(1, 1)
    for name, mask in methods[0].masks.items():
        assert torch.equal(mask, methods[1].masks[name])
        assert not torch.equal(modules[0].get_parameter(name), modules[1].get_parameter(name))


@pytest.mark.parametrize("one_shot", [False, True])
def test_a_training_of_tickets_resumes_bit_for_bit(one_shot: bool) -> None:
    settings, data, kept = TrainingSpec(batch_size=64, learning_rate=0.01), digits(), []

    def pruner() -> Any:
        return METHODS.create(METHODS.config("lottery_ticket", rounds=2, one_shot=one_shot, rewind=1))

    whole, again = small_cnn(), small_cnn(seed=8)
    outcome = train(whole, data, settings, epochs=6, seed=3, pruner=pruner(), on_checkpoint=kept.append)
    assert outcome.best_epoch is not None and outcome.best_epoch >= 5
    sparsities = [point.sparsity for point in outcome.curve]
    assert (
        sparsities[0] == sparsities[1] == 0 < sparsities[2] == sparsities[3] < sparsities[4] == sparsities[5]
    )
    for cut in (1, 3):
        resumed = small_cnn(seed=8)
        train(resumed, data, settings, epochs=6, seed=3, pruner=pruner(), resume=kept[cut])
        assert equal(whole, resumed)
    assert not equal(whole, again)
