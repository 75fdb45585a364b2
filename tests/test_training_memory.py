"""Memory traces of one training iteration: sums, peaks, prediction, growth with depth, the metric and the command."""

import re

import pytest
import torch
from support_cli import cli
from support_trials import tiny_spec
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from sparsemod.networks.zoo import network
from sparsemod.pipeline import training_memory
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.memory_plot import memory_figure
from sparsemod.pipeline.training_memory import by_rule, predicted
from sparsemod.records import DataInfo, TrialState
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import memory_trace
from sparsemod.training.memory_trace import parse, trace_iteration
from sparsemod.training.optimizers import OPTIMIZERS
from sparsemod.training.rules import RULES

MIB = 2**20


def convolutions(depth, channels=20, size=16):
    """As many convolutions as `depth`, each with 5,120 outputs, and a linear layer."""
    layers, before = [], 1
    for _ in range(depth):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 10))


def traced(module, name, shape, samples, device="meta"):
    module = module.to(device).train()
    rule = RULES.create(RULES.config(name))
    rule.start(module, 0)
    batch = (
        torch.randn(samples, *shape, device=device),
        torch.zeros(samples, dtype=torch.int64, device=device),
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    found = trace_iteration(module, rule, batch, functional.cross_entropy, optimizer)
    rule.finish()
    return found


@pytest.mark.parametrize("name", RULES.names())
def test_deltas_add_up_and_the_peak_is_the_largest_total(name):
    trace = traced(convolutions(3, 4, 8), name, (1, 8, 8), 6, "cpu")
    total = 0
    for event in trace.events:
        total += event.delta
        assert event.total == total >= 0
    assert trace.peak == max(event.total for event in trace.events)
    moments = [event.microseconds for event in trace.events]
    assert moments == sorted(moments)
    assert trace.events[-1].total == sum(trace.baseline.values()), "the iteration leaves nothing behind"
    assert sum(trace.at_peak.values()) == trace.peak == sum(trace.by_layer().values())
    assert parse(trace.text()) == trace.events
    assert all(re.fullmatch(r"\d+ \d+ -?\d+ \S+", line) for line in trace.text().splitlines())


def test_what_exists_before_is_the_baseline():
    module = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    trace = traced(module, "dfa", (7,), 4, "cpu")
    parameters = 4 * (7 * 5 + 5 + 5 + 5 + 5 * 3 + 3)
    assert trace.baseline == {
        "parameters": parameters, "buffers": 4 * 10 + 8, "batch": 4 * 4 * 7 + 8 * 4, "feedback": 4 * 3 * 5,
    }  # fmt: skip


def test_operations_are_named_by_phase_and_layer():
    names = {event.operation for event in traced(convolutions(2, 4, 8), "bp", (1, 8, 8), 6, "cpu").events}
    assert {
        "forward/0/convolution",
        "forward/1/relu",
        "backward/2/convolution_backward",
        "forward/6/addmm",
    } <= names


@pytest.mark.parametrize("name", ["bp", "dfa", "mem-dfa", "fa"])
def test_the_prediction_without_values_equals_the_trace(name):
    for module, shape in (
        (convolutions(3, 4, 8), (1, 8, 8)),
        (network("wrn-10-0.25").build((3, 8, 8), 4), (3, 8, 8)),
    ):
        real = traced(module, name, shape, 5, "cpu")
        shadow = traced(module, name, shape, 5)
        assert (real.peak, real.beyond, real.peak_operation) == (
            shadow.peak,
            shadow.beyond,
            shadow.peak_operation,
        )
        assert real.baseline == shadow.baseline and real.events[-1].total == shadow.events[-1].total


@pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
def test_the_prediction_knows_the_state_of_every_optimizer(optimizer):
    info = DataInfo(name="x", shape=(6,), classes=3)
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    settings = TrainingSpec(batch_size=4, optimizer=OPTIMIZERS.config(optimizer))
    shadow, real = predicted(module, info, settings), training_memory.traced(module, info, settings, "cpu")
    assert shadow.baseline == real.baseline and shadow.peak == real.peak


def test_the_peak_of_mem_dfa_does_not_grow_with_depth():
    def beyond(name, depth):
        return traced(convolutions(depth), name, (1, 16, 16), 100).beyond / MIB

    flat = [beyond("mem-dfa", depth) for depth in (5, 10, 20, 40)]
    assert max(flat) - min(flat) < 0.01 * min(flat)
    assert flat[0] == pytest.approx(7.8, rel=0.1)
    growing = [beyond("bp", depth) for depth in (5, 10, 20, 40)]
    assert growing == pytest.approx([13.9, 23.6, 43.2, 82.2], rel=0.1)


def test_the_published_memory_of_vgg16():
    with torch.device("meta"):
        module = network("vgg-16-fc").build((3, 32, 32), 10)
    assert traced(module, "bp", (3, 32, 32), 100).beyond / MIB == pytest.approx(256, rel=0.01)
    assert traced(module, "mem-dfa", (3, 32, 32), 100).beyond / MIB == pytest.approx(113, rel=0.01)


def test_gradients_that_are_kept_for_clipping_count():
    module = convolutions(6)
    info = DataInfo(name="x", shape=(1, 16, 16), classes=10)
    free = predicted(module, info, TrainingSpec(rule=RULES.config("mem-dfa"), batch_size=8))
    clipped = predicted(
        module, info, TrainingSpec(rule=RULES.config("mem-dfa"), batch_size=8, gradient_clip=1.0)
    )
    assert clipped.peak > free.peak
    assert all(not parameter.is_meta for parameter in module.parameters())


def test_the_rule_of_the_spec_is_traced_with_its_keys():
    info = DataInfo(name="x", shape=(1, 16, 16), classes=10)
    settings = TrainingSpec(rule=RULES.config("dfa", matrices="seed"), batch_size=4)
    traces = by_rule(convolutions(2, 4), info, settings, ["dfa", "mem-dfa"])
    assert "feedback" not in traces["dfa"].baseline and traces["mem-dfa"].baseline["feedback"] > 0


def test_the_plot_shows_every_rule_with_its_peak():
    info = DataInfo(name="x", shape=(1, 16, 16), classes=10)
    traces = by_rule(convolutions(4), info, TrainingSpec(batch_size=8), ["bp", "mem-dfa"])
    text = memory_figure(traces).decode()
    assert text.startswith("<?xml") and len(text) > 5000
    assert memory_figure(traces, "png").startswith(b"\x89PNG")


def test_training_memory_is_a_metric_a_budget_and_the_rule_a_parameter(tmp_path):
    spec = tiny_spec(
        "cnn",
        rounds={
            "r1": {"trials": 4, "epochs": 1},
            "r2": {"trials": 0, "epochs": 1},
            "r3": {"trials": 0, "epochs": 1},
        },
        space={
            "rule": ["bp", "mem-dfa"],
            "batch_size": [16, 64],
            "blocks": 1,
            "b1_layers": 2,
            "head": "average",
            "dense": 0,
        },
        objectives=["error", "training_memory"],
        budgets=["training_memory <= 8 MB"],
    )
    run = LocalRun(spec, tmp_path)
    run.run()
    found = [trial for trial in run.trials if trial.result.state is TrialState.COMPLETED]
    assert found
    for trial in found:
        (memory,) = [one for one in trial.result.measurements if one.metric == "training_memory"]
        parameters = trial.candidate.parameters
        assert parameters["rule"] in memory.method and 0 < memory.value <= 8 * MIB
        assert memory.detail["parameters"] > 0 and memory.unit == "B"


def test_the_command_writes_a_trace_for_each_rule(capsys, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text("dataset: {name: digits}\nnetwork: {family: mlp}\ntraining: {batch_size: 32}\n")
    shown = cli(
        capsys, "trace", str(spec), "--rule", "bp", "--rule", "mem-dfa", "--out", str(tmp_path / "out")
    )
    assert "mem-dfa" in shown and "reached by" in shown
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["bp.svg", "bp.txt", "mem-dfa.svg", "mem-dfa.txt", "memory.svg"]
    events = parse((tmp_path / "out" / "bp.txt").read_text())
    assert sum(event.delta for event in events) == events[-1].total
    assert "bp" in cli(capsys, "trace", str(spec), "--predict", "--batch-size", "1000000")
    cli(capsys, "trace", str(spec), "--rule", "nothing", code=2)


def test_tensors_of_the_host_do_not_count_on_an_accelerator(monkeypatch):
    """The matrices are drawn on the host; the meta device stands for a GPU, which has their copies."""
    assert memory_trace._counted(torch.device("cuda", 1)) == ("cuda",)
    module = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 10))
    settings = TrainingSpec(rule=RULES.config("fa", matrices="seed"), batch_size=4)
    info = DataInfo(name="x", shape=(300,), classes=10)
    on_host = predicted(module, info, settings)
    monkeypatch.setattr(memory_trace, "_counted", lambda device: (device.type,))
    alone = predicted(module, info, settings)
    assert any("randn" in event.operation for event in on_host.events)
    assert not any("randn" in event.operation for event in alone.events)
    assert (
        0 < alone.beyond <= on_host.beyond
        and sum(event.delta for event in alone.events) == alone.events[-1].total
    )


@pytest.mark.parametrize("name", ["bp", "dfa", "mem-dfa"])
def test_the_peak_is_that_of_torchs_profiler(name):
    """For layers without workspace; the state of the random numbers, which mem-dfa keeps, is no result of an operation."""
    module = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 10))
    trace = traced(module, name, (30,), 32, "cpu")
    rule = RULES.create(RULES.config(name))
    rule.start(module, 0)
    batch = torch.randn(32, 30), torch.zeros(32, dtype=torch.int64)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)

    def update():
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def iteration():
        rule.gradients(*batch, functional.cross_entropy)
        update()

    rule.update = update
    iteration()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        iteration()
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    total = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    kept = torch.get_rng_state().numel() if name == "mem-dfa" else 0
    assert total == 0 and trace.beyond <= peak <= trace.beyond + kept


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ["bp", "mem-dfa"])
def test_the_peak_on_a_gpu_is_that_of_its_allocator(name):
    """The allocator rounds each tensor up to a multiple of 512 bytes."""
    device = torch.device("cuda")
    module = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 500), nn.ReLU(), nn.Linear(500, 10))
    trace = traced(module, name, (300,), 256, device)
    rule = RULES.create(RULES.config(name))
    rule.start(module, 0)
    batch = torch.randn(256, 300, device=device), torch.zeros(256, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)

    def update():
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    rule.update = update
    for _ in range(2):  # the first iteration makes feedback matrices and workspace
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        rule.gradients(*batch, functional.cross_entropy)
        update()
        peak = torch.cuda.max_memory_allocated() - before
    assert trace.beyond <= peak <= trace.beyond + 512 * len(trace.events)
