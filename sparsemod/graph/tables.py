"""Passes of deployment that merge elementwise functions: one table for a whole chain of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from sparsemod.graph.functions import Function, X, inside
from sparsemod.graph.operators import Operator
from sparsemod.kinds import Kind

_PAIRS = ("add", "sum", "subtract", "multiply", "maximum", "minimum")


class Work(Protocol):
    """The part of a graph being rewritten that these passes use."""

    operators: list[Operator]
    shapes: dict[str, tuple[int, ...]]
    state: dict[str, Tensor]

    def each(self, wanted: Callable[[Kind], object]) -> Iterator[Operator]: ...

    def producer(self, name: str) -> Operator | None: ...

    def sole_user(self, name: str) -> Operator | None: ...

    def put(self, old: Operator, new: Operator) -> None: ...

    def drop(self, operator: Operator) -> None: ...

    def discard(self) -> None: ...

    def weighted(self, operator: Operator, weight: Tensor, bias: Tensor, **changes: Any) -> Operator: ...


def function_of(operator: Operator) -> Function | None:
    """Return the operator as a function of one value, None when it is none."""
    if operator.kind == "table":
        found: Function = operator.attributes["function"]
        return found
    if operator.kind == "affine":
        uniform = operator.attributes["uniform"]
        return None if uniform is None else ("affine", X, *uniform)
    return (operator.traits.activation, X) if operator.traits.activation else None


def merge_pairs(work: Work) -> None:
    """Replace arithmetic of two functions of the same tensor (x * sigmoid(x)) by one table.

    Needs: one of the two sides is a table or an affine of the tensor, not only an activation."""
    for name in [o.name for o in work.operators if o.kind in _PAIRS]:
        pair = next((o for o in work.operators if o.name == name), None)
        if pair is None or pair.attributes.get("activation"):
            continue
        sides = [_chain(work, tensor) for tensor in pair.inputs]
        common = next((tensor for tensor in sides[0] if tensor in sides[1]), None)
        if common is None or work.shapes[common] != work.shapes[pair.output]:
            continue
        first, second = sides[0][common], sides[1][common]
        if {first[0], second[0]} <= {"x", "relu", "relu6"} and pair.kind == "add":
            continue
        kind = "sum" if pair.kind == "add" else pair.kind
        work.put(pair, _table(pair, (kind, first, second), common))
        work.discard()


def _chain(work: Work, tensor: str) -> Mapping[str, Function]:
    """Return tensor -> `tensor` as a function of it, nearest first."""
    found, function = {tensor: X}, X
    while (before := work.producer(tensor)) is not None:
        step = function_of(before)
        if step is None:
            return found
        function, tensor = inside(function, step), before.inputs[0]
        found[tensor] = function
    return found


def _table(operator: Operator, function: Function, source: str) -> Operator:
    return replace(
        operator, kind="table", inputs=(source,), attributes={"function": function}, weight=None, bias=None
    )


def merge_affines(work: Work) -> None:
    """Merge neighbouring affines, and make a uniform one part of the table before it or after it.

    Needs: nothing else reads the tensor between the two."""
    for name in [o.name for o in work.operators if o.kind == "affine"]:
        second = next(o for o in work.operators if o.name == name)
        first = work.producer(second.inputs[0])
        if first is None or first.kind != "affine" or work.sole_user(first.output) is None:
            continue
        (s1, t1), (s2, t2) = (
            (work.state[str(o.weight)].double(), work.state[str(o.bias)].double()) for o in (first, second)
        )
        both = (first.attributes["uniform"], second.attributes["uniform"])
        uniform = None if None in both else (both[0][0] * both[1][0], both[0][1] * both[1][0] + both[1][1])
        attributes = {"uniform": uniform}
        scale, shift = (s1 * s2).float(), (t1 * s2 + t2).float()
        work.put(second, work.weighted(second, scale, shift, inputs=first.inputs, attributes=attributes))
        work.discard()
    _merge(work, lambda kind: kind.affine or kind.name == "table")


def merge_tables(work: Work, activations: bool) -> None:
    """Replace the remaining uniform affines by tables, and make one table of neighbouring tables; with `activations`, of those as well."""
    for operator in work.each(lambda kind: kind.affine):
        function = function_of(operator)
        if function is not None:
            work.put(operator, _table(operator, function, operator.inputs[0]))
    _merge(work, lambda kind: activations or not kind.activation)


def _merge(work: Work, wanted: Callable[[Kind], object]) -> None:
    changed = True
    while changed:
        changed = False
        for second in list(work.operators):
            function = function_of(second)
            first = None if function is None else work.producer(second.inputs[0])
            inner = None if first is None else function_of(first)
            if first is None or inner is None or function is None or work.sole_user(first.output) is None:
                continue
            if "table" not in (first.kind, second.kind) or not (
                wanted(first.traits) and wanted(second.traits)
            ):
                continue
            work.put(second, _table(second, inside(function, inner), first.inputs[0]))
            work.discard()
            changed = True
            break
