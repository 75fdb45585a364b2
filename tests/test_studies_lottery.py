"""Lottery experiments: plans, presets, ladders, histories, early stops, random controls, resuming, plots."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_cli_local import cli

from service.cli import main
from sparsemod.errors import Conflict, InvalidInput, NotFound
from sparsemod.files import digest_of
from sparsemod.networks.plan_text import conv_plan, fc_plan
from sparsemod.networks.zoo import network as zoo_network
from sparsemod.networks.zoo.plans import planned
from sparsemod.records import DataInfo
from sparsemod.report.layer_images import MOST_IMAGES, plot_conv, plot_fc
from sparsemod.report.lottery_plots import early_stop_points, lottery_figure, plot_accuracy_at_early_stop
from sparsemod.studies import lottery as module_under_test
from sparsemod.studies.lottery import LotteryRun, ladder, network, shares
from sparsemod.studies.lottery_spec import PRESETS, LotterySpec, lottery_spec
from sparsemod.studies.lottery_training import Histories, smallest_removed

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
GOLDEN = [
    ("lenet-mnist", "imp", 266610, [1.0, 0.8004, 0.6406, 0.5128]),
    ("lenet-mnist", "osp", 266610, [1.0, 0.8004, 0.6407, 0.5129]),
    ("conv2-cifar10", "imp", 4301642, [1.0, 0.801, 0.6416, 0.5141]),
    ("conv6-cifar10", "imp", 2262602, [1.0, 0.8254, 0.6819, 0.5639]),
    ("conv6-cifar10", "osp", 2262602, [1.0, 0.8254, 0.682, 0.564]),
    ("tiny-cifar10", "imp", 186402, [1.0, 0.8013, 0.6422, 0.5147]),
    ("tiny-cifar10", "osp", 186402, [1.0, 0.8013, 0.6422, 0.5149]),
]


@pytest.mark.parametrize(("preset", "method", "parameters", "stays"), GOLDEN)
def test_presets_have_the_published_counts(
    preset: str, method: str, parameters: int, stays: list[float]
) -> None:
    spec = lottery_spec(preset, method, {})
    info = DataInfo(name=spec.dataset.name, shape=SHAPES[spec.dataset.name], classes=10)
    with torch.device("meta"):
        net = network(spec, info)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert [round(float(x), 4) for x in shares(ladder(spec, net))] == stays


def test_five_presets() -> None:
    assert len(PRESETS) == 5
    for name in ("lenet-300-100", "conv-2", "conv-4", "conv-6", "tiny"):
        shape = (1, 28, 28) if name.startswith("lenet") else (3, 32, 32)
        assert zoo_network(name).build(shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)


def test_plans_are_built() -> None:
    net = planned((3, 8, 8), 5, "4B-A-6-M", "7", "tanh")
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == [
        "Conv2d", "BatchNorm2d", "Tanh", "AvgPool2d", "Conv2d", "Tanh", "MaxPool2d", "Flatten", "Linear", "Tanh", "Linear",
    ]  # fmt: skip
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert conv_plan("") == () and fc_plan("") == ()


@pytest.mark.parametrize("bad", ["64-X-M", "64B2", "-", "0", "64--M", "m", "1e3"])
def test_a_bad_item_of_a_plan_is_named(bad: str) -> None:
    with pytest.raises(InvalidInput, match=r"plan_conv = .* is none of them"):
        conv_plan(bad)
    with pytest.raises(InvalidInput, match=r"plan_conv = .*'X' is none of them"):
        lottery_spec("tiny-cifar10", "imp", {"plan_conv": "8-X"})
    with pytest.raises(InvalidInput, match=r"plan_fc = .*'M' is none"):
        fc_plan("30-M")


def test_unknown_presets_and_keys() -> None:
    with pytest.raises(InvalidInput, match=r"preset = 'lenet-minst'.*did you mean lenet-mnist"):
        lottery_spec("lenet-minst", "imp", {})
    with pytest.raises(InvalidInput, match=r"prune_rate_fc"):
        lottery_spec("lenet-mnist", "imp", {"prune_rate_fc": 1.5})


def test_the_smallest_weights_that_stay_go() -> None:
    weight = {"w": torch.tensor([[0.1, -3.0], [0.5, 2.0]])}
    masks = {"w": torch.tensor([[True, True], [True, False]])}
    (kept,) = smallest_removed(weight, masks, {"w": 2}).values()
    assert kept.tolist() == [[False, True], [True, False]], "a pruned weight does not return"


def small(method: str = "imp", **keys: Any) -> LotterySpec:
    return LotterySpec.model_validate(
        {
            "name": "digits", "method": method, "dataset": {"name": "digits", "limit": 500}, "plan_conv": "4-M", "plan_fc": "12",
            "net_count": 2, "prune_count": 2, "epoch_count": 3, "plot_step": 5, "learning_rate": 0.005, **keys,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imp")
    LotteryRun(small(), folder).run()
    return folder


def test_histories_have_the_stated_shapes(ran: Path) -> None:
    run = LotteryRun.of_folder(ran)
    with np.load(ran / "digits-histories.npz") as found:
        for name in ("train_loss", "val_loss", "val_acc", "test_acc"):
            assert found[name].shape == (2, 3, run.data_length)
            assert np.isfinite(found[name]).all()
        assert run.data_length == run.iterations // 5
        assert found["sparsity"].shape == (3,) and found["sparsity"][0] == 1
        assert (np.diff(found["sparsity"]) < 0).all()
        # early stop: the first smallest validation loss
        points = early_stop_points({name: found[name] for name in found.files})
        assert (found["early_stop"] == 5 * (points + 1)).all()
        assert found["train_loss"][:, :, -1].mean() < found["train_loss"][:, :, 0].mean()
    specs = json.loads((ran / "digits-specs.json").read_text())
    assert specs["spec"]["plan_conv"] == "4-M" and specs["seconds"] >= 0 and specs["device"] == "cpu"


def test_tickets_are_initial_values_of_the_weights_that_stay(ran: Path) -> None:
    entries = json.loads((ran / "lineage.json").read_text())

    def tensors(kind: str, net: int, level: int) -> dict[str, torch.Tensor]:
        (one,) = [e for e in entries if (e["kind"], e["net"], e["level"]) == (kind, net, level)]
        path = ran / "artifacts" / one["digest"].removeprefix("sha256:")
        assert digest_of(path.read_bytes()) == one["digest"]
        return load_file(path)

    known = {e["digest"] for e in entries}
    assert all(source in known for e in entries for source in e["from"])
    for net in (0, 1):
        start = tensors("start", net, 0)
        for level in (0, 1, 2):
            masks, ticket, trained = (tensors(kind, net, level) for kind in ("masks", "ticket", "trained"))
            for name, mask in masks.items():
                assert torch.equal(ticket[name], start[name] * mask)
                assert not trained[name][~mask].any()
                if level:
                    assert not (mask & ~tensors("masks", net, level - 1)[name]).any(), "masks are nested"
    assert not torch.equal(tensors("start", 0, 0)["conv1.weight"], tensors("start", 1, 0)["conv1.weight"])
    early = load_file(ran / "digits-early-stop0.safetensors")
    assert {name.split("/")[0] for name in early} == {"0", "1", "2"}
    final = load_file(ran / "digits-net0.safetensors")
    assert torch.equal(final["fc1.weight"], tensors("trained", 0, 2)["fc1.weight"])


def test_one_shot_pruning_starts_from_the_first_network(tmp_path: Path) -> None:
    run = LotteryRun(small("osp", net_count=1), tmp_path)
    run.run()
    first, last = run._level(0, 0), run._level(0, 2)
    for name, mask in last.masks.items():
        size = first.trained[name].abs()
        assert size[mask].min() >= size[~mask].max()


def test_late_rewinding(tmp_path: Path) -> None:
    early = LotteryRun(small(net_count=1, prune_count=1, rewind=4), tmp_path / "a")
    early.run()
    plain = LotteryRun(small(net_count=1, prune_count=1), tmp_path / "b")
    plain.run()
    name = "fc1.weight"
    assert torch.equal(early._level(0, 0).trained[name], plain._level(0, 0).trained[name])
    assert not torch.equal(early._level(0, 0).start[name], plain._level(0, 0).start[name])
    assert not torch.equal(early._level(0, 1).trained[name], plain._level(0, 1).trained[name])


def test_random_reinitializations_keep_the_masks(ran: Path) -> None:
    run = LotteryRun.of_folder(ran)
    last = run.random(1, 2, first=2)
    found = run.random(1, 2)
    assert (
        np.array_equal(last["val_acc"], found["val_acc"][:, 1:]) and last["sparsity"] == found["sparsity"][1:]
    )
    assert found["val_acc"].shape == (2, 2, run.data_length) and found["sparsity"].shape == (2,)
    assert (ran / "digits-random-histories1.npz").is_file()
    ticket, control = run._level(1, 2), run._random_part(1, 0, 2, run._level(1, 2))
    for name, mask in ticket.masks.items():
        assert torch.equal(control.masks[name], mask) and not control.trained[name][~mask].any()
    assert not torch.equal(control.start["fc1.weight"], ticket.start["fc1.weight"])
    with pytest.raises(InvalidInput, match=r"--net = 2: 0 to 1"):
        run.random(2, 1)
    with pytest.raises(InvalidInput, match="first = 3: 1 to 2"):
        run.random(1, 1, first=3)


def test_an_interrupted_experiment_goes_on(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, count = module_under_test.train_masked, 0

    def stops(*arguments: Any, **named: Any) -> Histories:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return inner(*arguments, **named)

    monkeypatch.setattr(module_under_test, "train_masked", stops)
    with pytest.raises(KeyboardInterrupt):
        LotteryRun(small(), tmp_path).run()
    LotteryRun(small(), tmp_path).run()
    assert count == 7, "no training is repeated but the interrupted one"
    assert (tmp_path / "digits-histories.npz").read_bytes() == (ran / "digits-histories.npz").read_bytes()
    assert (tmp_path / "lineage.json").read_text() == (ran / "lineage.json").read_text()
    with pytest.raises(Conflict, match=r"epoch_count was 3, now 4"):
        LotteryRun(small(epoch_count=4), tmp_path)
    with pytest.raises(NotFound, match=r"one file \*-specs\.json"):
        LotteryRun.of_folder(tmp_path / "none")


def histories(levels: list[float], nets: int = 2) -> dict[str, Any]:
    """Losses with the smallest value at a known point, accuracies equal to the point's number in percent."""
    points = 4
    loss = np.ones((nets, len(levels), points))
    for level in range(len(levels)):
        loss[:, level, level % points] = 0.5
    accuracy = np.broadcast_to(np.arange(points) / 100, loss.shape)
    return {
        "train_loss": loss, "val_loss": loss, "val_acc": accuracy, "test_acc": accuracy, "sparsity": np.array(levels),
        "plot_step": np.array(10),
    }  # fmt: skip


def test_the_plots_show_the_early_stops() -> None:
    tickets, random = histories([1.0, 0.5, 0.25]), histories([0.5, 0.25])
    figure = lottery_figure("test", tickets, random)
    averages, accuracy, iterations = figure.axes[0], figure.axes[4], figure.axes[5]
    styles = [(line.get_linestyle(), line.get_color()) for line in averages.get_lines()]
    assert styles == [("--", "C0"), ("-", "C1"), (":", "C1"), ("-", "C2"), (":", "C2")]
    solid, dashed, dotted = accuracy.get_lines()
    assert list(solid.get_xdata()) == [100, 50, 25] and list(solid.get_ydata()) == [0, 1, 2]
    assert dashed.get_linestyle() == "--" and dashed.get_ydata()[0] == 0
    assert dotted.get_linestyle() == ":" and dotted.get_color() == solid.get_color()
    assert list(iterations.get_lines()[0].get_ydata()) == [10, 20, 30]
    assert accuracy.get_xscale() == "log" and accuracy.xaxis_inverted()
    # several experiments on one pair of axes
    plot_accuracy_at_early_stop(accuracy, tickets, label="other", colour="C3")
    assert accuracy.xaxis_inverted() and len(accuracy.get_lines()) == 5


def test_layers_as_images() -> None:
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(5, 8))
    matrix[0, 0] = matrix[3, 7] = 0
    (figure,) = plot_fc({"fc1.weight": matrix, "fc1.bias": np.zeros(5)}).values()
    image, density, _ = figure.axes
    assert image.collections[0].get_offsets().tolist() == [[0, 0], [7, 3]], "masked weights are marked"
    assert "5.0 % masked" in figure.get_suptitle()
    assert sum(patch.get_width() * patch.get_height() for patch in density.patches) == pytest.approx(1)
    kernels = {
        "conv1.weight": generator.normal(size=(4, 3, 3, 3)),
        "conv2.weight": generator.normal(size=(30, 30, 3, 3)),
    }
    colour, single = plot_conv(kernels).values()
    assert "first" not in colour.get_suptitle()
    assert f"the first {MOST_IMAGES} of 900 images" in single.get_suptitle()
    with pytest.raises(InvalidInput, match="most = 0"):
        plot_conv(kernels, 0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = cli(capsys, "lottery", "imp", "lenet-mnist", "--list")
    assert '"plan_fc": "300-100"' in printed and "266,610" in printed
    assert "1.0000, 0.8004, 0.6406, 0.5128" in printed
    words = (
        "lottery", "imp", "lenet-mnist", "--dataset", "digits", "--limit", "400", "--plan-fc", "8", "--nets", "1", "--rounds",
        "1", "--epochs", "1", "--plot-step", "2", "--out", str(tmp_path),
    )  # fmt: skip
    printed = cli(capsys, *words)
    assert "net 0, level 1" in printed
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "lenet-mnist-specs.json",
        "lenet-mnist-histories.npz",
        "lenet-mnist-plots.svg",
        "lenet-mnist-plots.pdf",
    } <= names
    assert "lenet-mnist-layer-fc1.png" in names
    cli(capsys, "lottery", "random", str(tmp_path), "--nets", "2")
    assert (tmp_path / "lenet-mnist-plots-random0.svg").is_file()
    with pytest.raises(SystemExit):
        main(["lottery", "imp", "lenet-mnist", "--plan-conv", "8-Q"])
    assert "'Q' is none of them" in capsys.readouterr().err
