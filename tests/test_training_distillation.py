"""Training with a teacher: the losses against their definitions, the cache, teachers of the zoo, of files and of trials."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from support_training import digits, equal, small_cnn
from support_trials import tiny_spec
from torch import nn
from torch.nn import functional

from sparsemod.errors import EnvironmentFailure, InvalidInput, InvalidSpec
from sparsemod.networks.zoo import network
from sparsemod.pipeline import teacher as teachers
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.stored_weights import file_weights, load_into
from sparsemod.records import DataInfo, TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.teacher import TeacherSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.studies.lottery import LotteryRun
from sparsemod.studies.lottery_spec import lottery_spec
from sparsemod.training import train
from sparsemod.training.distillation import Distillation, attention, softened

FAST = {"batch_size": 64, "learning_rate": 3e-3}


def settings(**teacher):
    return TrainingSpec.model_validate_json(
        TrainingSpec(**FAST).model_copy(update={"teacher": TeacherSpec(**{"network": "resnet-8", "epochs": 1, **teacher})}).model_dump_json()
    )  # fmt: skip


def test_softened_outputs_equal_the_definition():
    torch.manual_seed(0)
    ours, theirs = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    p, q = torch.softmax(theirs / 4, 1), torch.softmax(ours / 4, 1)
    wanted = 16 * float((p * (p / q).log()).sum()) / 5
    assert float(softened(ours, theirs, 4.0)) == pytest.approx(wanted)
    assert float(softened(theirs, theirs, 4.0)) == pytest.approx(0, abs=1e-12)


def test_attention_maps_equal_the_definition():
    torch.manual_seed(1)
    x = torch.randn(2, 3, 4, 5)
    maps = attention(x)
    for sample in range(2):
        mean = sum(x[sample, c].flatten() ** 2 for c in range(3)) / 3
        torch.testing.assert_close(maps[sample], mean / math.sqrt(float((mean**2).sum())))


def test_attention_maps_of_float16_are_float32():
    maps = attention(torch.full((1, 3, 2, 2), 300.0, dtype=torch.float16))  # the square exceeds float16
    torch.testing.assert_close(maps, torch.full((1, 4), 0.5))


def test_the_loss_is_the_weighted_sum():
    torch.manual_seed(2)
    module, teacher = small_cnn(1).eval(), small_cnn(2)
    spec = TeacherSpec(network="resnet-8", epochs=1, alpha=0.3, beta=50.0, temperature=2.0, taps=("2", "4=4"))
    taught = Distillation(module, teacher, spec)
    x, y = torch.randn(6, 1, 8, 8), torch.randint(0, 10, (6,))
    loss = taught.loss(x, torch.arange(6), functional.cross_entropy)
    value = loss(module(x), y)
    with torch.no_grad():
        ours, theirs = [], []
        for net, kept in ((module, ours), (teacher, theirs)):
            z = x
            for place, layer in enumerate(net):
                z = layer(z)
                if place in (2, 4):
                    kept.append(attention(z))
            kept.append(z)
        wanted = 0.7 * functional.cross_entropy(ours[2], y) + 0.3 * softened(ours[2], theirs[2], 2.0)
        wanted += 25.0 * sum(((a - b) ** 2).mean() for a, b in zip(ours[:2], theirs[:2], strict=True))
    torch.testing.assert_close(value.detach(), wanted)
    value.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in module.parameters())
    taught.finish()
    assert not any(layer._forward_hooks for net in (module, teacher) for layer in net.modules())


def test_cached_outputs_equal_those_of_a_run_and_the_teacher_runs_once_per_sample():
    data = digits()
    results = []
    for augmented in (False, True):
        module, teacher, seen = small_cnn(3), small_cnn(4), 0

        def count(_, given):
            nonlocal seen
            seen += len(given[0])

        teacher.register_forward_pre_hook(count)
        chosen = settings(alpha=0.5, beta=10.0, taps=("2",))
        if augmented:  # an augmentation that changes nothing
            chosen = TrainingSpec.model_validate_json(
                json.dumps(
                    chosen.model_dump(mode="json") | {"augmentation": [{"name": "noise", "deviation": 0.0}]}
                )
            )
        train(module, data, chosen, epochs=3, seed=5, teacher=teacher)
        results.append((module, seen))
    (plain, once), (noisy, often) = results
    assert once == len(data.train) and often == 3 * len(data.train)
    for a, b in zip(plain.parameters(), noisy.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_teacher_changes_the_training_and_resumes_to_the_same_weights():
    data, kept = digits(), []
    alone, taught, resumed = small_cnn(6), small_cnn(6), small_cnn(6)
    train(alone, data, TrainingSpec(**FAST), epochs=2, seed=1)
    chosen = settings(alpha=0.9, beta=0.0)
    train(taught, data, chosen, epochs=2, seed=1, teacher=small_cnn(7), on_checkpoint=kept.append)
    train(resumed, data, chosen, epochs=2, seed=1, teacher=small_cnn(7), resume=kept[0])
    assert not equal(alone, taught)
    assert equal(taught, resumed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "run#3"}, "go with a network of the zoo"),
        ({"network": "run#three", "epochs": None}, "neither a network of the zoo nor FOLDER#TRIAL"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_mistakes_of_a_teacher_are_named(change, words):
    teacher = {"network": "resnet-8", "epochs": 1, **change}
    with pytest.raises(InvalidSpec, match=words) as raised:
        tiny_spec(training={"batch_size": 64, "teacher": teacher})
    assert raised.value.field.startswith("training.teacher")


def test_taps_that_do_not_fit_are_named():
    spec = TeacherSpec(network="resnet-8", epochs=1, taps=("2", "nothing"))
    with pytest.raises(InvalidInput, match="nothing"):
        Distillation(small_cnn(), small_cnn(), spec)
    with pytest.raises(InvalidInput, match="name 0 and 0 taps"):
        Distillation(small_cnn(), small_cnn(), TeacherSpec(network="resnet-8", epochs=1))
    taught = Distillation(small_cnn(), small_cnn(), TeacherSpec(network="resnet-8", epochs=1, taps=("2=4",)))
    x = torch.zeros(2, 1, 8, 8)
    loss = taught.loss(x, torch.arange(2), functional.cross_entropy)
    with pytest.raises(InvalidInput, match="outputs of one size: 64 positions, the teacher's 4"):
        loss(taught.module(x), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InvalidInput, match="the teacher's network"):
        train(small_cnn(), digits(), settings(beta=0.0, alpha=1.0), epochs=1, seed=0)


def test_networks_of_the_zoo_name_taps_of_one_size():
    net, teacher = network("wrn-10-0.25").build((1, 8, 8), 10), network("wrn-10-0.5").build((1, 8, 8), 10)
    taught = Distillation(net, teacher, TeacherSpec(network="wrn-10-0.5", epochs=1))
    x = torch.randn(3, 1, 8, 8)
    value = taught.loss(x, torch.arange(3), functional.cross_entropy)(net(x), torch.tensor([1, 2, 3]))
    assert value.isfinite()


@pytest.mark.long
def test_trials_learn_from_a_network_of_the_zoo_a_file_and_a_trial(tmp_path):
    base = {
        "name": "taught", "dataset": {"name": "digits", "limit": 300}, "measure": {"device": "model"},
        "network": {"family": "zoo", "options": {"networks": "wrn-10-0.125"}}, "space": {"learning_rate": [1e-2]},
        "source": {"name": "grid", "epochs": 1},
    }  # fmt: skip

    def result(teacher, name):
        training = {"batch_size": 100} | ({} if teacher is None else {"teacher": teacher})
        local = LocalRun(ExperimentSpec.parse({**base, "training": training}), tmp_path / name)
        local.run()
        (trial,) = local.trials
        assert trial.result.state is TrialState.COMPLETED, trial.result.failure
        return trial.result.curve[-1].train_loss

    alone = result(None, "alone")
    teachers._TRAINED.clear()
    first = result({"network": "wrn-10-0.125", "epochs": 1, "beta": 10.0}, "zoo")
    assert first != alone and len(teachers._TRAINED) == 1
    other = result({"network": f"{tmp_path / 'alone'}#0", "alpha": 0.5, "beta": 10.0}, "trial")
    assert other not in (alone, first)
    net = network("wrn-10-0.25").build((1, 8, 8), 10)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    file = {"network": "wrn-10-0.25", "weights": str(tmp_path / "net.safetensors"), "beta": 10.0}
    assert result(file, "file") != alone


def test_a_teacher_that_does_not_fit_is_named(tmp_path):
    field = "training.teacher.weights"
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InvalidInput, match="weights of this network"):
        load_into(nn.Linear(1, 1), file_weights(tmp_path / "x.safetensors", field), field, "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"no")
    with pytest.raises(InvalidInput, match=r"a \.safetensors file"):
        file_weights(tmp_path / "y.safetensors", field)
    with pytest.raises(
        EnvironmentFailure, match=r"training.teacher.weights = '.*z.safetensors': no such file"
    ):
        file_weights(tmp_path / "z.safetensors", field)


@pytest.mark.parametrize(
    ("training", "space", "field", "words"),
    [
        ({"teacher": {"network": "wrn-99"}}, {}, "training.teacher.network", "wrn-28-10"),
        ({"rule": "dfa", "teacher": {"network": "resnet-8"}}, {}, "training.teacher.beta", "0 with the rule dfa"),
        ({"teacher": {"network": "resnet-8"}}, {"rule": ["bp", "fa"]}, "training.teacher.beta", "0 with the rule fa"),
        ({"auxiliary": 0.4}, {"rule": ["bp", "fa"]}, "training.auxiliary", "0 with the rule fa"),
        ({}, {"rule": ["bp", "memdfa"]}, "space.rule", "did you mean mem-dfa"),
    ],
)  # fmt: skip
def test_a_spec_whose_trials_must_all_fail_is_refused(training, space, field, words):
    spec = tiny_spec("cnn", training=training, space=space)
    with pytest.raises(InvalidSpec, match=words) as raised:
        Problem.of(spec, DataInfo(name="digits", shape=(1, 8, 8), classes=10))
    assert raised.value.field == field


def test_lottery_runs_learn_from_a_teacher_of_the_zoo(tmp_path):
    changes = {
        "dataset": {"name": "digits", "limit": 300}, "plan_fc": "12", "net_count": 1, "prune_count": 1, "epoch_count": 1,
        "plot_step": 1, "batch_size": 100, "seed": 4,
    }  # fmt: skip
    taught = {"network": "lenet-300-100", "epochs": 2, "alpha": 1.0, "beta": 0.0}
    runs = {}
    for name, teacher in (("alone", None), ("taught", taught)):
        lines = []
        spec = lottery_spec("lenet-mnist", "imp", {**changes, "teacher": teacher})
        run = LotteryRun(spec, tmp_path / name, report=lines.append)
        runs[name] = run.run()["train_loss"]
        trained = [line for line in lines if "training the teacher lenet-300-100 for 2 epochs" in line]
        assert len(trained) == (teacher is not None)
    assert runs["alone"].shape == runs["taught"].shape and (runs["alone"] != runs["taught"]).all()
    assert not any(layer._forward_hooks for layer in run.teacher.modules())
    again = LotteryRun(spec, tmp_path / "taught")
    assert (again.run()["train_loss"] == runs["taught"]).all(), "the same spec continues the experiment"
