"""The arena planner against brute force: every order of the steps, every sequence of blocks; and by hand."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_export_c import Drawn
from support_pruning import MODULES, Residual, seeded
from torch import nn

from sparsemod.arena import BufferProblem, Step
from sparsemod.arena import plan as plan_arena
from sparsemod.arena.order import best_order
from sparsemod.arena.problem import peak
from sparsemod.errors import InvalidInput
from sparsemod.export.c import plan
from sparsemod.graph import capture, deployed
from sparsemod.measure.nodes import graph_layout
from sparsemod.quantization import quantize


@st.composite
def problems(draw: st.DrawFn) -> BufferProblem:
    """Up to seven steps with branches, work in place, scratch, and a result that is the caller's."""
    sizes = {"in": draw(st.integers(1, 9))}
    steps: list[Step] = []
    for index in range(draw(st.integers(1, 7))):
        reads = tuple(draw(st.lists(st.sampled_from(list(sizes)), min_size=1, max_size=2, unique=True)))
        name = f"b{index}"
        overlaps = dict.fromkeys(reads, draw(st.sampled_from([0, 0, 1, 2]))) if draw(st.booleans()) else {}
        steps.append(Step(name, reads, name, overlaps, draw(st.sampled_from([0, 0, 0, 3]))))
        sizes[name] = draw(st.integers(1, 9))
    unread = [n for n in sizes if not any(n in step.reads for step in steps) and n != "in"]
    if len(unread) > 1:
        steps.append(Step("join", tuple(unread), None))
    return BufferProblem(sizes, tuple(steps), ("in",))


def orders(problem: BufferProblem) -> list[tuple[int, ...]]:
    """Yield every order in which no buffer is read before it is written."""
    found = []
    for order in itertools.permutations(range(len(problem.steps))):
        made = {"in"}
        for index in order:
            if not set(problem.steps[index].reads) <= made:
                break
            made.add(problem.steps[index].writes or "")
        else:
            found.append(order)
    return found


@settings(deadline=None, max_examples=120)
@given(problems())
def test_no_order_has_a_lower_peak(problem: BufferProblem) -> None:
    lowest = min(peak(problem, order) for order in orders(problem))
    made = plan_arena(problem)
    assert made.exact and made.peak == lowest
    heuristic, exact = best_order(problem, states=1)
    assert peak(problem, heuristic) >= lowest
    assert exact or peak(problem, heuristic) <= peak(problem, range(len(problem.steps)))


@settings(deadline=None, max_examples=60)
@given(problems())
def test_addresses_never_overlap_while_both_live(problem: BufferProblem) -> None:
    """By simulation: every buffer writes its own mark into the memory and finds it when it is read."""
    made = plan_arena(problem)
    memory: list[str] = ["-"] * made.size
    size = problem.sizes["in"]
    memory[made.offsets["in"] : made.offsets["in"] + size] = ["in"] * size
    for index in made.order:
        step = problem.steps[index]
        for name in step.reads:
            span = memory[made.offsets[name] : made.offsets[name] + problem.sizes[name]]
            assert span == [name] * problem.sizes[name]
        if step.scratch:
            start = made.scratch[step.name]
            assert not set(memory[start : start + step.scratch]) & set(step.reads)
            memory[start : start + step.scratch] = ["scratch"] * step.scratch
            for name in step.reads:
                assert set(memory[made.offsets[name] :][: problem.sizes[name]]) == {name}
        if step.writes is not None:
            start, size = made.offsets[step.writes], problem.sizes[step.writes]
            held = set(memory[start : start + size])
            shared = {n for n in step.reads if n in held}
            assert all(made.offsets[n] - start >= step.overlaps[n] for n in shared)
            if step.scratch:
                assert "scratch" not in held or not range(
                    max(start, made.scratch[step.name]),
                    min(start + size, made.scratch[step.name] + step.scratch),
                )
            memory[start : start + size] = [step.writes] * size
    assert len(memory) == made.size >= made.peak


def test_hardly_a_byte_is_lost_to_fragmentation() -> None:
    plans = [plan(Drawn(seed).network) for seed in range(200)]
    assert sum(p.lost for p in plans) <= sum(p.size for p in plans) / 1000
    assert all(p.exact for p in plans)


def test_a_better_order_is_found() -> None:
    # Two branches from one input: a wide intermediate each, a narrow result each. One after the other, not side by side.
    sizes = {"in": 4, "wide1": 50, "wide2": 60, "thin1": 2, "thin2": 3}
    steps = (
        Step("w1", ("in",), "wide1"), Step("w2", ("in",), "wide2"),
        Step("t1", ("wide1",), "thin1"), Step("t2", ("wide2",), "thin2"), Step("join", ("thin1", "thin2"), None),
    )  # fmt: skip
    problem = BufferProblem(sizes, steps, ("in",))
    assert peak(problem, range(5)) == 4 + 50 + 60
    made = plan_arena(problem)
    assert made.peak == made.size == 66 and made.exact
    assert plan_arena(problem, states=1).peak == 66, "the heuristic finds it as well"


def test_a_residual_by_hand() -> None:
    # input 108; stem 288 (scratch 27), first 216 (72), second 288 (54) while stem waits; the sum works in place.
    # Before second writes position 34, it has read the windows up to position 34, and needs those from position 28 on:
    # 35 * 8 bytes are written, and 28 * 6 are free.
    found = plan(quantize(seeded(Residual), torch.randn(16, 3, 6, 6)))
    alive = dict(found.timeline)
    assert alive["stem"] == 108 + 288 + 27
    assert alive["first"] == 288 + 216 + 72
    assert alive["second"] == 288 + 216 + (35 * 8 - 28 * 6) + 54
    assert [v for k, v in alive.items() if "add" in k] == [288 + 288]
    assert found.size == 670 and found.lost == 0


def test_views_and_pools_need_no_extra_memory() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)).eval()
    network = quantize(module, torch.randn(8, 1, 4, 4))
    found = plan(network)
    assert found.size == 64 + 1, (
        "the convolution writes its last position after it has read the input's last byte"
    )
    assert len(set(found.offsets.values())) == 2
    assert [name for name, _ in found.timeline] == ["0", "1", "3"]
    overlapping = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.MaxPool2d(3, 1, 1), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    assert plan(quantize(overlapping, torch.randn(8, 1, 4, 4))).size == 64 + (4 + 1) * 4, (
        "a row and a position"
    )


def test_impossible_problems_are_refused() -> None:
    with pytest.raises(InvalidInput, match="step 'a'"):
        BufferProblem({"in": 1, "x": 1}, (Step("a", ("y",), "x"),), ("in",))
    with pytest.raises(InvalidInput, match="sizes"):
        BufferProblem({"in": 1}, (Step("a", ("in",), "x"),), ("in",))


@pytest.mark.parametrize("kind", MODULES)
def test_the_memory_of_the_search_is_the_memory_that_is_linked(kind: type[nn.Module]) -> None:
    module = seeded(kind)
    found = plan(quantize(module, torch.randn(16, *kind.shape)))
    planned = plan_arena(graph_layout(deployed(capture(module, kind.shape))).problem)
    assert (planned.size, planned.peak, planned.order) == (
        found.size,
        found.size - found.lost,
        found.plan.order,
    )
