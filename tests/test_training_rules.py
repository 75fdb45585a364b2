"""Training rules with random feedback: gradients against their definitions in float64, memory that is reported, angles."""

import copy
import math

import pytest
import torch
from support_training import digits, equal, small_cnn
from torch import nn
from torch.nn import functional

from sparsemod.errors import BuildError, InvalidSpec
from sparsemod.networks.zoo import network
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train
from sparsemod.training.rules import RULES
from sparsemod.training.rules.angles import angle
from sparsemod.training.rules.units import units_of

DIRECT = ("dfa", "drtp", "mem-dfa")


def rule(name, module, seed=3, **keys):
    made = RULES.create(RULES.config(name, **keys) if keys else RULES.config(name))
    made.start(module, seed)
    return made


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.LeakyReLU(0.1), nn.AvgPool2d(2), nn.Flatten()),
        nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3),
    ).double()  # fmt: skip


def batch(n=7):
    torch.manual_seed(1)
    return torch.randn(n, 2, 8, 8, dtype=torch.float64), torch.randint(0, 3, (n,))


def grads(module):
    found = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    module.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("name", ["dfa", "mem-dfa", "drtp"])
def test_gradients_of_direct_feedback_equal_the_definition(name):
    net = conv_net()
    x, y = batch()
    made = rule(name, net)
    value = made.gradients(x, y, functional.cross_entropy)
    got = grads(net)
    # The definition: e B_l reaches the input of weight layer l, then the true Jacobians up to weight layer l - 1.
    outputs = net(x)
    leaf = outputs.detach().requires_grad_()
    functional.cross_entropy(leaf, y).backward()
    e = leaf.grad
    torch.testing.assert_close(value, functional.cross_entropy(outputs, y).detach())
    hot = torch.zeros_like(e)
    hot[torch.arange(len(y)), y] = -1 / len(y)
    projected = hot if name == "drtp" else e
    flat = list(net[:4]) + list(net[4]) + list(net[5:])
    cuts = [4, 8, 10, 12]  # the places of the weight layers after the first
    z, wanted = x, []
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(flat)], strict=True)):
        z = z.detach()
        for layer in flat[start:stop]:
            z = layer(z)
        if stop == len(flat):
            signal = e
        else:
            name_of = ["4.0", "5", "7", "9"][number]
            matrix = made.matrices.get(name_of, (3, z[0].numel()), math.sqrt(2 / 3), e)
            signal = (projected @ matrix).reshape(z.shape)
        owned = [p for layer in flat[start:stop] for p in layer.parameters()]
        wanted += torch.autograd.grad(z, owned, signal)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_feedback_alignment_equal_the_definition_by_hand():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))
    for name in ("fa", "sign-symmetry"):
        made = rule(name, net)
        made.gradients(x, y, functional.cross_entropy)
        got = grads(net)
        with torch.no_grad():
            a1 = torch.tanh(functional.linear(x, net[0].weight, net[0].bias))
            a2 = torch.tanh(functional.linear(a1, net[2].weight, net[2].bias))
            out = functional.linear(a2, net[4].weight, net[4].bias)
            e = (torch.softmax(out, 1) - functional.one_hot(y, 3)) / 8
            b = [made.backward_weight(n, net[int(n)].weight) for n in ("2", "4")]
            d2 = (e @ b[1]) * (1 - a2**2)
            d1 = (d2 @ b[0]) * (1 - a1**2)
            wanted = [d1.t() @ x, d1.sum(0), d2.t() @ a1, d2.sum(0), e.t() @ a2, e.sum(0)]
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other)
        if name == "sign-symmetry":
            assert torch.equal(b[1].sign(), net[4].weight.sign())
        made.finish()
        assert not any("forward" in vars(layer) for layer in net)


def test_feedback_alignment_of_convolutions_uses_the_transpose_of_other_weights():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    x, y = batch()
    made = rule("fa", net)
    made.gradients(x, y, functional.cross_entropy)
    got = grads(net)
    made.finish()
    with torch.no_grad():
        h = torch.tanh(net[0](x))
        o = net[2](h).flatten(1)
        e = (torch.softmax(net[4](o), 1) - functional.one_hot(y, 3)) / len(y)
        up = (e @ made.backward_weight("4", net[4].weight)).reshape(len(y), 4, 3, 3)
        down = functional.conv_transpose2d(
            up, made.backward_weight("2", net[2].weight), stride=2, output_padding=1
        )
        d = down * (1 - h**2)
        first = torch.nn.grad.conv2d_weight(x, net[0].weight.shape, d, padding=1)
        second = torch.nn.grad.conv2d_weight(h, net[2].weight.shape, up, stride=2)
    torch.testing.assert_close(got[0], first)
    torch.testing.assert_close(got[2], second)


def test_a_step_of_mem_dfa_equals_one_of_dfa_to_the_last_bit():
    data = digits()
    for clip in (None, 1.0):
        results = []
        for name in ("dfa", "mem-dfa"):
            net = small_cnn(5, dropout=0.3)
            spec = TrainingSpec(
                rule=RULES.config(name), batch_size=64, learning_rate=1e-2, gradient_clip=clip
            )
            train(net, data, spec, epochs=3, seed=2)
            results.append(net)
        assert equal(*results)


@pytest.mark.parametrize("name", DIRECT)
def test_residual_blocks_are_units_with_exact_gradients_inside(name):
    torch.manual_seed(4)
    net = network("wrn-10-0.25").build((1, 8, 8), 10)
    units = units_of(net)
    assert [unit.name for unit in units] == ["stem", "group1.0", "group2.0", "group3.0", "classifier"]
    assert units[3].names == ["group3.0", "norm", "relu", "pool", "flatten"]
    made = rule(name, net)
    x, y = torch.randn(4, 1, 8, 8), torch.randint(0, 10, (4,))
    made.gradients(x, y, functional.cross_entropy)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", RULES.names())
def test_every_rule_trains_better_than_chance_and_resumes_to_equal_weights(name):
    data, kept = digits(), []
    spec = TrainingSpec(rule=RULES.config(name), batch_size=16, learning_rate=1e-2)
    whole, resumed = small_cnn(1), small_cnn(1)
    outcome = train(whole, data, spec, epochs=8, seed=1, on_checkpoint=kept.append)
    assert min(point.validation_error for point in outcome.curve) < 0.75
    train(resumed, data, spec, epochs=8, seed=1, resume=kept[3])
    assert equal(whole, resumed)


@pytest.mark.parametrize("name", ["fa", "dfa", "mem-dfa", "sign-symmetry", "drtp"])
def test_matrices_from_the_seed_equal_stored_ones_and_their_bytes_are_reported(name):
    data, nets, notes = digits(), [], []
    for matrices in ("stored", "seed"):
        net = small_cnn(2)
        spec = TrainingSpec(rule=RULES.config(name, matrices=matrices), batch_size=64)
        notes.append(train(net, data, spec, epochs=1, seed=4).notes)
        nets.append(net)
    assert equal(*nets)
    # The inputs of the second convolution and of the linear layer; or these layers' weights.
    sizes = [10 * 6 * 4 * 4 * 4, 10 * 32 * 4] if name in DIRECT else [8 * 6 * 9 * 4, 32 * 10 * 4]
    assert notes[0][0] == f"feedback matrices: {sum(sizes):,} B (stored)"
    assert notes[1][0] == f"feedback matrices: {max(sizes):,} B (drawn at each use, the largest)"


def test_angles_are_tracked_epoch_by_epoch_and_do_not_change_the_training():
    data, nets, kept = digits(), [], []
    for keys in ({}, {"angle": True}):
        net = small_cnn(3, dropout=0.2)
        spec = TrainingSpec(rule=RULES.config("dfa", **keys), batch_size=64)
        outcome = train(net, data, spec, epochs=3, seed=4, on_checkpoint=kept.append)
        nets.append(net)
    assert equal(*nets)
    angles = [point.angle for point in outcome.curve]
    assert len(angles) == 3 and all(0 < degrees < 120 for degrees in angles)
    again = train(small_cnn(3, dropout=0.2), data, spec, epochs=3, seed=4, resume=kept[3])
    assert [point.angle for point in again.curve] == angles


def test_the_angle_is_that_of_the_gradients():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert angle([a, None], [b, None]) == pytest.approx(45)
    assert angle([a, None], [None, b]) == 90
    assert angle([a], [-a]) == pytest.approx(180)
    net = small_cnn()
    made = rule("sign-symmetry", net, angle=True)
    x, y = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    before = copy.deepcopy(net.state_dict())
    made.before_epoch(x, y, functional.cross_entropy)
    assert 0 < made.angles.degrees[0] < 90
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_a_network_with_a_forward_of_its_own_is_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x)

    for name in DIRECT:
        with pytest.raises(BuildError, match=r"needs layers in sequence.*Own"):
            rule(name, Own())
    with pytest.raises(BuildError, match="with weights"):
        rule("dfa", nn.Sequential(nn.Flatten()))


def test_attention_transfer_needs_backpropagation():
    from support_trials import tiny_spec

    from sparsemod.errors import InvalidInput

    spec = tiny_spec(
        training={
            "batch_size": 64,
            "rule": "dfa",
            "teacher": {"network": "resnet-8", "epochs": 1, "taps": ["0"]},
        }
    )
    with pytest.raises(InvalidInput, match="needs backpropagation"):
        train(small_cnn(), digits(), spec.training, epochs=1, seed=0, teacher=small_cnn())
    with pytest.raises(InvalidSpec, match="mem-dfa"):
        tiny_spec(training={"rule": "memdfa"})
