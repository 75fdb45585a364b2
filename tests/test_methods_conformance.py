"""Requirements of every registered method: a member gets these tests by being registered.

`python -m pytest -p my_module tests/test_methods_conformance.py` also runs them over the members of a user's
module.
"""

import json
import math
import subprocess
import sys
from typing import Annotated, Any

import jsonschema_rs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from support_pruning import MODULES, Mlp, Plain, Residual, context, seeded, started
from support_training import digits, equal, small_cnn
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.graph import capture, deployed
from sparsemod.plugins import OneOf, Plugins
from sparsemod.pruning import METHODS
from sparsemod.pruning.weights import prunable_weights
from sparsemod.quantization import SCHEMES, IntegerNetwork, quantize
from sparsemod.quantization.ranges import RANGES
from sparsemod.spec import methods
from sparsemod.spec.methods import FAMILIES
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import augmentation, optimizers, train
from sparsemod.training.checkpoint import pack, unpack
from sparsemod.training.losses import LOSSES
from sparsemod.training.metrics import METRICS
from sparsemod.training.rules import RULES
from sparsemod.training.schedules import SCHEDULES, LearningRate

pytestmark = pytest.mark.slow

MEMBERS = [(path, name) for path, family in FAMILIES.items() for name in family.names()]
PLAIN = TrainingSpec(batch_size=64, learning_rate=0.01)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# -- all families ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "name"), MEMBERS)
def test_every_member_is_described_with_every_key(path: str, name: str) -> None:
    family: Plugins[Any, Any] = FAMILIES[path]
    assert family.describe(name).endswith((".", ":")) or family.describe(name)
    for key, info in family.config_of(name).model_fields.items():
        assert info.description, f"{path}: {name}.{key} has no description"


@pytest.mark.parametrize(("path", "name"), MEMBERS)
def test_every_config_survives_json_and_fits_its_schema(path: str, name: str) -> None:
    family: Plugins[Any, Any] = FAMILIES[path]
    config = family.config(name)
    stored = config.model_dump(mode="json")
    assert stored[family.key] == name and stored["version"] == type(config).model_fields["version"].default
    assert family.read(json.loads(json.dumps(stored))) == config
    assert family.read(name) == config and type(family.create(config)) is family.get(name)
    schema = TypeAdapter(dict[str, _annotated(family)]).json_schema()
    assert not list(jsonschema_rs.validator_for(schema).iter_errors({"a": stored, "b": name}))
    assert list(jsonschema_rs.validator_for(schema).iter_errors({"a": {**stored, "colour": 1}}))


def _annotated(family: Plugins[Any, Any]) -> Any:
    return Annotated[family.base, OneOf(family)]


@pytest.mark.parametrize(("path", "name"), MEMBERS)
def test_every_config_names_keys_that_it_does_not_have(path: str, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"colour = 1: unknown key; known here: .*"):
        FAMILIES[path].config(name, colour=1)
    with pytest.raises(InvalidInput, match="version"):
        FAMILIES[path].config(name, version=99)


def test_the_configs_of_this_package_load_no_torch() -> None:
    code = (
        "import sys\n"
        "from sparsemod.spec.methods import FAMILIES\n"
        "for family in FAMILIES.values(): [family.config(name) for name in family.names()]\n"
        "print([m for m in ('torch', 'scipy', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# -- pruning ---------------------------------------------------------------------------------------------------------------------


def pruned(name: str, module: nn.Module, kind: Any, epochs: int = 3) -> Any:
    """The method after a training in which momentum and weight decay work against its masks."""
    method = started(name, 0.5, module, kind.shape)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    for epoch in range(1, epochs + 1):
        method.before_epoch(epoch, epochs)
        for _ in range(2):
            module.train()
            optimizer.zero_grad()
            module(torch.randn(16, *kind.shape)).square().mean().backward()
            optimizer.step()
            method.after_step()
    return method


@pytest.mark.parametrize("kind", [Plain, Residual, Mlp])
@pytest.mark.parametrize("name", METHODS.names())
def test_every_pruning_plan_is_kept(name: str, kind: Any) -> None:
    module = seeded(kind)
    plan = METHODS.create(METHODS.config(name)).plan(
        capture(module, kind.shape), 0.5 if METHODS.config(name).has("sparsity") else 0.0, module.state_dict()
    )
    method = pruned(name, module, kind)
    method.finish()
    small = method.transform(module.eval(), kind.shape)
    x = torch.randn(5, *kind.shape)
    with torch.no_grad():
        torch.testing.assert_close(small(x), module(x), rtol=1e-4, atol=1e-4)
    graph = capture(small, kind.shape)
    if plan.exact:
        assert dict(plan.graph.shapes) == dict(graph.shapes)
    else:  # the trained weights decide; the outputs and the whole size are known
        assert plan.graph.shapes[plan.graph.output] == graph.shapes[graph.output]
    zeros = sum(int((weight == 0).sum()) for weight in prunable_weights(small).values())
    assert plan.zeros <= zeros


@pytest.mark.parametrize("epochs", [1, 2, 5])
@pytest.mark.parametrize("name", METHODS.names())
def test_every_pruning_method_ends_at_its_target(name: str, epochs: int) -> None:
    method = pruned(name, seeded(Plain), Plain, epochs)
    assert method.at_target and 0 <= method.sparsity < 1
    method.finish()


@pytest.mark.parametrize("kind", [Plain, Mlp])
@pytest.mark.parametrize("name", METHODS.names())
def test_every_pruning_method_continues_from_its_state(name: str, kind: Any) -> None:
    straight = started(name, 0.6, module := seeded(kind), kind.shape)
    for epoch in range(1, 4):
        straight.before_epoch(epoch, 6)
    again = started(name, 0.6, other := seeded(kind), kind.shape)
    again.load_state_dict(unpack(pack({"state": straight.state_dict()}))["state"])
    assert again.sparsity == straight.sparsity and again.at_target == straight.at_target
    for method in (straight, again):
        for epoch in range(4, 7):
            method.before_epoch(epoch, 6)
        assert method.at_target
    assert equal(module, other)


@pytest.mark.parametrize(
    "name", [n for n in METHODS.names() if "sparsity" in METHODS.config_of(n).model_fields]
)
def test_sparsity_zero_changes_nothing(name: str) -> None:
    module = seeded(Plain)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    method = started(name, 0.0, module, Plain.shape)
    assert method.at_target and method.sparsity == 0
    method.before_epoch(1, 2)
    method.after_step()
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())


@pytest.mark.parametrize("name", methods.PRUNING_SCHEDULES.names())
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
@settings(max_examples=20, deadline=None)
def test_every_pruning_schedule_rises_to_one(name: str, places: list[float]) -> None:
    schedule = methods.PRUNING_SCHEDULES.create(methods.PRUNING_SCHEDULES.config(name))
    shares = [schedule.share(p) for p in sorted(places)]
    assert shares == sorted(shares) and all(0 <= s <= 1 for s in shares)
    assert schedule.share(0.0) == 0 and schedule.share(1.0) == 1


# -- training --------------------------------------------------------------------------------------------------------------------

FOR_CLASSES = {
    registry.path: [name for name in registry.names() if registry.config_of(name).targets == "classes"]
    for registry in (LOSSES, METRICS)
}
"""The losses and metrics of classification; tests/test_tasks_*.py train the others."""

CHOICES = [
    *({"rule": RULES.config(name)} for name in RULES.names()),
    *({"loss": LOSSES.config(name)} for name in FOR_CLASSES["training.loss"]),
    *({"metric": METRICS.config(name)} for name in FOR_CLASSES["training.metric"]),
    *({"optimizer": optimizers.OPTIMIZERS.config(name)} for name in optimizers.OPTIMIZERS.names()),
    *({"schedule": SCHEDULES.config(name)} for name in SCHEDULES.names()),
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(c.name for c in choice.values()))
def test_every_choice_of_training_learns_repeats_and_resumes(choice: dict[str, Any]) -> None:
    settings, data = PLAIN.model_copy(update=choice), digits()
    kept: list[bytes] = []
    whole, again, continued = small_cnn(), small_cnn(), small_cnn(seed=8)
    outcome = train(whole, data, settings, epochs=4, seed=3, on_checkpoint=kept.append)
    assert outcome.best is not None
    assert outcome.curve[-1].train_loss < outcome.curve[0].train_loss
    assert 0 <= outcome.best.validation_error <= 1
    train(again, data, settings, epochs=4, seed=3)
    assert equal(whole, again)
    train(continued, data, settings, epochs=4, seed=3, resume=kept[1])
    assert equal(whole, continued)


@pytest.mark.parametrize("name", RULES.names())
@pytest.mark.parametrize("diverges", [False, True])
def test_every_rule_lets_the_module_go(name: str, diverges: bool) -> None:
    module = small_cnn()
    before = {path: dict(vars(layer)) for path, layer in module.named_modules()}
    rate = 1e30 if diverges else 0.01
    settings = PLAIN.model_copy(
        update={
            "rule": RULES.config(name),
            "learning_rate": rate,
            "optimizer": methods.OPTIMIZERS.config("sgd"),
        }
    )
    outcome = train(module, digits(), settings, epochs=2, seed=0)
    assert (outcome.diverged is not None) == diverges
    for path, layer in module.named_modules():
        assert vars(layer).keys() == before[path].keys(), f"{name} left something in {path}"
        assert not any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks))


@pytest.mark.parametrize("name", SCHEDULES.names())
@given(epochs=st.integers(1, 5), steps=st.integers(1, 7), warmup=st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_every_schedule_stays_positive_and_below_its_base(
    name: str, epochs: int, steps: int, warmup: int
) -> None:
    rate = LearningRate(2.0, SCHEDULES.config(name, warmup=warmup), epochs, steps)
    rates = [rate.at(step) for step in range(epochs * steps)]
    assert all(0 < rate <= 2.0 and math.isfinite(rate) for rate in rates)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS.names())
def test_every_optimizer_decays_weights_only(name: str) -> None:
    spec = TrainingSpec(optimizer=optimizers.OPTIMIZERS.config(name), weight_decay=0.1, learning_rate=0.1)
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    optimizer = optimizers.build(module, spec)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    linear, norm = module[0], module[1]
    assert isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
    assert (linear.weight < 1).all()
    assert all((tensor == 1).all() for tensor in (linear.bias, norm.weight, norm.bias))


@pytest.mark.parametrize("name", methods.AUGMENTATIONS.names())
def test_every_augmentation_keeps_shape_input_and_seed(name: str) -> None:
    (augment,) = augmentation.build([methods.AUGMENTATIONS.config(name)], (3, 12, 9))
    x = torch.randn(16, 3, 12, 9).contiguous(memory_format=torch.channels_last)
    kept = x.clone()
    first = augment(x, torch.Generator().manual_seed(1))
    assert torch.equal(x, kept), "the batch itself must not change"
    assert first.shape == x.shape and first.dtype == x.dtype and not torch.equal(first, x)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, augment(x, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, augment(x, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_is_a_mean_with_a_gradient(name: str) -> None:
    loss = LOSSES.create(LOSSES.config(name))
    kind = LOSSES.config_of(name).targets
    outputs = torch.randn(12, 5, *((2, 2) if kind == "pixels" else ()), requires_grad=True)
    whole = torch.arange(12).view(12, *[1] * (outputs.dim() - 2)).expand(12, *outputs.shape[2:]) % 5
    targets = whole if kind in ("classes", "pixels") else (torch.rand(12, 5) > 0.5).float()
    value = loss.mean(outputs, targets)
    assert value.shape == () and bool(value.isfinite())
    torch.testing.assert_close(loss.mean(torch.cat([outputs, outputs]), torch.cat([targets, targets])), value)
    (gradient,) = torch.autograd.grad(value, outputs)
    assert bool(loss.mean(outputs - 0.1 * gradient, targets) < value)
    if LOSSES.config(name).smooths:
        assert bool(loss.mean(outputs, targets, 0.2) != value)


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_is_zero_without_mistakes_and_finite_otherwise(name: str) -> None:
    metric, kind = METRICS.create(METRICS.config(name)), METRICS.config_of(name).targets
    rng = np.random.default_rng(0)
    classes, bits = np.arange(40) % 5, rng.integers(0, 2, (40, 5))
    grids = rng.integers(0, 3, (40, 4, 4))
    cases = {
        "classes": (np.eye(5)[classes], classes),
        "labels": (2.0 * bits - 1, bits),
        "values": (bits * 3.0, bits * 3.0),
        "normal": (bits[:, 0] * 1.0, bits[:, 0]),
        "pixels": (np.eye(3)[grids].transpose(0, 3, 1, 2), grids),
    }
    predictions, targets = cases[kind]
    assert metric.score(predictions, targets).value == pytest.approx(0.0, abs=1e-12)
    found = metric.score(rng.normal(size=predictions.shape), targets)
    assert 0 < found.value < 10 and 0 <= found.standard_error < 0.5


@pytest.mark.parametrize("name", FOR_CLASSES["training.metric"])
def test_every_metric_of_classes_is_a_fraction_and_zero_without_mistakes(name: str) -> None:
    metric = METRICS.create(METRICS.config(name))
    targets = np.arange(40) % 5
    outputs = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    found = metric.score(outputs, targets)
    assert 0 < found.value <= 1 and 0 <= found.standard_error < 0.5
    assert metric.score(np.eye(5, dtype=np.float32)[targets], targets).value == 0
    assert metric.score((outputs * 1000).astype(np.int32), targets) == found, "integer networks count alike"
    assert metric.score(outputs[:1], targets[:1]).value in (0.0, 1.0)


@pytest.mark.parametrize("name", METHODS.names())
def test_every_pruning_method_gets_data_and_gradients(name: str) -> None:
    found = context(module := seeded(Plain), Plain.shape, samples=300)
    method = METHODS.create(METHODS.config(name))
    method.start(found)
    assert [len(y) for _, y in found.batches()] == [256, 44]
    gradients = found.gradients()
    assert gradients.keys() == dict(module.named_parameters()).keys()
    x, y = found.samples.slice(0, 300)
    expected = torch.autograd.grad(found.loss(module.eval()(x), y), list(module.parameters()))
    for part, whole in zip(gradients.values(), expected, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-3, atol=1e-5)
    assert all(p.grad is None for p in module.parameters())
    part = found.gradients(10)
    assert not torch.equal(part["0.weight"], gradients["0.weight"])


# -- quantization ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("name", SCHEMES.names())
def test_every_scheme_counts_and_files(name: str, kind: Any) -> None:
    module, config = seeded(kind).eval(), SCHEMES.config(name)
    samples = torch.randn(16, *kind.shape)
    network = quantize(module, samples, config)
    graph = deployed(capture(module, kind.shape))
    assert network.input_shape == kind.shape
    assert isinstance(network, IntegerNetwork) == config.integer
    infos = network.layers_info()
    assert [i.name for i in infos] == [o.name for o in graph.operators]
    assert [i.kind for i in infos] == [o.kind for o in graph.operators]
    assert [i.output_shape for i in infos] == [graph.shapes[o.output] for o in graph.operators]
    weights = sum(graph.state[o.weight].numel() for o in graph.operators if o.weight)
    assert sum(i.weights for i in infos) == weights
    assert sum(i.weight_bytes for i in infos) == weights * config.storage.weight_bytes
    assert network.nonzeros() == sum(network.layer_nonzeros().values()) <= weights
    assert network.logits(samples.numpy()).shape == (16, infos[-1].output_shape[-1])
    assert network.weight_bytes() == sum(i.weight_bytes + i.bias_bytes for i in infos)
    kind_of: Any = type(network)
    again = kind_of.from_bytes(network.to_bytes())
    assert again.to_bytes() == network.to_bytes()
    assert np.array_equal(again.logits(samples), network.logits(samples))
    assert quantize(module, samples, config).to_bytes() == network.to_bytes()


@pytest.mark.parametrize("name", RANGES.names())
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50))
@settings(max_examples=25, deadline=None)
def test_every_rule_of_ranges_spans_something(name: str, values: list[float]) -> None:
    rule = RANGES.create(RANGES.config(name))
    array = np.array(values, np.float32)
    low, high = rule.span(np.array([array.min(), array.max()]) if rule.only_extremes else array)
    assert math.isfinite(low) and math.isfinite(high) and low <= high
