"""The page of the network families: each family, and the options and parameters of `mobile`."""

import json
import re

from support_docs import DOCS, tables

from service.http.routes.catalogue import show_catalogue
from sparsemod.networks import FAMILIES, create_family
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Categorical, Integer, Parameter, Real

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
OPTIONS: dict[str, Value] = {
    "types": "conv, inverted, separable", "max_blocks": 3, "max_filters": 21, "max_kernel": 7, "max_expansion": 6,
    "max_branches": 2, "max_dense": 5, "max_dense_width": 33, "max_dropout": 0.25,
}  # fmt: skip


def rows(heading: str) -> list[dict[str, str]]:
    """The rows of the page's table whose first column has this heading."""
    page = (DOCS / "families.md").read_text()
    (found,) = [table for _, table in tables(page) if next(iter(table[0])) == heading]
    return found


def test_every_family_of_the_package_is_listed() -> None:
    own = {n for n in FAMILIES.names() if FAMILIES.get(n).origin.__module__.startswith("sparsemod.")}
    assert {row["family"].strip("`") for row in rows("family")} == own


def test_the_options_of_mobile_and_their_defaults() -> None:
    signature = FAMILIES.get("mobile").__signature__.parameters
    expected = {
        name: option.default if isinstance(option.default, str) else json.dumps(option.default)
        for name, option in signature.items()
    }
    assert {row["option"].strip("`"): row["default"].strip("`") for row in rows("option")} == expected


def shown(parameter: Parameter) -> str:
    """The values of a parameter in the words of the page, with the option that is the largest."""
    by_value = {value: name for name, value in OPTIONS.items()}
    if isinstance(parameter, Integer | Real):
        return f"{parameter.low:g} to `{by_value[parameter.high]}`"
    assert isinstance(parameter, Categorical)
    words = [json.dumps(value).strip('"') for value in parameter.values]
    if parameter.values[-1] == OPTIONS["max_kernel"]:
        return f"{', '.join(words[: words.index('5') + 1])}, ... to `max_kernel`"
    return ", ".join(words)


def test_the_parameters_of_mobile_and_their_values() -> None:
    space = create_family("mobile", OPTIONS).space(DIGITS)
    expected: dict[str, str] = {}
    for parameter in space.parameters:
        name = re.sub(r"([bp])\d+(?=_)", r"\1{\1}", re.sub(r"^d\d+(?=_)", "d{i}", parameter.name))
        expected.setdefault(name, shown(parameter))
    page = {row["parameter"].strip("`"): row["values"] for row in rows("parameter")}
    assert list(page) == list(expected)
    for name, values in expected.items():
        assert set(page[name].split(", ")) == set(values.split(", ")), name


def test_the_form_offers_mobile_with_its_options_and_parameters() -> None:
    (family,) = [family for family in show_catalogue().families if family.name == "mobile"]
    assert {option.name for option in family.options} == set(FAMILIES.get("mobile").__signature__.parameters)
    assert {"digits", "mnist"} <= set(family.spaces) and "vowels" not in family.spaces
    names = [parameter["name"] for parameter in family.spaces["digits"]]
    assert names == list(create_family("mobile").space(DIGITS).names)
