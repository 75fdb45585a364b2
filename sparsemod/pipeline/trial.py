"""One trial, one pipeline: the stages that the spec composes. Nothing else evaluates candidates.

The service's workers, `sparsemod run`, `sparsemod test` and the benchmarks all come through `evaluate`.
"""

from pathlib import Path

from sparsemod.data import Dataset
from sparsemod.pipeline.environment import environment_failure
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.reporter import ParentWeights, Reporter, Silent
from sparsemod.pipeline.work import Mode, Work
from sparsemod.records import Candidate, TrialResult, TrialState
from sparsemod.spec.experiment import ExperimentSpec

__all__ = ["Mode", "ParentWeights", "Reporter", "Silent", "evaluate"]


def evaluate(
    spec: ExperimentSpec,
    candidate: Candidate,
    *,
    epochs: int,
    seed: int,
    data: Dataset,
    device: str = "cpu",
    parent: ParentWeights | None = None,
    reporter: Reporter | None = None,
    workdir: Path | None = None,
    resume: bytes | None = None,
    mode: Mode = "search",
    imports: bool = False,
) -> TrialResult:
    """Send one candidate through the pipeline.

    `epochs` and `seed` are the trial's own; `data` the loaded dataset of `spec`; `device` a torch device. With `parent`, training starts
    from inherited weights. `workdir` receives the artifacts' files (`weights.safetensors`, `network.npz`), named in the result; without it
    none are written. `resume` continues a checkpoint given to `reporter` by the same trial. In mode "test" the finished network is measured on the
    test split too, in a measurement of its own; nothing is ever chosen by it. With `imports`, the family may be `module:attribute`.

    The result is completed; infeasible (a budget is broken by the costs known before training); failed as invalid (cannot be built, captured
    or quantized, cannot be trained with these settings, or training diverged before any usable epoch); failed as fault (a stage that is not
    `certain` raised something else, or memory ran out); or stopped. Equal arguments give equal results on the CPU, but for `seconds`.
    Raises InvalidCandidate, InvalidSpec and InvalidInput for what should never have been queued, EnvironmentFailure for what the machine
    lacks: that says nothing about the candidate. Whatever else its code raises is in the result, with type, stage and place.
    """
    problem = Problem.of(spec, data.info, imports=imports)
    work = Work(
        problem=problem, values=problem.candidate(candidate).parameters, epochs=epochs, seed=seed, data=data, device=device,
        reporter=reporter or Silent(), parent=parent, resume=resume, workdir=workdir, mode=mode,
    )  # fmt: skip
    try:
        ended = work.run(spec.pipeline)
    except (Exception, SystemExit) as error:
        lacking = environment_failure(error)
        if lacking is not None:
            raise lacking from error
        return work.broken(error)
    if ended is not None:
        return ended
    for note in work.notes:
        work.reporter.log(note)
    return work.result(TrialState.COMPLETED, work.measurements)
