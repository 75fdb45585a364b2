"""What experiments look like in a terminal."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from service.cli.common import counted, duration
from service.cli.view import (
    Point,
    Progress,
    Running,
    Snapshot,
    bar,
    emptiness,
    front_table,
    line,
    render,
    sparkline,
)
from service.cli.watching import time_left
from sparsemod.records import NearMiss

SNAPSHOT = Snapshot(
    identity=3,
    name="digits",
    state="running",
    reason=None,
    rounds=[Progress("r1", 4, 4, "Sobol"), Progress("r2", 1, 10, "model"), Progress("r3", 0, 6, "morphs")],
    counts={"completed": 5, "running": 1, "infeasible": 2},
    objectives=("error", "model_size"),
    budgets={"model_size": 16384.0},
    front=[
        Point(4, {"error": 0.05, "model_size": 2000.0}, "gp", None),
        Point(2, {"error": 0.2, "model_size": 400.0}, "morphism", 1, ("widen l1 8->12",)),
    ],
    hypervolume=0.71234,
    history=[0.1, 0.5, 0.7, 0.71, 0.71234],
    seconds=100.0,
    left=300.0,
    running=[Running(5, "r2", "host-1", 3, 10, 0.125, 4.0)],
    workers=2,
)


def shown(picture: RenderableType, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(picture)
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


def test_the_live_picture_has_everything() -> None:
    text = shown(render(SNAPSHOT))
    for words in (
        "digits", "experiment 3", "● running", "1 min 40 s, about 5 min 00 s left", "r1 Sobol", "4/4", "1/10", "r3 morphs", "5 completed",
        "1 running", "2 infeasible", "2 workers", "host-1", "3/10", "12.50 %", "front 2 points", "hypervolume 0.7123", "≤ 16.0 KB",
        "5.00 %", "2000 B", "morphism of 1: widen l1 8->12",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(row) for row in shown(render(SNAPSHOT, width=width), width).splitlines()) <= width


def test_a_long_front_is_cut_to_the_terminal() -> None:
    points = [Point(n, {"error": 0.01 * n, "model_size": 1000.0 - n}, "gp", None) for n in range(1, 61)]
    text = shown(render(replace(SNAPSHOT, front=points), height=40))
    assert len(text.splitlines()) <= 40
    assert "more" in text
    assert len(shown(front_table(replace(SNAPSHOT, front=points))).splitlines()) > 60


def test_an_experiment_without_trials_can_be_shown() -> None:
    empty = replace(
        SNAPSHOT, front=[], history=[], counts={}, hypervolume=0.0, running=[], left=None, workers=0
    )
    assert "0 completed" in shown(render(empty))
    assert "no trials yet" in line(empty)


def test_the_line_for_logs() -> None:
    text = line(SNAPSHOT)
    for words in (
        "running",
        "r1 4/4 r2 1/10 r3 0/6",
        "5 completed, 1 running, 2 infeasible",
        "best error 5.00 %",
        "5 min 00 s left",
    ):
        assert words in text
    assert "(converged)" in line(replace(SNAPSHOT, state="done", reason="converged"))


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [(0, 4, "····"), (4, 4, "████"), (1, 2, "██··"), (9, 4, "████"), (0, 0, "····"), (1, 8, "▌···")],
)
def test_bars(done: int, total: int, expected: str) -> None:
    assert bar(done, total, 4) == expected


def test_sparklines_go_from_lowest_to_highest() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([1.0], 10) == "▁"
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert len(sparkline([float(n) for n in range(1000)], 40)) <= 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.012, "12 ms"), (3.2, "3 s"), (89, "89 s"), (150, "2 min 30 s"), (7300, "2 h 01 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_left_goes_by_the_rate_so_far() -> None:
    assert time_left([Progress("r1", 5, 10), Progress("r2", 0, 10)], 50.0) == 150.0
    assert time_left([Progress("r1", 0, 10)], 50.0) is None
    assert time_left([Progress("r1", 10, 10)], 50.0) == 0.0
    assert time_left([Progress("r1", 5, 10)], 50.0, rate=10.0) == 30.0


@pytest.mark.parametrize(("number", "text"), [(0, "0 points"), (1, "1 point"), (1200, "1,200 points")])
def test_counted(number: int, text: str) -> None:
    assert counted(number, "point") == text


def test_the_reason_for_an_empty_front() -> None:
    empty = replace(SNAPSHOT, front=(), budgets={"error": 0.01})
    assert emptiness(empty) in shown(render(empty))
    assert emptiness(empty).endswith("of 5 completed, no trial is within the budgets yet (error <= 1.00 %)")
    assert "budgets (error" in emptiness(replace(empty, state="done"))
    miss = NearMiss(index=7, values={"error": 0.03, "model_size": 900.0}, excess={"error": 0.02})
    near = replace(empty, nearest=(miss,))
    assert emptiness(near).endswith("(error <= 1.00 %)\nnearest: trial 7 (error 3.00 % > 1.00 %)")
    assert "nearest: trial 7" in shown(
        render(near)
    ) and "no trial within the budgets, nearest: trial 7" in line(near)
    young = replace(empty, counts={"running": 1})
    assert emptiness(young) == "the front is empty: no trial has completed yet"
    assert "front" not in shown(render(young)), "nothing is wrong so far"
    assert emptiness(replace(young, state="failed")) == "the front is empty: no trial was completed"
