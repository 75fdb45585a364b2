"""Write service/http/examples.json, the examples of the OpenAPI description: recorded requests and responses of a small experiment.

    python docs/record_examples.py

Long lists are cut to their first items; addresses, tokens and names are the script's own.
"""

import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from service.http.app import create_app
from service.http.description import EXAMPLES
from service.schemas.logins import Login, Me, Scope
from service.settings import Settings
from service.store import Store, open_store
from service.store.tables import experiments
from service.suggester.suggester import Suggester
from sparsemod.data import load
from sparsemod.pipeline.trial import ParentWeights, Silent, evaluate
from sparsemod.records import Candidate, CurvePoint
from sparsemod.spec.experiment import ExperimentSpec

SPEC = {
    "name": "digits on an M4",
    "dataset": {"name": "digits"},
    "network": {"family": "mlp", "options": {"max_layers": 1, "max_width": 32}},
    "source": {
        "name": "search",
        "rounds": {
            "r1": {"trials": 8, "epochs": 8},
            "r2": {"trials": 3, "epochs": 8},
            "r3": {"trials": 2, "epochs": 4},
        },
    },
    "objectives": ["error", "model_size"],
    "budgets": ["flash <= 4 KB"],
}
CUT = {
    "items": 1, "points": 1, "history": 2, "families": 1, "datasets": 1, "devices": 2, "metrics": 2, "curve": 2,
}  # fmt: skip
"""Number of shown items by name of the list; other lists are shown in full."""


CLAIMS = itertools.count(1)


class Recorder:
    """Sends requests and records bodies and responses, by method and path as in the description."""

    def __init__(self, http: TestClient) -> None:
        self._http = http
        self.examples: dict[str, dict[str, Any]] = {}

    def __call__(self, method: str, path: str, body: Any = None, **parts: Any) -> Any:
        """Send a request; `parts` fill the path."""
        answer = self._http.request(method, path.format(**parts), json=body)
        if answer.status_code >= 400:
            raise SystemExit(f"{method} {path}: {answer.text}")
        kept: dict[str, Any] = {}
        if body is not None:
            kept["body"] = body
        if answer.headers.get("content-type") == "application/json":
            kept[str(answer.status_code)] = cut(answer.json(), "items")
        self.examples.setdefault(f"{method} {path}", {}).update(kept)
        return (
            answer.json() if answer.content and answer.headers["content-type"] == "application/json" else None
        )

    def until_there(self, path: str, **parts: Any) -> None:
        """Repeat the request until the result is computed."""
        while self("GET", path, **parts).get("computing"):
            time.sleep(0.2)


class Points(Silent):
    """Records the learning curve."""

    def __init__(self) -> None:
        self.curve: list[CurvePoint] = []

    def point(self, point: CurvePoint) -> None:
        self.curve.append(point)


def cut(data: Any, name: str) -> Any:
    """Return `data` with the lists in CUT shortened."""
    if isinstance(data, dict):
        return {key: cut(value, key) for key, value in data.items()}
    if isinstance(data, list):
        return [cut(item, "") for item in data[: CUT.get(name)]]
    return data


def work(ask: Recorder, http: TestClient, folder: Path) -> bool:
    """Claim a trial, evaluate it and report it like a worker; return whether a trial was queued."""
    body = {"worker": "lab-1", "device": "cpu", "slots": 1, "request": f"claim-{next(CLAIMS)}"}
    claim = ask("POST", "/claims", body)
    if claim is None:
        return False
    part = {"attempt": claim["attempt"]}
    fence = {"token": claim["token"]}
    spec = ExperimentSpec.parse(claim["spec"])
    parent = None
    if claim["parent"]:
        weights = next(a for a in claim["parent"]["artifacts"] if a["kind"] == "weights")
        state = http.get(f"/artifacts/{weights['digest']}").content
        parent = ParentWeights(claim["parent"]["parameters"], state, claim["parent"]["epochs"])
    ask("POST", "/attempts/{attempt}/heartbeat", fence, **part)
    points = Points()
    result = evaluate(
        spec, Candidate.model_validate(claim["candidate"]), epochs=claim["epochs"], seed=claim["seed"],
        data=load(spec.dataset), parent=parent, reporter=points, workdir=folder,
    )  # fmt: skip
    log = [{"time": round(time.time(), 3), "level": "info", "message": "train: 0.05 s"}]
    curve = [point.model_dump(mode="json") for point in points.curve]
    ask("POST", "/attempts/{attempt}/points", {**fence, "points": curve, "log": log}, **part)
    for artifact in result.artifacts:
        content = (folder / artifact.name).read_bytes()
        answer = http.put(f"/artifacts/{artifact.digest}", content=content)
        ask.examples["PUT /artifacts/{digest}"] = {"200": answer.json()}
    digest = next(a.digest for a in result.artifacts if a.kind == "weights")
    ask("POST", "/attempts/{attempt}/checkpoint", {**fence, "digest": digest}, **part)
    report = result.model_dump(mode="json", exclude={"curve"})  # the points were sent before
    ask("POST", "/attempts/{attempt}/finish", {**fence, "result": report}, **part)
    return True


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """Run the experiment and send all requests."""
    settings = Settings(data_dir=folder)
    store = open_store(settings)
    with TestClient(create_app(settings, store=store)) as http:
        ask = Recorder(http)
        ask("POST", "/experiments/check", {"spec": SPEC})
        identity = {"experiment": ask("POST", "/experiments", {"spec": SPEC})["id"]}
        suggester = Suggester(store, ahead=1)
        while suggester.step() or work(ask, http, folder):
            pass
        suggester.close()
        first = store.trial(identity["experiment"], 0).candidate.parameters
        http.post(f"/experiments/{identity['experiment']}/trials", json={"parameters": first, "epochs": 2})
        while work(ask, http, folder):
            pass
        ask("GET", "/experiments/{experiment}/repetitions", **identity)
        ask("GET", "/experiments/{experiment}/membership", **identity)
        trial = {**identity, "index": store.pareto(identity["experiment"]).points[0].index}
        for path in ("", "/{experiment}", "/{experiment}/events", "/{experiment}/trials", "/{experiment}/points",
                     "/{experiment}/timeline", "/{experiment}/trials/{index}", "/{experiment}/trials/{index}/curve",
                     "/{experiment}/trials/{index}/log", "/{experiment}/trials/{index}/devices"):  # fmt: skip
            ask("GET", f"/experiments{path}", **trial)
        for path in (
            "/pareto/{experiment}",
            "/pareto/{experiment}/devices",
            "/workers",
            "/audit",
            "/quota",
            "/catalogue",
            "/me",
            "/health",
        ):
            ask("GET", path, **identity)
        ask.until_there("/experiments/{experiment}/importance", **identity)
        ask.until_there("/experiments/{experiment}/trials/{index}/graph", **trial)
        exports(ask, trial)
        study(ask, http, store, folder)
        models(ask, http)
        webhooks(ask)
        ask("POST", "/workers/{name}/drain", {"drain": True}, name="lab-1")
        ask(
            "POST",
            "/experiments/{experiment}/extend",
            {"rounds": {"r3": 2}, "budgets": {"flash": "3 KB"}},
            **identity,
        )
        parameters = store.trial(identity["experiment"], 0).candidate.parameters
        attached = {"parameters": {**parameters, "l1_width": 12}, "epochs": 2}
        number = ask("POST", "/experiments/{experiment}/trials", attached, **identity)["index"]
        ask("POST", "/experiments/{experiment}/trials/{index}/stop", **identity, index=number)
        for verb in ("stop", "resume"):
            ask("POST", f"/experiments/{{experiment}}/{verb}", **identity)
        ask("POST", "/experiments/{experiment}/retry", {"trials": None}, **identity)
        ask("POST", "/experiments/{experiment}/keep", {"keep": True, "trials": [0]}, **identity)
        with store.engine.begin() as connection:  # a spec as a newer release would store it
            newer = {**store.experiment(identity["experiment"]).spec.to_dict(), "version": 3}
            connection.execute(sa.update(experiments).values(spec=newer))
        ask("POST", "/experiments/{experiment}/mend", {"spec": SPEC}, **identity)
        ask.examples["POST /login"] = {
            "body": {"token": "sm_the-token-that-token-create-printed"},
            "200": Me(open=False, login=Login(token=1, owner="ada", scopes=(Scope.WRITE,))).model_dump(
                mode="json"
            ),
        }
    store.close()
    return {name: shortened(ask.examples[name]) for name in sorted(ask.examples)}


def exports(ask: Recorder, trial: dict[str, Any]) -> None:
    """Export a trial, then the front."""
    body = {"formats": ["c"], "device": "stm32f446"}
    base = "/experiments/{experiment}/trials/{index}/exports"
    ask("POST", base, body, **trial)
    while any(item["state"] in ("queued", "running") for item in ask("GET", base, **trial)):
        time.sleep(0.2)
    ask("GET", "/experiments/{experiment}/exports", **trial)
    ask("POST", "/pareto/{experiment}/exports", body, **trial)


def study(ask: Recorder, http: TestClient, store: Store, folder: Path) -> None:
    """Run a small study to its end."""
    source = {
        "name": "study", "methods": ["magnitude"], "spacing": [{"type": "manual", "values": [0.5]}],
        "epochs": 8, "retrain_epochs": 4,
    }  # fmt: skip
    spec = {**SPEC, "name": "pruning study", "source": source}
    identity = http.post("/experiments", json={"spec": spec}).json()["id"]
    suggester = Suggester(store, ahead=1)
    while suggester.step() or work(ask, http, folder):
        pass
    suggester.close()
    ask("GET", "/experiments/{experiment}/study", experiment=identity)


def models(ask: Recorder, http: TestClient) -> None:
    """Upload a trained network, wait until it is measured, and start a search from it."""
    import io

    import torch
    from torch import nn

    from sparsemod.importing.readers.exported_archive import without_examples

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 8, 8),)), file)
    answer = http.post("/models?name=digits.pt2", content=without_examples(file.getvalue()))
    ask.examples["POST /models"] = {"202": answer.json()}
    model = {"model": answer.json()["id"]}
    while ask("GET", "/models/{model}", **model)["state"] in ("queued", "running"):
        time.sleep(0.2)
    ask("GET", "/models")
    body = {"dataset": {"name": "digits"}, "budgets": ["flash <= 4 KB"], "trials": 10, "epochs": 3}
    ask("POST", "/models/{model}/experiments", body, **model)


def webhooks(ask: Recorder) -> None:
    """Register a receiver, test it, and delete it."""
    body = {"url": "https://ci.example/sparsemod", "events": ["front.changed"]}
    hook = {"webhook": ask("POST", "/webhooks", body)["id"]}
    ask.examples["POST /webhooks"]["201"]["secret"] = "whsec_..."
    ask("GET", "/webhooks")
    ask("POST", "/webhooks/{webhook}/ping", **hook)
    ask("GET", "/webhooks/{webhook}/deliveries", **hook)
    ask("POST", "/webhooks/{webhook}/enable", **hook)
    ask("DELETE", "/webhooks/{webhook}", **hook)


def shortened(example: dict[str, Any]) -> dict[str, Any]:
    """Omit the JSON schema of specs from a catalogue, because it is long; /openapi.json contains it."""
    answer = example.get("200")
    if isinstance(answer, dict) and "schema" in answer:
        answer["schema"] = {"$ref": "#/components/schemas/ExperimentSpec"}
    return example


def main(write: Callable[[str], Any] = EXAMPLES.write_text) -> None:
    """Record the examples and write the file."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        examples = record(Path(folder))
    lines = [f"{json.dumps(name)}: {json.dumps(example)}" for name, example in examples.items()]
    write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
