"""The columns that CSV files and data frames share."""

import csv
import io

import pandas as pd
from test_report_results import some_rows

from sparsemod.records import Candidate, Failure, FailureKind, Measurement, TrialRecord, TrialState
from sparsemod.report.columns import columns_of
from sparsemod.report.frames import frame
from sparsemod.report.results import trials_csv


def row(
    index: int, parameters: dict[str, object], *measured: tuple[str, float, str], **fields: object
) -> TrialRecord:
    found = tuple(Measurement(metric=m, value=v, unit=u, method="made up") for m, v, u in measured)
    candidate = Candidate(parameters=parameters, origin="sobol", round="r1")
    return TrialRecord(
        index=index,
        candidate=candidate,
        state=TrialState.COMPLETED,
        epochs=1,
        seed=0,
        measurements=found,
        **fields,
    )


def test_a_frame_and_a_csv_file_hold_the_same_table():
    rows = some_rows()
    made, lines = frame(rows), list(csv.reader(io.StringIO(trials_csv(rows))))
    found = columns_of(rows)
    assert [column.name for column in found] == [made.index.name, *made.columns]
    assert [column.title for column in found] == lines[0]
    for place, column in enumerate(found):
        cells = [line[place] for line in lines[1:]]
        values = made.index if place == 0 else made[column.name]
        assert cells == ["" if pd.isna(value) else str(column.cell(value)) for value in values], column.name


def test_attrs_hold_units_and_types_are_kept():
    rows = [
        row(
            3,
            {"width": 8, "rate": 0.5, "kind": "conv", "bias": True},
            ("error", 0.25, "fraction"),
            seconds={"build": 0.5, "train": 1.0},
        ),
        row(
            7,
            {"rate": 1},
            ("flash", 100, "B"),
            failure=Failure(kind=FailureKind.FAULT, message="out of memory"),
        ),
    ]
    made = frame(rows)
    assert made.attrs["units"] == {"epochs": "epochs", "seconds": "s", "error": "fraction", "flash": "B"}
    assert list(made.index) == [3, 7] and made.index.name == "trial"
    assert made.loc[3, "width"] == 8 and pd.isna(made.loc[7, "width"]) and made["width"].dtype == "Int64"
    assert made["rate"].tolist() == [0.5, 1.0] and made["rate"].dtype == "float64"
    assert made.loc[3, "kind"] == "conv" and made["bias"].dtype == "boolean"
    assert pd.isna(made.loc[7, "error"]) and made["error"].dtype == "float64"
    assert made["failure"].tolist()[1] == "out of memory" and pd.isna(made.loc[3, "failure"])


def test_an_empty_table_has_the_columns_of_a_trial():
    made = frame([])
    assert len(made) == 0 and list(made.columns)[:2] == ["state", "round"] and made.index.name == "trial"


def test_names_of_columns_are_unique():
    rows = [
        row(
            0,
            {"error": 1, "epochs": 2, "trial": 3},
            ("error", 0.5, "fraction"),
            ("seconds", 9.0, "s"),
            trained_epochs=4.0,
        )
    ]
    made = frame(rows)
    assert made.columns.is_unique
    assert made.loc[0, "error"] == 0.5 and made.loc[0, "parameters.error"] == 1
    assert made.loc[0, "epochs"] == 4.0 and made.loc[0, "parameters.epochs"] == 2
    assert made.loc[0, "parameters.trial"] == 3 and made.loc[0, "measurements.seconds"] == 9.0
    header = trials_csv(rows).splitlines()[0].split(",")
    assert len(set(header)) == len(header) and "error [fraction]" in header and "parameters.error" in header


def test_metrics_have_one_order():
    one = row(0, {}, ("flash", 1.0, "B"), ("zeta", 1.0, ""), ("error", 0.5, "fraction"))
    two = row(1, {}, ("error", 0.5, "fraction"), ("flash", 1.0, "B"), ("zeta", 1.0, ""))
    assert list(frame([one]).columns) == list(frame([two]).columns) == list(frame([two, one]).columns)
    assert [c for c in frame([one]).columns if c in ("error", "flash", "zeta")] == ["error", "flash", "zeta"]
