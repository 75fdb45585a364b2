"""Schemathesis reads the OpenAPI description and tries valid and invalid requests: no crash, only described
responses."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from safetensors.numpy import save

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

from support_store import completed, fill, spec

from service.files.artifacts import ArtifactFiles
from service.http.app import create_app
from service.schemas.webhooks import WebhookEvent
from service.settings import Settings
from service.store import open_store

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


EXAMPLES = 10

RECEIVER = "https://ci.example/hook"
"""No such name exists."""

ELSEWHERE = {
    "GET /experiments/{experiment}/ax": "test_service_ax.py",
    "GET /experiments/{experiment}/importance": "test_dashboard_api_views.py",
    "GET /experiments/{experiment}/trials/{index}/graph": "test_dashboard_api_views.py",
    "GET /experiments/{experiment}/stream": "test_stream_events.py",
    "GET /stream": "test_stream_events.py",
    "GET /models/{model}": "test_models_service.py",
    "DELETE /models/{model}": "test_models_service.py",
    "POST /models/{model}/experiments": "test_models_service.py",
}
"""Operations whose good answer needs a process that loads torch or Ax, has no end, or needs an uploaded model: what tests
that answer. Here they get requests about what does not exist, and invalid ones."""

ENDLESS = {"GET /stream"}
"""Operations without a path parameter whose every request that is not refused is answered without end; a header that
is not valid is no reason to refuse one."""

ABSENT = {"experiment": 10**9, "model": 10**9, "index": 10**6}
"""Path parameters of nothing that exists."""

WITHOUT_INPUT = {
    "GET /workers",
    "GET /catalogue",
    "GET /me",
    "GET /health",
    "GET /metrics",
    "GET /webhooks",
    "POST /logout",
}
"""Operations of which nothing can be given wrongly."""

NEVER_GOOD = {
    "PUT /artifacts/{digest}": "test_auth_uploads.py",
    "POST /experiments/{experiment}/mend": "test_store_poison.py",
    "POST /models": "test_models_service.py",
    "POST /experiments/{experiment}/trials/{index}/exports": "test_export_api.py",
    "POST /pareto/{experiment}/exports": "test_export_api.py",
}
"""Operations that drawn requests seldom or never can do: what shows that they can be done."""


@pytest.mark.long
def test_the_server_follows_its_description(tmp_path: Path) -> None:
    # On a busy machine, all requests together take longer than the usual lease.
    found = Settings(data_dir=tmp_path, lease_seconds=3600.0)
    store = open_store(found)
    made = store.create_experiment(spec()).id
    fill(store, made, 3)
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, completed())
    held = store.claim("w")
    assert held is not None
    digest = ArtifactFiles(found.artifacts_dir, 1000).add(save({"w": np.zeros(1)}), store).digest
    parameters = {"layers": 1, "l1_width": 12, "dropout": 0.3}
    result = completed().model_dump(mode="json")
    body = {
        "token": held.token,
        "digest": digest,
        "parameters": parameters,
        "result": result,
        "url": RECEIVER,
    }
    real = {"experiment": made, "attempt": held.attempt, "digest": digest, "name": "w"}
    real["webhook"] = store.add_webhook(RECEIVER, tuple(WebhookEvent)).id
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(found, store=store))
    tried: dict[GenerationMode, set[str]] = {GenerationMode.POSITIVE: set(), GenerationMode.NEGATIVE: set()}
    done: set[str] = set()
    operations = [result.ok() for result in schema.get_all_operations()]
    labels = {operation.label for operation in operations}
    assert labels >= ELSEWHERE.keys() | NEVER_GOOD.keys()
    assert all(Path(__file__).with_name(name).exists() for name in (ELSEWHERE | NEVER_GOOD).values())
    for operation in sorted(operations, key=_late):
        if operation.label in ENDLESS:
            continue
        for mode, names in tried.items():
            good = mode is GenerationMode.POSITIVE
            absent = operation.label in ELSEWHERE
            try:
                # Trial 0 is finished; the worker runs trial 1.
                existing = {**real, "index": int(operation.path.endswith("/stop"))} if good else {}
                statuses = _try(operation, mode, ABSENT if absent else existing, body, every=absent)
            except Unsatisfiable:
                continue
            names.add(operation.label)
            if good and any(status < 300 for status in statuses):
                done.add(operation.label)
    store.close()
    assert tried[GenerationMode.POSITIVE] == labels - ENDLESS
    assert tried[GenerationMode.NEGATIVE] == labels - ENDLESS - WITHOUT_INPUT
    expected = labels - ELSEWHERE.keys()
    assert expected - done <= NEVER_GOOD.keys(), f"never answered with success: {sorted(expected - done)}"


def _late(operation: Any) -> tuple[bool, bool]:
    """Order the operations: those that end or delete objects come last, so that the others find them."""
    return operation.method.upper() == "DELETE", operation.path.endswith(("/stop", "/finish"))


def _try(
    operation: Any, mode: GenerationMode, real: dict[str, Any], fields: dict[str, Any], every: bool = False
) -> set[int]:
    """Send drawn requests, every other one (or `every` one) with the path parameters of `real` and, in its body, the
    values of `fields`; the statuses of the answers."""
    statuses: set[int] = set()
    turns = itertools.count()
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    example = content.get("application/json", {}).get("example")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def run(case: Any) -> None:
        if real and (every or next(turns) % 2 == 0):
            case.path_parameters.update(
                {name: real[name] for name in case.path_parameters if name in real or not every}
            )
            if isinstance(case.body, dict):
                # The description's own example, with what exists: drawn bodies are seldom taken.
                case.body = dict(example or case.body)
                case.body.update({name: fields[name] for name in fields.keys() & case.body.keys()})
        statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    run()
    return statuses
