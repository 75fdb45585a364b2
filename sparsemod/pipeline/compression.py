"""The study that compresses one finished trial: the trial is its reference network."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparsemod.errors import Conflict, InvalidInput
from sparsemod.pipeline.journal import Finished
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.records import Candidate, TrialRecord, TrialResult, TrialState
from sparsemod.sources.study import DIGITS, LABEL, REFERENCE, StudyConfig
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.pipeline_parameters import METHOD

KINDS = ("weights", "network")
"""Artifacts of the reference network that the study keeps."""


def compression_spec(
    spec: ExperimentSpec,
    trial: TrialRecord,
    methods: Sequence[str],
    sparsities: Sequence[float],
    *,
    epochs: int | None = None,
    repetitions: int = 1,
    mode: str = "retrain",
    schedule: Mapping[str, Any] | str | None = None,
) -> ExperimentSpec:
    """Return the spec of a study that prunes a trial's network by each method to each sparsity.

    `spec` is the trial's. `sparsities`: shares of the weights to remove, in any order. `epochs`: of the training
    after each pruning, by default those of the trial. `schedule`: when methods prune, by default at the
    beginning. Raises InvalidInput for unknown methods and impossible sparsities, Conflict for a trial without
    stored weights.
    """
    if trial.state is not TrialState.COMPLETED or trial.artifact("weights") is None:
        raise Conflict(f"trial {trial.index} has no stored weights to compress: its state is {trial.state}")
    ratios = sorted({round(1 - sparsity, DIGITS) for sparsity in sparsities}, reverse=True)
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise InvalidInput(
            "sparsity",
            list(sparsities),
            "shares of the weights to remove, above 0 and below 1, each of at most 6 decimals",
        )
    own = {n: v for n, v in trial.candidate.parameters.items() if n not in (METHOD, "sparsity")}
    plain = spec.to_dict()
    plain.pop("constraints", None)
    plain["name"] = f"{spec.name} trial {trial.index} compressed"
    plain["space"] = {name: {"type": "fixed", "value": value} for name, value in own.items()}
    if all(stage.name != "damage" for stage in spec.pipeline):
        plain["pipeline"] = [*plain["pipeline"], {"name": "damage"}]
    plain["pruning"] = {
        "method": "filters", "of": "weights", "schedule": schedule or {"name": "one-shot", "begin": 0.0}
    }  # fmt: skip
    plain["source"] = {
        "name": "study",
        "methods": list(methods),
        "mode": mode,
        "spacing": [{"type": "manual", "values": ratios}],
        "repetitions": repetitions,
        "epochs": max(1, trial.epochs),
        "retrain_epochs": epochs or max(1, trial.epochs),
    }
    return ExperimentSpec.parse(plain)


def adopt_reference(run: LocalRun, trial: TrialRecord, files: Mapping[str, bytes]) -> None:
    """Store a finished trial as the reference network of a compression study that has no trials yet.

    `files`: the content of the trial's artifacts by digest. Raises InvalidInput when the weights are missing.
    """
    if run.trials:
        return
    config = run.spec.source
    if not isinstance(config, StudyConfig):
        raise InvalidInput("source", config.name, "study")
    kept = tuple(a for a in trial.artifacts if a.kind in KINDS and a.digest in files)
    if not any(artifact.kind == "weights" for artifact in kept):
        raise InvalidInput("trial", trial.index, "a trial whose weights are stored")
    for artifact in kept:
        run.artifact(artifact.digest).write_bytes(files[artifact.digest])
    parameters = config.reference(run.problem.space)
    result = TrialResult(
        state=trial.state,
        measurements=trial.measurements,
        notes=(*trial.notes, f"trial {trial.index}, which this study compresses"),
        artifacts=kept,
        epochs=trial.trained_epochs,
    )
    run.adopt(
        Finished(
            index=0,
            candidate=Candidate(parameters=parameters, origin=LABEL, round=REFERENCE),
            planned_epochs=trial.epochs,
            seed=trial.seed,
            result=result,
        )
    )
