"""SpArSeMod's `config.cfg` as an experiment: its keys, and a few added ones.

`sparsemod.spec.config_sections` describes the sections: [DEFAULT] is shared, [TEST] is for `sparsemod test`
(`sparsemod.spec.config_test`), all others hold the training's keys. SpArSeMod takes dataset, network and training settings from its user's code.
Here they come from added keys, or from a YAML spec that `include` names; the keys of the file override it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.plugins import Names
from sparsemod.sources.base import SOURCES
from sparsemod.sources.config_keys import ConfigKey, Tree, flag, refuse, whole
from sparsemod.sources.config_keys import text as text_key
from sparsemod.spec.config_sections import TEST, TRAIN, Entry, Sections, read_sections
from sparsemod.spec.config_test import TestSettings, arm_index
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.plain import INCLUDE, Plain, SpecFile, parse, read_plain, read_text
from sparsemod.spec.source_choice import DEFAULT, source_from
from sparsemod.units import OBJECTIVES


def read_config(path: Path, names: Names = Names.KNOWN) -> SpecFile:
    """Return the experiment of an INI file and its other settings. `names` says which methods it may name.

    Raises InvalidSpec with file, line and key; its `others` are all further mistakes of the file.
    """
    sections = read_sections(read_text(path), str(path))
    mistakes: list[InvalidInput] = list(sections.mistakes)
    entries = sections.of(TRAIN)
    shared_with_test = {name for name in entries if name in TEST_KEYS and name not in KEYS}
    for name in shared_with_test & sections.groups[TRAIN].keys():
        entry = entries[name]
        mistakes.append(InvalidSpec(name, entry.value, "in the section [TEST] only", entry.place))
    read = _Read(path, mistakes)
    read.keys({name: entry for name, entry in entries.items() if name not in shared_with_test})
    test = _test_settings(sections, read) if sections.tests else None
    spec = read.spec(names)
    if spec is None or read.mistakes:
        first, *others = _distinct(read.mistakes)
        first.others = tuple(others)
        raise first
    beside = read.beside
    root = beside.get("root")
    return SpecFile(
        spec,
        None if root is None else Path(root),
        bool(beside.get("debug", False)),
        read.plain,
        read.owners,
        device=beside.get("device"),
        tests=not beside.get("train", True),
        test=test,
    )


class _Read:
    """The keys of a training section, read one after the other; `mistakes` collects what is wrong."""

    def __init__(self, path: Path, mistakes: list[InvalidInput]) -> None:
        self.path, self.mistakes = path, mistakes
        self.beside: Tree = {}
        # A file may set the trials of a round without its epochs, or its epochs without its trials.
        self.plain = Plain({"source": source_from({"name": DEFAULT}).model_dump()})
        self.owners: dict[str, str] = {}

    def keys(self, entries: Mapping[str, Entry]) -> None:
        """Convert the keys, and read the included spec."""
        if INCLUDE in entries:
            self._include(entries[INCLUDE])
        # Apply keys in the order of KEYS: a later key, such as `morphisms = off`, overrides earlier ones whatever their order in the file.
        for name in sorted(entries, key=lambda name: _ORDER.get(name, -1)):
            if name == INCLUDE:
                continue
            tree = self.convert(name, entries[name], KEYS)
            self.beside |= tree.pop(_BESIDE, {})
            leaves = _dotted_names(tree)
            self.owners |= {leaf: name for leaf in leaves}
            place = entries[name].place
            self.plain = Plain(tree, {tuple(leaf.split(".")): place for leaf in leaves}).over(self.plain)
        family = self.plain.data.get("network", {})
        if ":" in str(family.get("family", "") if isinstance(family, Mapping) else ""):
            # An own network brings its own space, in which `prune_threshold` is the searched sparsity.
            space = self.plain.data.get("space", {})
            if isinstance(space, Mapping) and self.owners.pop("space.sparsity", None) == "pruning":
                self.plain.data["space"] = {name: space[name] for name in space if name != "sparsity"}
        for part in ("dataset", "network"):
            found = self.plain.data.get(part)
            if (
                found is None or (isinstance(found, Mapping) and set(found) <= {"splitter"})
            ) and part not in {mistake.field for mistake in self.mistakes}:
                allowed = (
                    f"is missing: name one, such as `{part} = module:name`, or a YAML spec (`include = ...`)"
                )
                self.mistakes.append(InvalidSpec(part, None, allowed, str(self.path)))

    def convert(self, name: str, entry: Entry, known: Mapping[str, ConfigKey]) -> Tree:
        """Return the parts of the spec that a key sets; nothing for a mistake."""
        key = known.get(name)
        if key is None:
            names = sorted([*known, INCLUDE] if known is KEYS else known)
            allowed = f"unknown key; known here: {', '.join(names)}"
            self.mistakes.append(InvalidSpec(name, entry.value, allowed, entry.place))
            return {}
        try:
            return key.convert(entry.value)
        except InvalidInput as error:
            self.mistakes.append(InvalidSpec(name, entry.value, error.allowed, entry.place))
            return {}

    def _include(self, entry: Entry) -> None:
        base = self.path.parent / entry.value
        if not base.is_file():
            allowed = f"a YAML spec, relative to {self.path.parent}"
            self.mistakes.append(InvalidSpec(INCLUDE, entry.value, allowed, entry.place))
            # Without the spec, dataset and network would be reported as missing, too.
            self.plain = Plain({"dataset": {"name": ""}, "network": {"family": ""}}).over(self.plain)
            return
        try:
            self.plain = read_plain(base).over(self.plain)
        except InvalidInput as error:
            self.mistakes += [error, *error.others]

    def spec(self, names: Names) -> ExperimentSpec | None:
        """Return the spec, or None when it has mistakes. After earlier mistakes it looks for further ones in the keys that could be read."""
        broken = bool(self.mistakes)
        try:
            return parse(self.plain, str(self.path), names)
        except InvalidInput as error:
            for one in (error, *error.others):
                owner = self.owners.get(one.field)
                # Name the key of the file, which the user wrote, not the field of the spec.
                if owner is not None:
                    one = InvalidSpec(f"{owner} ({one.field})", one.value, one.allowed, one.source)
                elif broken and one.value is None:
                    continue  # missing, because its key has a mistake
                self.mistakes.append(one)
        return None


def _distinct(mistakes: list[InvalidInput]) -> list[InvalidInput]:
    """Return the mistakes in the order of their lines, each once."""
    return sorted({str(one): one for one in mistakes}.values(), key=_line)


def _line(mistake: InvalidInput) -> tuple[bool, int]:
    number = (mistake.source or "").rpartition(":")[2]
    return (not number.isdecimal(), int(number) if number.isdecimal() else 0)


def _test_settings(sections: Sections, read: _Read) -> TestSettings:
    """Return the settings of [TEST]; `name` and `root` that it lacks are those of the training."""
    entries = {
        name: entry
        for name, entry in sections.of(TEST).items()
        if name in sections.groups[TEST] or name in TEST_KEYS
    }
    tree: Tree = {}
    expected: dict[str, tuple[str, str, Any, str]] = {}
    for name, entry in entries.items():
        part = read.convert(name, entry, TEST_KEYS)
        tree |= part.pop(_BESIDE, {})
        if "name" in part:
            tree["name"] = part["name"]
        wanted = _expected(name, part)
        if wanted is not None and name in sections.groups[TEST]:
            expected[name] = (*wanted[:1], entry.value, wanted[1], entry.place)
    root = Path(str(tree.get("root", read.beside.get("root", "runs"))))
    name = str(tree.get("name", read.plain.data.get("name", "experiment")))
    return TestSettings(
        (root / name.replace(" ", "-"), root),
        tree.get("arm"),
        tree.get("epochs"),
        tree.get("seeds"),
        expected,
    )


def _expected(key: str, part: Tree) -> tuple[str, Any] | None:
    """Return the field of the run's spec that a key of [TEST] describes, and the value it must have."""
    if not part:
        return None
    if key == "quant_scheme":
        return "quantization.scheme", part["quantization"]["scheme"]
    if key == "objectives":
        return "objectives", part["objectives"]
    if key == "pruning":
        method = part["pruning"]["method"]
        return "pruning.method", method if method == "none" else {"not": "none"}
    return None


def _dotted_names(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of every key of a nested mapping."""
    names: list[str] = []
    for key, value in tree.items():
        names.append(prefix + key)
        if isinstance(value, Mapping):
            names += _dotted_names(value, f"{prefix}{key}.")
    return names


# -- the keys --------------------------------------------------------------------------------------------------------------------

_BESIDE = "(beside the spec)"


def _objectives(text: str) -> Tree:
    if re.fullmatch(r"[1-4]", text):
        return {"objectives": list(OBJECTIVES[: int(text)])}
    listed = re.fullmatch(r"\[\s*([0-3](?:\s*,\s*[0-3])*)\s*,?\s*\]", text)
    places = [int(place) for place in re.findall("[0-3]", listed[1])] if listed else []
    if not places or len(set(places)) < len(places):
        raise refuse(_OBJECTIVES)
    return {"objectives": [OBJECTIVES[place] for place in places]}


_OBJECTIVES = "1 (error), 2 (+ model size), 3 (+ working memory) or 4 (+ latency); or a list of some of them, counted from 0: [0, 1, 2, 3]"


def _flops(text: str) -> Tree:
    try:
        value = float(text)
    except ValueError:
        raise refuse(_FLOPS) from None
    return {"target": {"operations_per_second": value}, "measure": {"latency": "macs"}}


_FLOPS = "multiply-adds per second of the device, such as 1e8"


_SCHEMES = {"post": "static", "dynamic": "dynamic", "both": "both", "none": "none"}


def _quantization(text: str) -> Tree:
    if text not in _SCHEMES:
        raise refuse(_QUANTIZATION)
    return {"quantization": {"scheme": _SCHEMES[text]}}


_QUANTIZATION = "post (static, after training), dynamic, both or none"


def _budgets(text: str) -> Tree:
    return {"budgets": [limit.strip() for limit in text.split(",")]}


_SPARSITY = {"type": "real", "low": 0.05, "high": 0.9}


def _cuda(text: str) -> Tree:
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise refuse(_CUDA)
    return {_BESIDE: {"device": f"cuda:{int(text)}"}}


_CUDA = "the number of a CUDA device, from 0"


def _count(name: str, meaning: str) -> ConfigKey:
    """Return a key of [TEST] for a whole number from 1."""
    allowed = "a whole number, at least 1"

    def convert(text: str) -> Tree:
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
            raise refuse(allowed)
        return {_BESIDE: {name: int(text)}}

    return ConfigKey(allowed, meaning, convert)


KEYS: dict[str, ConfigKey] = {
    "train": flag(
        "off: `sparsemod run` tests the network of [TEST] and trains none",
        {_BESIDE: {"train": True}},
        {_BESIDE: {"train": False}},
    ),
    "name": text_key("name", "name of the experiment"),
    "root": text_key(f"{_BESIDE}.root", "folder of results", "a folder"),
    **SOURCES.get(DEFAULT).config_keys,
    "objectives": ConfigKey(_OBJECTIVES, "how many objectives; they add up", _objectives),
    "flops": ConfigKey(_FLOPS, "latency is MACs divided by this number", _flops),
    "debug": flag(
        "errors of networks that cannot be built or trained are printed; the search goes on",
        {_BESIDE: {"debug": True}},
        {_BESIDE: {"debug": False}},
    ),
    "quant_scheme": ConfigKey(_QUANTIZATION, "how networks are quantized", _quantization),
    "pruning": flag(
        "on: magnitude pruning, its sparsity searched from 0.05 to 0.9, or by `prune_threshold` of an own space; sizes are those of the sparse encoding",
        {
            "pruning": {"method": "magnitude"},
            "space": {"sparsity": _SPARSITY},
            "measure": {"model_size": "sparse"},
        },
        {"pruning": {"method": "none"}},
    ),
    "splitter": flag(
        "on: sequences are cut into windows of `max_len` steps, a parameter of the space",
        {"dataset": {"splitter": {}}},
        {"dataset": {"splitter": None}},
    ),
    "arc": flag(
        "no effect: SpArSeMod's kernel for conditional parameters. The model here always takes them into account",
        {},
        {},
    ),
    "cuda_n": ConfigKey(
        _CUDA, "the CUDA device that trains; the CPU where there is none. `--device` takes precedence", _cuda
    ),
    "dataset": text_key("dataset.name", "the dataset (added key)", "a registered dataset"),
    "data_root": text_key("dataset.root", "folder of the dataset's files (added key)", "a folder"),
    "network": text_key("network.family", "the network family (added key)", "a registered family"),
    "device": text_key("target.device", "the device (added key)", "a device profile"),
    "budgets": ConfigKey(
        'limits such as "flash <= 64 KB, ram <= 16 KB"', "upper limits of costs (added key)", _budgets
    ),
    "seed": whole("seed", "seed of the experiment (added key)"),
}
"""Every key of a training section of a `config.cfg`, besides `include`."""

_ORDER = {name: place for place, name in enumerate(KEYS)}

TEST_KEYS: dict[str, ConfigKey] = {
    "name": text_key("name", "name of the run. Default: that of the training"),
    "root": text_key(
        f"{_BESIDE}.root", "folder of results of the run. Default: that of the training", "a folder"
    ),
    "arm": ConfigKey(
        "the index of a trial, such as 7 or 7_0",
        "the network to test",
        lambda text: {_BESIDE: {"arm": arm_index(text)}},
    ),
    "epochs": _count("epochs", "epochs of training before the test. Default: four times the trial's"),
    "seeds": _count("seeds", "number of trainings (added key). Default: 3"),
    **{name: KEYS[name] for name in ("objectives", "quant_scheme", "pruning", "splitter")},
}
"""Every key of [TEST]. The last four describe the run and must be equal to its settings."""
