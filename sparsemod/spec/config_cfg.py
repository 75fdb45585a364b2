"""SpArSeMod's `config.cfg` as an experiment: its keys, and a few added ones.

Sections only group the keys for readers: a key may be in any section or before the first, but only once.
`#` and `;` begin a comment. SpArSeMod takes dataset, network and training settings from its user's code.
Here they come from added keys, or from a YAML spec that `include` names; the keys of the file override it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.plugins import Names
from sparsemod.sources.base import SOURCES
from sparsemod.sources.config_keys import FLAGS, ConfigKey, Tree, flag, refuse, whole
from sparsemod.sources.config_keys import text as text_key
from sparsemod.spec.plain import INCLUDE, Plain, SpecFile, parse, read_plain, read_text
from sparsemod.spec.source_choice import DEFAULT, source_from
from sparsemod.units import OBJECTIVES


def read_config(path: Path, names: Names = Names.KNOWN) -> SpecFile:
    """Return the experiment of an INI file and its other settings. `names` says which methods it may name.

    Raises InvalidSpec with file, line and key.
    """
    entries = _entries(read_text(path), str(path))
    beside: Tree = {}
    # A file may set the trials of a round without its epochs, or its epochs without its trials.
    plain = Plain({"source": source_from({"name": DEFAULT}).model_dump()})
    owners: dict[str, str] = {}
    if INCLUDE in entries:
        text, place = entries.pop(INCLUDE)
        base = path.parent / text
        if not base.is_file():
            raise InvalidSpec(INCLUDE, text, f"a YAML spec, relative to {path.parent}", place)
        plain = read_plain(base).over(plain)
    order = list(KEYS)
    # Apply keys in the order of KEYS: a later key, such as `morphisms = off`, overrides earlier ones whatever their order in the file.
    for name in sorted(entries, key=lambda name: order.index(name) if name in KEYS else -1):
        text, place = entries[name]
        key = KEYS.get(name)
        if key is None:
            names_here = ", ".join(sorted([*KEYS, INCLUDE]))
            raise InvalidSpec(name, text, f"unknown key; known here: {names_here}", place)
        try:
            tree = key.convert(text)
        except InvalidInput as error:
            raise InvalidSpec(name, text, error.allowed, place) from None
        beside |= tree.pop(_BESIDE, {})
        leaves = _dotted_names(tree)
        owners |= {leaf: name for leaf in leaves}
        plain = Plain(tree, {tuple(leaf.split(".")): place for leaf in leaves}).over(plain)
    for part, key_name in (("dataset", "dataset"), ("network", "network")):
        if part not in plain.data:
            raise InvalidSpec(
                key_name,
                None,
                f"is missing: name one (`{key_name} = ...`), or a YAML spec (`include = ...`)",
                str(path),
            )
    try:
        spec = parse(plain, str(path), names)
    except InvalidInput as error:
        # Name the key of the file, which the user wrote, not the field of the spec.
        owner = owners.get(error.field)
        if owner is None:
            raise
        raise InvalidSpec(f"{owner} ({error.field})", error.value, error.allowed, error.source) from None
    root = beside.get("root")
    folder = None if root is None else Path(root)
    return SpecFile(spec, folder, bool(beside.get("debug", False)), plain, owners)


def _entries(text: str, source: str) -> dict[str, tuple[str, str]]:
    """Return key -> (value, place) of an INI file, ignoring sections."""
    entries: dict[str, tuple[str, str]] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)[#;].*", "", raw).strip()
        if not line or re.fullmatch(r"\[[^\]]*\]", line):
            continue
        place = f"{source}:{number}"
        match = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_ ]*?)\s*[=:]\s*(.*)", line)
        if match is None:
            raise InvalidSpec("line", raw.strip(), "a [section], or key = value", place)
        name, value = match[1].lower(), match[2].strip().strip("\"'")
        if name in entries:
            raise InvalidSpec(name, value, f"each key once; it is also in {entries[name][1]}", place)
        if not value:
            raise InvalidSpec(name, value, "a value after the '='", place)
        entries[name] = (value, place)
    return entries


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
    if text not in {"1", "2", "3", "4"}:
        raise refuse(_OBJECTIVES)
    return {"objectives": list(OBJECTIVES[: int(text)])}


_OBJECTIVES = "1 (error), 2 (+ model size), 3 (+ working memory) or 4 (+ latency)"


def _flops(text: str) -> Tree:
    try:
        value = float(text)
    except ValueError:
        raise refuse(_FLOPS) from None
    return {"target": {"operations_per_second": value}, "measure": {"latency": "macs"}}


_FLOPS = "multiply-adds per second of the device, such as 1e8"


def _quantization(text: str) -> Tree:
    if text in {"dynamic", "both"}:
        raise refuse("post or none; dynamic quantization (`dynamic`, `both`) is not supported yet")
    if text not in {"post", "none"}:
        raise refuse(_QUANTIZATION)
    return {"quantization": {"scheme": "static" if text == "post" else "none"}}


_QUANTIZATION = "post (static, after training) or none"


def _splitter(text: str) -> Tree:
    if text.lower() not in FLAGS:
        raise refuse("off")
    if FLAGS[text.lower()]:
        raise refuse("off; sequences, which the splitter chops, are not supported yet")
    return {}


def _budgets(text: str) -> Tree:
    return {"budgets": [limit.strip() for limit in text.split(",")]}


_SPARSITY = {"type": "real", "low": 0.05, "high": 0.9}

KEYS: dict[str, ConfigKey] = {
    "name": text_key("name", "name of the experiment"),
    "root": text_key(f"{_BESIDE}.root", "folder of results", "a folder"),
    **SOURCES.get(DEFAULT).config_keys,
    "objectives": ConfigKey(_OBJECTIVES, "how many objectives; they add up", _objectives),
    "flops": ConfigKey(_FLOPS, "latency is MACs divided by this number", _flops),
    "debug": flag(
        "a network that cannot be built ends the run instead of being recorded",
        {_BESIDE: {"debug": True}},
        {_BESIDE: {"debug": False}},
    ),
    "quant_scheme": ConfigKey(_QUANTIZATION, "how networks are quantized", _quantization),
    "pruning": flag(
        "on: magnitude pruning, its sparsity searched from 0.05 to 0.9; sizes are those of the sparse encoding",
        {
            "pruning": {"method": "magnitude"},
            "space": {"sparsity": _SPARSITY},
            "measure": {"model_size": "sparse"},
        },
        {"pruning": {"method": "none"}},
    ),
    "splitter": ConfigKey("off", "whether sequences are chopped to max_len", _splitter),
    "dataset": text_key("dataset.name", "the dataset (added key)", "a registered dataset"),
    "data_root": text_key("dataset.root", "folder of the dataset's files (added key)", "a folder"),
    "network": text_key("network.family", "the network family (added key)", "a registered family"),
    "device": text_key("target.device", "the device (added key)", "a device profile"),
    "budgets": ConfigKey(
        'limits such as "flash <= 64 KB, ram <= 16 KB"', "upper limits of costs (added key)", _budgets
    ),
    "seed": whole("seed", "seed of the experiment (added key)"),
}
"""Every key that a `config.cfg` may contain, besides `include`."""
