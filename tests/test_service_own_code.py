"""A user's family and dataset in real processes, as in docs/own.md: `sparsemod serve --import own_network`."""

from pathlib import Path

from support_own_code import run_service
from support_specs import small

EXAMPLES = Path(__file__).parents[1] / "examples"
SPEC = small(
    "own",
    (3, 1, 1),
    (2, 2, 1),
    dataset={"name": "stripes", "options": {"samples": 300}},
    network={"family": "strided"},
)


def test_the_example_runs_as_a_service(tmp_path: Path) -> None:
    view, trials = run_service(tmp_path, EXAMPLES, ["own_network"], SPEC)
    assert view["state"] == "done", view["reason"]
    assert [trial["failure"] for trial in trials] == [None] * 5
    assert {trial["state"] for trial in trials} == {"completed"}
    assert [trial["candidate"]["round"] for trial in trials] == ["r1"] * 3 + ["r2", "r3"]
