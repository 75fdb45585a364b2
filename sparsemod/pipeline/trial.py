"""Evaluation of one candidate by the stages of the spec's pipeline.

The service's workers, `sparsemod run`, `sparsemod test` and the benchmarks all call `evaluate`.
"""

from pathlib import Path

from sparsemod.data import Dataset
from sparsemod.pipeline.environment import environment_failure
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.reporter import ParentWeights, Reporter, Silent
from sparsemod.pipeline.work import Mode, Work, windows
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

    `epochs` and `seed` belong to the trial. `data` is the loaded dataset of `spec`; `device` is a torch
    device. With `parent`, training starts from inherited weights. `workdir` receives the artifacts' files
    (`weights.safetensors`, `network.npz`), which the result names; without it, no files are written.
    `resume` continues a checkpoint that the same trial gave to `reporter`. In mode "test" the finished
    network is also measured on the test split, in a separate measurement; no choice ever depends on it. Mode
    "final" is the same after a training on the training and the validation split together: no sample is left to choose
    an epoch by, so that the last one counts, without patience. The measurements on those samples have the split "train".
    With `imports`, the family may be `module:attribute`.

    The result is completed; infeasible (the costs known before training break a budget); failed as invalid
    (cannot be built, captured or quantized, cannot be trained with these settings, or training diverged
    before any usable epoch); failed as fault (a stage that is not `certain` raised another error, or memory
    ran out); or stopped. Equal arguments give equal results on the CPU, except `seconds`.

    Raises InvalidCandidate, InvalidSpec and InvalidInput for input that should never have been queued.
    Raises EnvironmentFailure when the machine lacks a resource, which says nothing about the candidate. The
    result records every other error, with type, stage and place.
    """
    if mode == "final":
        data = data.with_validation(spec.task.targets)
    problem = Problem.of(spec, data.info, imports=imports)
    values = problem.candidate(candidate).parameters
    problem, data = problem.of_candidate(values), windows(problem, data, values)
    work = Work(
        problem=problem, values=values, epochs=epochs, seed=seed, data=data, device=device,
        reporter=reporter or Silent(), parent=parent, resume=resume, workdir=workdir, mode=mode,
        special=spec.source.training(candidate),
    )  # fmt: skip
    try:
        ended = work.run(spec.pipeline)
    except (Exception, SystemExit) as error:
        lacking = environment_failure(error)
        if lacking is not None:
            raise lacking from error
        return work.failed_by(error)
    if ended is not None:
        return ended
    for note in work.notes:
        work.reporter.log(note)
    return work.result(TrialState.COMPLETED, work.measurements)
