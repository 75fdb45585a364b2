"""Check of the order of stages."""

from collections.abc import Sequence

from sparsemod.errors import InvalidInput
from sparsemod.stages.base import RESULT, STAGES, Stage


def compose(
    stages: Sequence[Stage],
    holds: frozenset[str] = frozenset(),
    field: str = "pipeline",
    *,
    repeated: bool = False,
) -> frozenset[str]:
    """Return the words that hold after `stages` when `holds` hold before the first of them.

    With `repeated` the stages run in a loop. Raises InvalidInput that names the stage with an unmet
    precondition and the other stage: the one that must come before it, or the one that ended the
    precondition.
    """
    ended: dict[str, str] = {}
    for _ in range(1 + repeated):  # the second iteration represents all later ones
        for place, stage in enumerate(stages):
            for word in sorted(stage.needs - holds):
                words = _missing(stage, word, stages[place + 1 :], ended)
                raise InvalidInput(f"{field}.{place}", stage.name, words)
            after = stage.after(holds)
            ended |= {word: stage.name for word in holds - after}
            holds = after
    return holds


def check_pipeline(stages: Sequence[Stage], field: str = "pipeline") -> None:
    """Check that the order of a spec's pipeline is valid and ends with a measured network.

    Raises InvalidInput.
    """
    if RESULT not in compose(stages, field=field):
        names = [stage.name for stage in stages]
        giver = _giver(RESULT)
        raise InvalidInput(
            field,
            names,
            f"{giver} after {names[-1] if names else 'nothing'}: a trial's result is its measured network",
        )


def _missing(stage: Stage, word: str, later: Sequence[Stage], ended: dict[str, str]) -> str:
    need = f"{stage.name} needs {word!r}"
    if word in ended:
        return f"{stage.name} before {ended[word]}: {need}, which {ended[word]} ends"
    giver = next((other.name for other in later if word in other.gives), None) or _giver(word)
    if giver is None:
        return f"{need}, which no registered stage gives"
    return f"{stage.name} after {giver}: {need}, which {giver} gives"


def _giver(word: str) -> str | None:
    """Return a registered stage that guarantees `word`, or None."""
    return next((name for name in STAGES.names() if word in STAGES.get(name).gives), None)
