"""The store that the benchmark of the dashboard looks at: filled with SQL, candidates of the digits CNN space with made-up results."""

import time
from typing import Any

import numpy as np
import sqlalchemy as sa

OBJECTIVES = ("error", "model_size", "working_memory", "latency")
METRICS = (*OBJECTIVES, "macs", "parameters", "nonzeros")


def spec(trials: int) -> Any:
    """The experiment's spec."""
    from sparsemod.spec.experiment import ExperimentSpec

    rounds = {name: {"trials": trials, "epochs": 5} for name in ("r1", "r2", "r3")}
    return ExperimentSpec.parse(
        {"name": "benchmark", "dataset": {"name": "digits"}, "network": {"family": "cnn"}, "rounds": rounds,
         "objectives": list(OBJECTIVES), "budgets": {"model_size": 60_000.0}}
    )  # fmt: skip


def values_of(parameters: dict[str, Any], rng: np.random.Generator) -> dict[str, float]:
    """Made-up results: sizes grow with the parameters, errors shrink."""
    size = 500.0 + sum(40.0 * v for v in parameters.values() if isinstance(v, int)) * (0.5 + rng.random())
    error = float(np.clip(0.02 + 200.0 / size * (0.3 + rng.random()), 0.0, 0.9))
    return {"error": error, "model_size": size, "working_memory": size / 3, "latency": size / 900,
            "macs": size * 30, "parameters": size, "nonzeros": size * 0.8}  # fmt: skip


def candidates(count: int) -> list[dict[str, Any]]:
    """Random candidates of the digits CNN space."""
    from sparsemod.data.source import declared
    from sparsemod.pipeline.problem import Problem

    info = declared("digits")
    if info is None:
        raise SystemExit("digits declares no shape")
    space, rng = Problem.of(spec(1), info).space, np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


def seed(url: str, given: list[dict[str, Any]]) -> int:
    """An experiment with these trials, all completed; its number."""
    from service.store import Store
    from service.store.tables import attempts, events, experiments, measurements, trials

    store, rng, now = Store.open(url), np.random.default_rng(1), time.time() - 36_000
    number, count = store.create_experiment(spec(len(given))).id, len(given)
    with store.engine.connect().execution_options(sparsemod_write=True) as connection, connection.begin():
        rows: dict[str, list[dict[str, Any]]] = {
            "trials": [],
            "attempts": [],
            "measurements": [],
            "events": [],
        }
        for index, parameters in enumerate(given):
            at = now + index * 3.0
            first = 2 + 4 * index
            morph = index > 2 * count // 3
            rows["trials"].append(
                {"id": index + 1, "experiment_id": number, "index": index, "state": "completed", "round": "r3" if morph else "r2" if index > count // 3 else "r1",
                 "origin": "morphism" if morph else "gp" if index > count // 3 else "sobol", "parent": index - 7 if morph else None, "parameters": parameters,
                 "operators": ["widen"] if morph else [], "epochs": 5, "seed": index, "costs": {}, "stop_requested": False, "trained_epochs": 5.0,
                 "seconds": {"train": 2.5}, "notes": [], "created_at": at, "finished_at": at + 3, "finished_event": first + 3}
            )  # fmt: skip
            rows["attempts"].append(
                {"id": index + 1, "trial_id": index + 1, "worker": f"w{index % 8}", "device": "cpu", "token": "t", "state": "completed", "started_at": at,
                 "heartbeat_at": at + 3, "expires_at": at + 60, "ended_at": at + 3, "outcome": "completed"}
            )  # fmt: skip
            rows["measurements"] += [
                {"trial_id": index + 1, "position": place, "metric": name, "value": value, "unit": "B", "method": "made up", "target": "stm32f446",
                 "split": "validation" if name == "error" else None, "standard_error": None, "detail": {}}
                for place, (name, value) in enumerate(values_of(parameters, rng).items())
            ]  # fmt: skip
            kinds = (("trial", "queued"), ("trial", "running"), ("points", ""), ("trial", "completed"))
            rows["events"] += [
                {"experiment_id": number, "counter": first + place, "time": at, "kind": kind, "data": {"index": index, "state": state}}
                for place, (kind, state) in enumerate(kinds)
            ]  # fmt: skip
        for table in (trials, attempts, measurements, events):
            connection.execute(sa.insert(table), rows[table.name])
        change = sa.update(experiments).where(experiments.c.id == number)
        connection.execute(change.values(next_index=count, events=1 + 4 * count))
    store.close()
    return number


def write(url: str, number: int, given: list[dict[str, Any]], seconds: float, rate: float = 10.0) -> int:
    """New trials at `rate` a second through the store, as a suggester and workers make them; how many."""
    from service.store import Store
    from sparsemod.records import Candidate, CurvePoint, Measurement, TrialResult, TrialState
    from sparsemod.sources.observation import Suggestion
    from sparsemod.units import METRICS

    store, rng = Store.open(url), np.random.default_rng(2)
    lease = store.lease_suggester(number, "benchmark")
    if lease is None:
        raise SystemExit("somebody else suggests")
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        parameters = given[done % len(given)]
        candidate = Candidate(parameters=parameters, origin="gp", round="r2")
        store.queue(lease, [Suggestion(candidate, 5)])
        claim = store.claim(f"w{done % 8}")
        if claim is None:
            raise SystemExit("nothing to claim")
        point = CurvePoint(
            epoch=1, train_loss=1.0, validation_loss=1.0, validation_error=0.5, learning_rate=0.1
        )
        store.points(claim.attempt, claim.token, [point])
        measured = tuple(
            Measurement(
                metric=name,
                value=value,
                unit=METRICS[name].unit if name in METRICS else "B",
                method="made up",
            )
            for name, value in values_of(parameters, rng).items()
        )
        store.finish(
            claim.attempt,
            claim.token,
            TrialResult(state=TrialState.COMPLETED, measurements=measured, epochs=5.0),
        )
        done += 1
        time.sleep(max(0.0, began + done / rate - time.monotonic()))
    store.close()
    return done
