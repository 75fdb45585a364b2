"""Study files: the layout, includes, customizations, mistakes with file, line and key; torchprune's files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.sources.spacing import Spacing
from sparsemod.sources.study import StudyConfig
from sparsemod.spec.training import TrainingSpec
from sparsemod.studies.study_file import (
    Customization,
    StudyExperiments,
    StudyFile,
    StudyNetwork,
    StudyPlotting,
    read_study,
)
from sparsemod.studies.torchprune_file import convert, is_torchprune
from sparsemod.studies.torchprune_keys import TUTORIAL
from sparsemod.yaml_text import dump_yaml

COMMON = """
training: {epochs: 4, batch_size: 64, learning_rate: 0.01, schedule: {name: step, milestones: [0.5]}}
"""

STUDY = """
include: common.yaml
network: {family: mlp, parameters: {layers: 1, l1_width: 16}, dataset: {name: digits, limit: 400}}
training:
  epochs: 3
retraining:
  start_epoch: 1
  learning_rate: 0.001
experiments:
  methods: [ThresNet, magnitude]
  mode: cascade
  nets: 2
  repetitions: 2
  spacing:
    - {type: manual, values: [0.5, 0.25]}
  retrain_iterations: 1
  plotting: {min: 0.2, max: 0.6}
measure: {device: model}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "common.yaml").write_text(COMMON)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def source(spec: Any) -> StudyConfig:
    assert isinstance(spec.source, StudyConfig)
    return spec.source


def test_a_file_is_a_spec(folder: Path) -> None:
    (study,) = read_study(folder / "study.yaml")
    own = source(study.spec)
    assert study.spec.name == "study" and study.plotting == (0.2, 0.6)
    assert (own.epochs, own.retrain_epochs, own.start_epoch) == (3, 2, 1)
    assert own.retraining == {"learning_rate": 0.001}
    assert (own.nets, own.repetitions, own.mode) == (2, 2, "cascade")
    assert own.ratios() == (0.25,)
    assert study.spec.training.batch_size == 64 and study.spec.training.schedule.name == "step"
    assert study.spec.to_dict()["pruning"]["of"] == "weights"


def test_customizations_change_one_key_each(folder: Path) -> None:
    text = (
        STUDY
        + """
customizations:
  - {key: [training, learning_rate], value: 0.1}
  - {key: training.batch_size, value: 32}
  - {key: [experiments, spacing], value: [{type: manual, values: [0.5]}]}
"""
    )
    (folder / "study.yaml").write_text(text)
    studies = read_study(folder / "study.yaml")
    assert [s.spec.training.learning_rate for s in studies] == [0.1, 0.01, 0.01]
    assert [s.spec.training.batch_size for s in studies] == [64, 32, 64]
    assert source(studies[2].spec).ratios() == (0.5,)
    assert len({s.spec.name for s in studies}) == 3 and "learning_rate 0.1" in studies[0].spec.name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mode: cascade", "mode: cascad", r"study\.yaml:11: experiments\.mode = 'cascad'"),
        ("nets: 2", "nets: 0", r"study\.yaml:12: experiments\.nets = 0"),
        ("  learning_rate: 0.001", "  learning_rate: -1", r"study\.yaml:8: retraining\.learning_rate = -1"),
        ("  epochs: 3", "  epochs: 1", r"retraining\.epochs = 1: a whole number above start_epoch"),
        ("ThresNet, magnitude", "TresNet", r"study\.yaml:10: experiments\.methods = 'TresNet'.*near other names: ThresNet"),
        ("values: [0.5, 0.25]", "values: [0.5, 2]", r"study\.yaml:1[45]: experiments\.spacing.*at most 1"),
        ("nets: 2", "numNets: 2", r"study\.yaml:12: experiments\.numNets = 2"),
        ("family: mlp", "name: resnet-7, family: mlp", r"study\.yaml:3: network\.name"),
        ("max: 0.6", "max: 0.1", r"study\.yaml:17: experiments\.plotting\.min = 0\.2: below max"),
        ("limit: 400", "limt: 400", r"study\.yaml:3: network\.dataset\.limt"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_and_key(folder: Path, old: str, new: str, message: str) -> None:
    assert old in STUDY
    (folder / "study.yaml").write_text(STUDY.replace(old, new))
    with pytest.raises(InvalidSpec) as found:
        read_study(folder / "study.yaml")
    assert found.match(message), str(found.value)


def test_a_customization_of_a_list_is_refused(folder: Path) -> None:
    (folder / "study.yaml").write_text(
        STUDY + "customizations: [{key: [experiments, methods, a], value: 1}]\n"
    )
    with pytest.raises(
        InvalidInput, match=r"study\.yaml:19: customizations\.0\.key.*experiments\.methods is not one"
    ):
        read_study(folder / "study.yaml")


THEIRS = {
    "resnet.yaml": """
transformsTrain: [{type: RandomHorizontalFlip, kwargs: {}}, {type: Pad, kwargs: {padding: 4}}, {type: RandomCrop, kwargs: {size: 32}}, {type: Jitter}]
loss: CrossEntropyLoss
metricsTest: [{type: TopK, kwargs: {topk: 1}}]
batchSize: 128
optimizer: SGD
optimizerKwargs: {lr: 0.1, weight_decay: 1.0e-4, nesterov: true, momentum: 0.9}
numEpochs: 182
earlyStopEpoch: 0
enableAMP: true
lrSchedulers: [{type: MultiStepLR, stepKwargs: {}, kwargs: {milestones: [91, 136], gamma: 0.1}}, {type: WarmupLR, kwargs: {warmup_epoch: 5}}]
""",
    "resnet20.yaml": """
network: {name: resnet20, dataset: CIFAR10, outputSize: 10}
training: {file: resnet.yaml, startEpoch: 2}
retraining: {numEpochs: 100}
experiments:
  methods: [PFPNet, ThresNet]
  mode: cascade-rewind
  numRepetitions: 2
  numNets: 3
  plotting: {minVal: 0.02, maxVal: 0.85}
  spacing: [{type: geometric, numIntervals: 10, maxVal: 0.8, minVal: 0.1}]
  retrainIterations: -1
directories: {results: ./data/results}
""",
    "sweep.yaml": """
file: resnet20.yaml
customizations:
  - {key: [training, optimizerKwargs, lr], value: 0.01}
  - {key: [training, lossKwargs, reduction], value: mean}
  - {key: [experiments, numNets], value: 1}
""",
}


def test_a_file_of_torchprune_is_converted(tmp_path: Path) -> None:
    for name, text in THEIRS.items():
        (tmp_path / name).write_text(text)
        assert is_torchprune(yaml.safe_load(text)) == (name != "resnet.yaml")
    converted = convert(tmp_path / "resnet20.yaml")
    assert set(converted.notes) == {
        "directories: results are in --out, data sets in $SPARSEMOD_DATA",
        "network.outputSize: the dataset states its classes",
        "training.earlyStopEpoch: the best epoch always counts",
        "training.metricsTest: training.metric defines the error",
        "training.transformsTrain: Jitter has no counterpart",
    }
    target = tmp_path / "ours.yaml"
    target.write_text(dump_yaml(converted.data))
    (study,) = read_study(target)
    own, training = source(study.spec), study.spec.training
    assert (own.mode, own.nets, own.repetitions, own.start_epoch) == ("cascade-rewind", 3, 2, 2)
    assert (own.epochs, own.retrain_epochs) == (182, 98)
    assert training.learning_rate == 0.1 and training.weight_decay == 1e-4 and training.batch_size == 128
    assert training.optimizer.model_dump() == {"version": 1, "name": "sgd", "momentum": 0.9, "nesterov": True}
    assert training.schedule.model_dump()["milestones"] == (0.5, 0.747253)
    assert training.schedule.warmup == 5 and training.precision == "float16"
    assert [a.name for a in training.augmentation] == ["flip", "shift"]
    assert own.retraining["schedule"]["milestones"] == [0.91], "the milestones are epochs: 91 of 100"
    assert study.spec.network.options == {"networks": "resnet-20"} and study.plotting == (0.02, 0.85)
    sweep = convert(tmp_path / "sweep.yaml")
    assert "customizations.1: training.lossKwargs.reduction has no counterpart" in sweep.notes
    target.write_text(dump_yaml(sweep.data))
    first, second = read_study(target)
    assert first.spec.training.learning_rate == 0.01 and source(second.spec).nets == 1


TUTORIAL_KEYS = """
file network.name network.dataset network.outputSize
training.transformsTrain training.transformsTest training.transformsFinal training.loss training.lossKwargs
training.metricsTest training.batchSize training.testBatchSize training.optimizer training.optimizerKwargs.lr
training.optimizerKwargs.weight_decay training.optimizerKwargs.nesterov training.optimizerKwargs.momentum
training.enableAMP training.numEpochs training.startEpoch training.earlyStopEpoch training.lrSchedulers
experiments.methods experiments.mode experiments.numRepetitions experiments.numNets experiments.plotting.minVal
experiments.plotting.maxVal experiments.spacing.type experiments.spacing.numIntervals experiments.spacing.maxVal
experiments.spacing.minVal experiments.retrainIterations customizations
blacklist coresets directories network_names network_colors
"""
"""The keys that torchprune's tutorial files describe."""


def test_every_key_of_torchprunes_tutorial_has_its_line() -> None:
    told = {key.name: key for key in TUTORIAL}
    assert set(told) - {"experiments.spacing.values"} == set(TUTORIAL_KEYS.split())
    sections = {
        "network": StudyNetwork,
        "experiments": StudyExperiments,
        "experiments.plotting": StudyPlotting,
    }
    for key in TUTORIAL:
        section, _, name = key.ours.rpartition(".")
        if section in sections:
            assert name in sections[section].model_fields, key.ours
        elif section == "training":
            assert name == "epochs" or name in TrainingSpec.model_fields, key.ours
        elif section == "experiments.spacing":
            assert name in Spacing.model_fields, key.ours
    page = (Path(__file__).parent.parent / "docs" / "compression.md").read_text()
    assert "<!-- generated: torchprune_keys -->" in page


def test_every_key_is_described_in_the_documentation() -> None:
    page = (Path(__file__).parent.parent / "docs" / "compression.md").read_text()
    assert "<!-- generated: study_keys -->" in page
    assert all(info.description for info in StudyFile.model_fields.values())
    for part in (StudyNetwork, StudyExperiments, StudyPlotting, Customization):
        assert all(info.description for info in part.model_fields.values())


def test_the_example_is_a_study() -> None:
    (study,) = read_study(Path(__file__).parent.parent / "examples" / "studies" / "digits.yaml")
    assert len(source(study.spec).methods) == 4
