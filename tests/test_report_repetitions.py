"""Mean and spread over trials of equal parameters."""

import csv
import io
import statistics

from sparsemod.records import Candidate, Measurement, TrialRecord, TrialState
from sparsemod.report.repetitions import Spread, repetitions, repetitions_csv, spread


def row(index: int, width: int, error: float | None, state: TrialState = TrialState.COMPLETED) -> TrialRecord:
    found = [Measurement(metric="model_size", value=100.0 * width, unit="B", method="made up")]
    if error is not None:
        found.append(Measurement(metric="error", value=error, unit="fraction", method="made up"))
    found.append(Measurement(metric="error", value=0.9, unit="fraction", method="made up", split="test"))
    candidate = Candidate(parameters={"width": width, "head": "flat"}, origin="grid", round="grid")
    return TrialRecord(
        index=index, candidate=candidate, state=state, epochs=1, seed=index, measurements=tuple(found)
    )


ROWS = [
    row(5, 2, 0.3),
    row(0, 1, 0.10),
    row(1, 2, 0.2),
    row(2, 1, 0.16),
    row(3, 1, 0.4, TrialState.FAILED),
    row(4, 3, 0.5),
    row(6, 1, 0.13),
]


def test_groups_are_completed_trials_of_equal_parameters():
    first, second = repetitions(ROWS)
    assert (first.trials, first.parameters["width"]) == ((0, 2, 6), 1)
    assert (second.trials, second.parameters["width"]) == ((1, 5), 2)
    error = first.metrics["error"]
    assert error.mean == statistics.mean([0.10, 0.16, 0.13]) and (error.low, error.high) == (0.10, 0.16)
    assert abs(error.deviation - statistics.stdev([0.10, 0.16, 0.13])) < 1e-15
    assert first.metrics["model_size"] == Spread(100.0, 0.0, 100.0, 100.0)


def test_a_metric_that_one_of_them_lacks_has_no_spread():
    [group] = repetitions([row(0, 1, 0.1), row(1, 1, None)])
    assert set(group.metrics) == {"model_size"}
    assert repetitions([row(0, 1, 0.1), row(1, 2, 0.1)]) == []


def test_equal_values_have_no_spread_at_all():
    assert spread([0.1] * 3) == Spread(0.1, 0.0, 0.1, 0.1)


def test_the_table():
    lines = list(csv.DictReader(io.StringIO(repetitions_csv(ROWS))))
    assert [(line["trials"], line["repetitions"], line["width"]) for line in lines] == [
        ("0 2 6", "3", "1"), ("1 5", "2", "2"),
    ]  # fmt: skip
    assert float(lines[1]["mean error [fraction]"]) == 0.25
    assert float(lines[1]["deviation model_size [B]"]) == 0.0


def test_text_in_the_table_is_not_a_formula():
    candidate = Candidate(parameters={"=cmd": "=1+1"}, origin="grid", round="grid")
    twice = [row(0, 1, 0.1), row(1, 1, 0.2)]
    text = repetitions_csv([one.model_copy(update={"candidate": candidate}) for one in twice])
    header, line = csv.reader(io.StringIO(text))
    assert (header[-1], line[-1]) == ("'=cmd", "'=1+1")
