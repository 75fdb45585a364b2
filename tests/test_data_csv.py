"""Tables from CSV files."""

from pathlib import Path

import numpy as np
import pytest

from sparsemod.data import load
from sparsemod.data.sources.csv_file import csv_file
from sparsemod.errors import DataMissing, InvalidInput
from sparsemod.spec.parts import DatasetSpec

TABLE = "id,ax,ay,who,label\n" + "".join(
    f"{i},{i / 10},{-i}e-1,subject {i % 12},{('rest', 'run', 'walk')[i // 12 % 3]}\n" for i in range(144)
)


def write(folder: Path, text: str = TABLE, name: str = "a.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def test_features_classes_and_groups(tmp_path: Path) -> None:
    arrays = csv_file(tmp_path, write(tmp_path), group="who", ignore="id")
    assert arrays.x.shape == (144, 2) and arrays.names == ("rest", "run", "walk")
    np.testing.assert_allclose(arrays.x[3], (0.3, -0.3))
    assert arrays.y[[0, 12, 24, 36]].tolist() == [0, 1, 2, 0]
    assert arrays.groups is not None and arrays.groups[13] == "subject 1"
    spec = DatasetSpec(
        name="csv", root=str(tmp_path), options={"path": "a.csv", "group": "who", "ignore": "id"}
    )
    data = load(spec)
    assert sum((data.groups or {}).values()) == 12 and data.names == ("rest", "run", "walk")


def test_numbers_as_classes_keep_their_order(tmp_path: Path) -> None:
    text = "\ufefflabel;x\n" + "".join(f"{i % 11 + 1};{i}\n" for i in range(44))
    arrays = csv_file(tmp_path, write(tmp_path, text), delimiter=";")
    assert arrays.names == tuple(str(i) for i in range(1, 12)) and arrays.y[:11].tolist() == list(range(11))


def test_a_column_of_splits_and_images(tmp_path: Path) -> None:
    parts = ["train"] * 6 + ["validation"] * 2 + ["val"] * 2 + ["test"] * 2
    rows = [f"{part}\t{i % 2}\t" + "\t".join(str(i + k) for k in range(6)) for i, part in enumerate(parts)]
    text = "\n".join(["split\tlabel\t" + "\t".join(f"p{k}" for k in range(6)), *rows]) + "\n\n"
    arrays = csv_file(tmp_path, write(tmp_path, text), split="split", delimiter="tab", shape="1, 2, 3")
    assert arrays.x.shape == (6, 1, 2, 3) and arrays.x[2, 0].tolist() == [[2, 3, 4], [5, 6, 7]]
    assert arrays.val_x is not None and arrays.test_x is not None
    assert (len(arrays.val_x), len(arrays.test_x)) == (4, 2) and arrays.test_x[0, 0, 0, 0] == 10


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TABLE, {"label": "kind"}, r"dataset\.options\.label = 'kind': a column of a\.csv: id, ax, ay, who, label"),
        (TABLE, {"ignore": "id, of"}, r"dataset\.options\.ignore = 'of'"),
        (TABLE, {"delimiter": ";;"}, "one character, or tab"),
        (TABLE, {"delimiter": 3}, r"dataset\.options\.delimiter = 3: text"),
        (TABLE, {}, r"a\.csv:2: column 'who' = 'subject 0': a number in every row"),
        ("a,label\n1,x\n,y\n", {}, r"a\.csv:3: column 'a' = '': a number in every row"),
        ("a,label\n1,x\n2\n", {}, r"a\.csv:3: row = '2': 2 cells"),
        ("a,a,label\n1,2,x\n", {}, r"a\.csv:1: first line = \['a'\]"),
        ("a,label\n", {}, "rows = 0"),
        ("", {}, "first line"),
        ("label\nx\ny\n", {}, "features beside label"),
        ("a,label\n1,x\n2,\n3,x\n", {}, "a class in every row"),
        ("a,label\n" + "".join(f"{i},{i / 7}\n" for i in range(50)), {}, "50 different values"),
        ("a,label\n" + "1,x\nnan,y\n" * 3, {}, r"a\.csv: x\[1, 0\] = nan: every value must be finite"),
        ("a,s,label\n1,train,x\n2,dev,y\n", {"split": "s"}, r"a\.csv:3: column 's' = 'dev': train, validation or"),
        ("a,s,label\n1,test,x\n2,test,y\n", {"split": "s"}, "rows of split train"),
        ("a,b,label\n" + "1,2,x\n1,2,y\n" * 3, {"shape": "1,2,3"}, "whose product is 2"),
        ("a,b,label\n" + "1,2,x\n1,2,y\n" * 3, {"shape": "2x1"}, "channels, rows, columns"),
        ('a,label\n"1,x\n', {}, "a CSV file in UTF-8"),
    ],
)  # fmt: skip
def test_errors_name_the_mistake(tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(InvalidInput, match=message):
        csv_file(tmp_path, "a.csv", **options)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"absent\.csv"):
        csv_file(tmp_path, "absent.csv")
    (tmp_path / "latin.csv").write_bytes("a,label\n1,é\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="a CSV file in UTF-8"):
        csv_file(tmp_path, "latin.csv")
