"""Counts of published networks, the command `count`, and settings that meet budgets."""

import pytest
import torch
from support_cli import cli

from service.cli import main
from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.networks.family import create_family
from sparsemod.networks.zoo import NETWORKS, network
from sparsemod.networks.zoo.catalogue import DATASETS
from sparsemod.pipeline.substituted import device_cost, fit_budget
from sparsemod.records import DataInfo
from sparsemod.substitutes import SUBSTITUTES, create, substitute
from sparsemod.substitutes.budget import fit
from sparsemod.substitutes.costs import multiply_adds_of, parameters_of
from sparsemod.substitutes.counting import count
from sparsemod.substitutes.legacy import dated
from sparsemod.substitutes.published import PUBLISHED, RULES, bare, counted, reproduced


@pytest.mark.slow(every=8)
@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: f"{one.network}-{one.substitute}-{one.counter}")
def test_published_counts_are_reproduced(one):
    found = counted(one.network, one.substitute, one.dataset, one.skip, RULES[one.counter])[0]
    assert one.same(found), found


@pytest.mark.parametrize(
    "one", [one for one in PUBLISHED if one.network == "wrn-28-10"], ids=lambda one: one.substitute
)
def test_published_parameters_are_reproduced_by_the_formulas(one):
    assert parameters_of(bare("wrn-28-10", "cifar10"))(dated(one.substitute)) == pytest.approx(
        one.parameters, rel=1e-6 if one.digits else 0
    )


def test_the_table_holds_every_published_count():
    assert len(PUBLISHED) >= 41
    assert next(reproduced())[0] is PUBLISHED[0]


def test_a_changed_count_is_reported():
    one = PUBLISHED[0]
    found = counted("wrn-10-1", "Conv", "cifar10")[0]
    assert not one.same(found)
    assert found.parameters == found.reached


def test_the_legacy_counters_count_acdc_layers_by_their_formula():
    with torch.device("meta"):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 8, 3, 2, 1, dilation=2))
    substitute(net, "ACDC_3")
    size, depthwise = (
        3 * 3,
        9 * 4,
    )  # the input has 6 x 6 positions; with dilation 2 the output has 2 x 2, without 3 x 3
    stem, each = 3 * 4 * 36, 2 * (4 * 8 + 5 * 8 * 3)
    assert count(net, (3, 6, 6), RULES["legacy"]).multiply_adds == stem + size * depthwise + each * 36
    assert count(net, (3, 6, 6), RULES["legacy-2018"]).multiply_adds == stem + size * depthwise + 64 * 36
    assert count(net, (3, 6, 6)).multiply_adds == stem + 4 * (depthwise + 8 * 4)


def test_a_parameter_beside_the_run_fails_the_sanity_check():
    with torch.device("meta"):
        net = network("wrn-10-1").build((3, 8, 8), 10)
        net.register_parameter("stray", torch.nn.Parameter(torch.empty(16)))
    found = count(net, (3, 8, 8))
    assert found.parameters - found.reached == 16


@pytest.mark.parametrize(
    ("name", "dataset", "parameters"),
    [
        ("resnet-18", "imagenet", 11_689_512), ("resnet-50", "imagenet", 25_557_032), ("shufflenet-3", "imagenet", 1_865_728),
        ("wrn-40-4", "cifar10", 8_949_210), ("resnet-110", "cifar10", 1_730_714), ("wrn-16-8", "cifar100", 11_007_540),
        # He et al.'s networks with projections; VGG with batch norm and one linear layer; MobileNetV2 of torchvision
        ("resnet-8", "cifar10", 78_042), ("resnet-20", "cifar10", 272_474), ("resnet-32", "cifar10", 466_906), ("resnet-56", "cifar10", 855_770),
        ("vgg-11-bn", "cifar10", 9_231_114), ("vgg-13-bn", "cifar10", 9_416_010), ("vgg-16-bn", "cifar10", 14_728_266),
        ("vgg-19-bn", "cifar10", 20_040_522), ("mobilenetv2", "imagenet", 3_504_872),
        ("conv-2", "cifar10", 4_301_642), ("conv-4", "cifar10", 2_425_930), ("conv-6", "cifar10", 2_262_602), ("tiny", "cifar10", 186_402),
    ],
)  # fmt: skip
def test_parameters_of_further_networks(name, dataset, parameters):
    assert counted(name, "none", dataset)[0].parameters == parameters


@pytest.mark.parametrize("entry", NETWORKS, ids=lambda entry: entry.example)
def test_every_network_runs_and_names_its_taps(entry):
    shape, classes = DATASETS[entry.images]
    small = {"darts": "darts-4-4", "wrn-28-10": "wrn-10-0.25"}.get(entry.example, entry.example)
    with torch.device("meta"):
        net = network(small).build(shape, classes).eval()
        assert net(torch.empty(2, *shape)).shape == (2, classes)
    names = dict(net.named_modules())
    assert net.taps and all(tap in names for tap in net.taps)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrn-27-10", "6 n"),
        ("densenet-23", "6 n"),
        ("resnet-19", "6 n"),
        ("wrn-28", "wrn-28-10"),
        ("alexnet", "resnet-20"),
        ("darts-0-4", "numbers above 0"),
        ("darts-4-0", "numbers above 0"),
        ("resnet-9999998", "up to 2000"),
        ("mobilenetv2-0.01", "1/16"),
    ],
)
def test_unknown_networks_say_what_is_known(name, words):
    with pytest.raises(InvalidInput, match=words), torch.device("meta"):
        network(name).build((3, 32, 32), 10)


def test_the_family_zoo_builds_from_names():
    info = DataInfo(name="images", shape=(3, 16, 16), classes=4)
    family = create_family("zoo", {"networks": "wrn-10-0.25, resnet-8"})
    assert family.space(info).parameter("network").values == ("wrn-10-0.25", "resnet-8")
    net = family.build({"network": "wrn-10-0.25"}, info)
    assert net(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    with pytest.raises(UnknownName) as raised:
        create_family("zoo", {"networks": "lenet"})
    assert raised.value.field == "network.options.networks"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("SepHashed", 1.0e6), ("Hashed", 1e6), ("Generic", 1e6), ("TensorTrain", 9e5), ("Tucker", 7e5), ("CP", 7e5),
        ("ACDC", 8e5), ("Shuffle", 5.6e5), ("Monarch", 1e6), ("TensorTrain_d4", 9e5),
    ],
)  # fmt: skip
def test_settings_meet_a_budget_of_parameters(name, target):
    cost = parameters_of(bare("wrn-28-10", "cifar10"))
    found = fit(create(name, free=True), target, cost)
    assert found.met == (abs(found.cost - target) <= 0.01 * target)
    assert (
        found.cost
        == cost(found.substitute)
        == counted("wrn-28-10", str(found.substitute), "cifar10")[0].parameters
    )
    if name not in ("Monarch", "CP"):  # their steps are coarse
        assert found.met, str(found)
    nearer = [found.substitute.number * factor for factor in (0.97, 1.03)]
    for value in nearer if not create(name, free=True).setting.whole else ():
        assert abs(cost(found.substitute.with_value(value)) - target) >= abs(found.cost - target) - 1


def test_an_unreachable_budget_says_the_nearest():
    cost = parameters_of(bare("wrn-28-10", "cifar10"))
    low = fit(create("SepHashed", free=True), 1e5, cost)
    assert not low.met and "unreachable, nearest is SepHashed_1e-06" in str(low)
    high = fit(create("Hashed", free=True), 1e8, cost)
    assert not high.met and "nearest is Hashed_1:" in str(high)
    coarse = fit(create("Shuffle", free=True), 7e5, cost)
    every = [cost(create(f"Shuffle_{groups}")) for groups in range(1, 41)]
    assert abs(coarse.cost - 7e5) == min(abs(c - 7e5) for c in every) and not coarse.met
    with pytest.raises(InvalidInput, match="with a setting"):
        fit(create("Sep"), 1e6, cost)
    with pytest.raises(InvalidInput, match="above 0"):
        fit(create("Generic", free=True), 0, cost)


def test_a_budget_of_multiply_adds():
    cost = multiply_adds_of(bare("wrn-10-2", "cifar10"), (3, 32, 32))
    target = (cost(create("Generic_0.2")) + cost(create("Generic_0.9"))) / 2
    found = fit(create("Generic", free=True), target, cost)
    assert found.met and cost(found.substitute) == found.cost


def test_costs_never_fall_where_the_setting_gives_more_weights():
    cost = parameters_of(bare("wrn-16-2", "cifar10"))
    for name in SUBSTITUTES.names():
        setting = SUBSTITUTES.get(name).setting
        if setting is None:
            continue
        values = range(2, 20) if setting.whole else [place / 20 * setting.high for place in range(1, 21)]
        costs = [cost(create(name, free=True).with_value(value)) for value in values]
        assert costs == sorted(costs, reverse=not setting.grows), name


def test_the_command_counts_and_finds_settings(capsys):
    shown = cli(capsys, "count", "cifar10", "--network", "wrn-10-1", "--substitute", "SepHashed_0.1")
    assert "multiply-adds:" in shown and "sanity check:    the run reaches all" in shown
    assert "legacy:" in shown
    network = ("count", "--network", "wrn-10-1", "--substitute", "Hashed")
    assert cli(capsys, *network, "--budget", "parameters 20k").startswith("Hashed_0.")
    with pytest.raises(SystemExit) as ended:
        main([*network, "--budget", "parameters 1k"])
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith("unreachable, nearest is Hashed_1e-06")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("svhn",), "DATASET = 'svhn': known: cifar10, cifar100"),
        (("--network", "wrn-28"), "--network = 'wrn-28'"),
        (
            ("--substitute", "Hashed", "--budget", "flash 9 KB", "--device", "foo"),
            "--device = 'foo': known: apollo4",
        ),
        (("--substitute", "Sepp"), "Sep"),
        (("--substitute", "Tucker_0.1_d4@2018-12-18"), "without dimensions"),
        (("--substitute", "SepHashed_0.2", "--budget", "parameters 1M"), "without its setting"),
        (("--skip", "stem"), "only with --substitute"),
        (("--substitute", "Hashed", "--budget", "parameters many"), "parameters 1M"),
        (("--network", "wrn-10-1", "--substitute", "Sep", "--skip", "nowhere"), "a layer"),
    ],
)
def test_mistakes_of_the_command_name_what_is_allowed(capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        main(["count", *arguments])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_a_budget_on_the_device_is_that_of_the_int8_network():
    found = fit_budget("wrn-10-0.25", "Generic", "cifar10", None, "instructions 12M", "stm32f446")
    cost = device_cost(
        lambda: network("wrn-10-0.25").build((3, 32, 32), 10), (3, 32, 32), "instructions", "stm32f446"
    )
    assert cost(found.substitute) == found.cost
    assert found.met == (abs(found.cost - 12e6) <= 0.12e6)
    flash = device_cost(
        lambda: network("wrn-10-0.25").build((3, 32, 32), 10), (3, 32, 32), "flash", "stm32f446"
    )
    assert flash(create("Generic_0.1")) < flash(create("Generic_1"))
