"""The experiment's spec: accepted input, and errors that name field, value and the allowed values."""

import itertools
import json
import subprocess
import sys

import pytest

from sparsemod.errors import InvalidSpec
from sparsemod.pipeline.problem import Problem
from sparsemod.records import DataInfo
from sparsemod.space.parameters import Categorical, Fixed, Integer, Real
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import dump, loads
from sparsemod.units import OBJECTIVES

MINIMAL = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}


def test_minimal_spec_has_useful_defaults():
    spec = ExperimentSpec.parse(MINIMAL)
    assert spec.objectives == ("error", "model_size", "working_memory", "latency")
    assert spec.reference() == {
        "error": 1.0,
        "model_size": 524288.0,
        "working_memory": 131072.0,
        "latency": 1000.0,
    }
    assert spec.quantization.scheme == "static"


def test_round_trip_through_json():
    spec = ExperimentSpec.parse(
        {
            **MINIMAL,
            "space": {
                "b1_l1_filters": {"low": 4, "high": 16, "log": True},
                "learning_rate": {"type": "real", "low": 1e-4, "high": 1e-1, "log": True},
                "kernel": [3, 5],
                "pool": False,
                "sparsity": {"low": 0.0, "high": 0.9},
            },
            "constraints": [{"coefficients": {"b1_l1_filters": 1}, "bound": 12}],
            "budgets": ["flash <= 64 KB", "ram <= 0.02 MB", "latency <= 1.5 s"],
            "objectives": ["latency", "error"],
            "reference_point": {"error": "90 %"},
            "pruning": {"method": "magnitude"},
            "training": {"augmentation": [{"name": "shift", "options": {"pixels": 1}}]},
            "limits": {"memory": "2 GB"},
        }
    )
    assert ExperimentSpec.parse(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.budgets == {
        "flash": 65536.0,
        "ram": pytest.approx(20971.52),
        "latency": 1500.0,
    }
    assert spec.reference() == {"latency": 1500.0, "error": 0.9}
    assert spec.limits.memory == 2 * 1024**3
    kinds = {name: type(parameter) for name, parameter in spec.space.items()}
    assert kinds == {
        "b1_l1_filters": Integer, "learning_rate": Real, "kernel": Categorical, "pool": Fixed, "sparsity": Real,
    }  # fmt: skip


def test_any_objectives_in_any_order():
    choices = [names for count in range(1, 5) for names in itertools.permutations(OBJECTIVES, count)]
    assert len(choices) == 64
    for names in choices:
        spec = ExperimentSpec.parse({**MINIMAL, "objectives": list(names)})
        assert spec.objectives == names
        assert list(spec.reference()) == list(names)
    spec = ExperimentSpec.parse({**MINIMAL, "objectives": ["memory", "size"]})
    assert spec.objectives == ("working_memory", "model_size")
    spec = ExperimentSpec.parse({**MINIMAL, "objectives": ["ram", "flash"], "budgets": ["flash <= 9 KB"]})
    assert spec.reference() == {"ram": 131_072, "flash": 9216}


@pytest.mark.parametrize(
    ("change", "field", "allowed"),
    [
        ({"colour": 1}, "colour", "unknown key; known here: budgets"),
        ({"network": {}}, "network.family", "is missing"),
        (
            {"network": {"family": "cnn", "depth": 3}},
            "network.depth",
            "known here: family, front_end, options",
        ),
        (
            {"dataset": {"name": "digits", "splits": {"validation": 1.5}}},
            "dataset.splits.validation",
            "less than 1",
        ),
        (
            {"dataset": {"name": "digits", "splits": {"validation": 0.6, "test": 0.5}}},
            "dataset.splits",
            "below 0.9",
        ),
        (
            {"rounds": {"r1": {"trials": -1, "epochs": 1}}},
            "source.rounds.r1.trials",
            "greater than or equal to 0",
        ),
        (
            {"rounds": {"r1": {"trials": 0, "epochs": 1}, "r2": {"trials": 0, "epochs": 1}}},
            "source.rounds",
            "r3 morphs the front",
        ),
        ({"objectives": []}, "objectives", "a list of one to four"),
        ({"objectives": ["error", "colour"]}, "objectives.1", "known: auc_error"),
        ({"objectives": ["memory", "working_memory"]}, "objectives.1", "at most once"),
        ({"objectives": ["macs"]}, "objectives.0", "at most once"),
        ({"budgets": ["flash < 64 KB"]}, "budgets.0", "METRIC <= VALUE UNIT"),
        ({"budgets": ["flash <= 64 ms"]}, "budgets.0", "one of the units b"),
        ({"budgets": ["flash <= -1 KB"]}, "budgets.0", "a positive number"),
        ({"budgets": ["flash <= 1.2.3 KB"]}, "budgets.0", "a positive number"),
        ({"budgets": ["colour <= 3"]}, "budgets.0", "known: auc_error"),
        (
            {"budgets": ["memory <= 3 KB", "working_memory <= 3 KB"]},
            "budgets.working_memory",
            "each metric once",
        ),
        ({"budgets": [3]}, "budgets.0", "text such as"),
        ({"budgets": 3}, "budgets", "a list such as"),
        (
            {"objectives": ["error"], "reference_point": {"latency": 3}},
            "reference_point.latency",
            "only objectives: error",
        ),
        ({"space": {"a": {"low": 3, "high": 1}}}, "space.a", "low <= high"),
        ({"space": {"a": {"low": "x", "high": 1}}}, "space.a.low", "valid number"),
        ({"space": {"a": {"type": "colour"}}}, "space.a.type", "one of integer"),
        ({"space": {"a": {"low": 1, "high": 2, "step": 3}}}, "space.a.high", "steps of 3: 1 or 4"),
        ({"space": {"a": {"low": 1, "high": 2, "stride": 3}}}, "space.a.stride", "unknown key"),
        ({"space": {"a": []}}, "space.a.values", "at least 1"),
        ({"space": {"a": None}}, "space.a", "a constant, a list of values"),
        ({"space": {"sparsity": [0.1, 0.2]}}, "space.sparsity", "needs pruning.method"),
        (
            {"training": {"optimizer": {"name": "adagrad"}}},
            "training.optimizer.name",
            "known: adam, adamw, sgd",
        ),
        ({"training": {"learning_rate": 0}}, "training.learning_rate", "greater than 0"),
        ({"training": {"optimizer": "agda"}}, "training.optimizer.name", "did you mean"),
        (
            {"training": {"optimizer": {"name": "sgd", "moment": 0}}},
            "training.optimizer.moment",
            "known here: m",
        ),
        (
            {"training": {"optimizer": {"name": "sgd", "momentum": 1}}},
            "training.optimizer.momentum",
            "less than 1",
        ),
        ({"training": {"rule": "mine:Rule"}}, "training.rule.name", "code cannot be named here"),
        ({"pruning": {"method": "magnitude", "begin": 0.9}}, "pruning.schedule", "begin must be before end"),
        (
            {"pruning": {"method": "magnitude", "schedule": {"end": 2}}},
            "pruning.schedule.end",
            "less than or equal",
        ),
        ({"quantization": {"activation_ranges": "max"}}, "quantization.activation_ranges.name", "min_max"),
        ({"measure": {"latency": "macs"}}, "target.operations_per_second", "needed by measure.latency"),
        ({"limits": {"memory": "much"}}, "limits.memory", "a positive number"),
        ({"search": {"stop": {"patience": 3}}}, "source.stop.patience", "known here: tolerance, trials"),
        ({"seed": "1"}, "seed", "valid integer"),
        ({"name": "../x"}, "name", "letters, digits"),
        ({"name": "a:b"}, "name", "letters, digits"),
        ({"name": "\u0301a"}, "name", "letters, digits"),
        ({"name": "a\u202eb"}, "name", "letters, digits"),
        ({"name": "名" * 67}, "name", "at most 200 bytes in UTF-8; it has 201"),
        ({"version": 3}, "version", "should be 2"),
        ({"scales": "log"}, "scales", "a mapping of metric to log"),
        ({"scales": {"error": "cube"}}, "scales.error.kind", "log or linear"),
        (
            {"scales": {"size": {"kind": "log", "base": 2}}},
            "scales.size.base",
            "known here: kind, low, offset",
        ),
        ({"scales": {"size": {"kind": "log", "low": "5 ms"}}}, "scales.size.low", "a positive number"),
        ({"scales": {"size": "log", "model_size": "log"}}, "scales.model_size", "each metric once"),
        ({"scales": {"flash": "log"}}, "scales.flash", "only objectives"),
        ({"version": 1, "scales": {"error": "log"}}, "scales", "left out in version 1"),
    ],
)
def test_mistakes_name_field_and_what_is_allowed(change, field, allowed):
    with pytest.raises(InvalidSpec) as caught:
        ExperimentSpec.parse({**MINIMAL, **change}, "spec.yaml")
    assert caught.value.field == field
    assert allowed in caught.value.allowed
    assert str(caught.value).startswith(f"spec.yaml: {field} = ")


def test_specs_of_the_first_release_keep_their_meaning():
    """Stored specs contained every key of every part, also those without effect; configs had no version."""
    stored = {
        "training": {
            "optimizer": {"name": "adam", "momentum": 0.9, "nesterov": False},
            "schedule": {"name": "exponential", "warmup": 2, "milestones": [0.5, 0.75], "factor": 0.2},
            "augmentation": [{"name": "shift", "options": {"pixels": 1}}, {"name": "flip", "options": {}}],
        },
        "pruning": {"method": "filters", "sparsity": 0.3, "schedule": "one-shot", "begin": 0.4, "end": 0.7},
        "quantization": {"scheme": "none", "calibration_samples": 256, "activation_ranges": "mse"},
    }
    now = {
        "training": {
            "optimizer": "adam",
            "schedule": {"name": "exponential", "warmup": 2, "factor": 0.2},
            "augmentation": [{"name": "shift", "pixels": 1}, "flip"],
        },
        "pruning": {"method": "filters", "sparsity": 0.3, "schedule": {"name": "one-shot", "begin": 0.4}},
        "quantization": "none",
    }
    spec = ExperimentSpec.parse({**MINIMAL, **stored})
    assert spec == ExperimentSpec.parse({**MINIMAL, **now})
    assert spec == ExperimentSpec.parse(spec.to_dict())
    unpruned = {"method": "none", "sparsity": 0.5, "schedule": "cubic", "begin": 0.2, "end": 0.7}
    assert ExperimentSpec.parse({**MINIMAL, "pruning": unpruned}) == ExperimentSpec.parse(MINIMAL)
    # New specs state their version, so a key without effect is an error.
    written = spec.to_dict()
    written["training"]["optimizer"]["momentum"] = 0.9
    with pytest.raises(InvalidSpec, match=r"training\.optimizer\.momentum = 0\.9: unknown key"):
        ExperimentSpec.parse(written)


def test_unknown_methods_are_kept_in_a_stored_spec_and_rejected_on_use():
    elsewhere = {
        **MINIMAL,
        "space": {"sparsity": [0.1, 0.2]},
        "pruning": {"method": "lottery", "version": 3, "sparsity": 0.1, "rounds": 4},
        "training": {"loss": {"name": "hinge", "margin": 1.0}, "label_smoothing": 0.1},
        "quantization": {"scheme": "static", "activation_ranges": {"name": "entropy", "bins": 128}},
    }
    with pytest.raises(InvalidSpec, match=r"pruning\.method = 'lottery': known: "):
        ExperimentSpec.parse({**MINIMAL, "pruning": elsewhere["pruning"]})
    spec = ExperimentSpec.stored(elsewhere)
    assert spec.to_dict()["pruning"] == elsewhere["pruning"]
    assert ExperimentSpec.stored(spec.to_dict()) == spec
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()) == spec
    info = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
    for part in ("pruning", "training", "quantization"):
        broken = ExperimentSpec.stored({**MINIMAL, part: elsewhere[part]})
        with pytest.raises(InvalidSpec, match=f"{part}.*known: "):
            Problem.of(broken, info)


@pytest.mark.parametrize("data", [None, [], "text", {"dataset": {1, 2}}, {**MINIMAL, "seed": float("nan")}])
def test_objects_that_are_not_plain_mappings_are_rejected(data):
    with pytest.raises(InvalidSpec):
        ExperimentSpec.parse(data)


def test_the_cold_core_loads_neither_torch_nor_ax():
    code = (
        "import sys, sparsemod.spec.experiment, sparsemod.space.space, sparsemod.objectives, sparsemod.registry, sparsemod.records\n"
        "print([m for m in ('torch', 'ax', 'botorch', 'sklearn', 'sqlalchemy') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


@pytest.mark.parametrize("name", ["Größe 3", "поиск", "数字探索", "αβγ_1", "बहुत", "بحث", "٣", "1", "名" * 66])
def test_names_have_letters_of_any_alphabet(name):
    spec = ExperimentSpec.parse({**MINIMAL, "name": name})
    assert spec.name == name
    assert loads(dump(spec)) == spec


def test_a_name_has_one_spelling():
    assert ExperimentSpec.parse({**MINIMAL, "name": "Gro\u0308ße"}).name == "Größe"
