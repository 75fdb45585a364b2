"""Studies: curves of error against costs by method, and the smallest network within each level of error."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response

from service.http.routes.common import ExperimentId, StoreDep, failures
from service.schemas.dashboard import StudyBestView, StudyPointView, StudyView
from sparsemod.errors import InvalidInput
from sparsemod.report.prunability import prunability, prunability_csv, quality_of, series_of
from sparsemod.report.study_details import curve_points, damages, layer_budgets

router = APIRouter(tags=["results"])


@router.get(
    "/experiments/{experiment:number}/study",
    summary="Curves and prunability of a study",
    response_model=StudyView,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **failures(404)},
)
def show_study(
    store: StoreDep,
    experiment: ExperimentId,
    csv: Annotated[bool, Query(description="The prunability as CSV.")] = False,
) -> StudyView | Response:
    """Means over networks and repetitions. Everything is empty for an experiment without pruned networks."""
    rows = store.trials_at(experiment, store.trial_indices(experiment))
    try:
        series = series_of(rows)
    except InvalidInput:  # no study, or one whose references are not finished
        series = ()
    bests = prunability(series)
    if csv:
        headers = {"content-disposition": f'attachment; filename="experiment-{experiment}-prunability.csv"'}
        return Response(prunability_csv(bests), media_type="text/csv", headers=headers)
    harm = {(row.method, row.sparsity): row.metrics for row in damages(series)}
    layers: dict[tuple[str, float], dict[str, float]] = {}
    for budget in layer_budgets(series):
        layers.setdefault((budget.method, budget.sparsity), {})[budget.layer] = budget.share
    points = tuple(
        StudyPointView(
            method=point.method,
            sparsity=point.sparsity,
            trials=point.trials,
            mean=point.mean,
            least=point.least,
            most=point.most,
            damage=harm.get((point.method, point.sparsity), {}),
            layers=layers.get((point.method, point.sparsity), {}),
        )
        for point in curve_points(series)
    )
    found = tuple(
        StudyBestView(
            level=best.level, method=best.method, trials=best.trials, of=best.of, error=best.error, costs=dict(best.costs),
            removed=dict(best.ratios),
        )
        for best in bests
    )  # fmt: skip
    quality = quality_of(series)
    reference = float(np.mean([one.reference.values()[quality] for one in series])) if series else None
    return StudyView(quality=quality, reference=reference, points=points, prunability=found)
