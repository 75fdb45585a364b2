"""A route for the frequent requests of workers: the same contract, a fraction of the framework's work.

The body is parsed and validated in one step, and an endpoint's own record is written without a second validation.
Anything unusual (another content type, a body that does not validate, a query) goes to the framework's own
handler, so that its errors are those of every other route.
"""

from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

import anyio.to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from service.errors import Forbidden
from service.schemas.workers import AttemptOutcome, Claim

JSON = "application/json"


class ThinRoute(APIRoute):
    """Route of an endpoint `(server parts, path parameters, one body) -> record or Response`.

    `thin` of the endpoint's app state supplies the server parts by the name of the endpoint's parameter.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests."""
        usual = super().get_route_handler()
        body = self.body_field
        hints = get_type_hints(self.endpoint)
        models = [
            (name, hint)
            for name, hint in hints.items()
            if name != "return" and isinstance(hint, type) and issubclass(hint, BaseModel)
        ]
        if body is None or len(models) != 1 or self.dependant.query_params:
            return usual
        ((body_name, model),) = models
        names = [name for name in hints if name not in ("return", body_name)]
        endpoint = self.dependant.call
        status = self.status_code or 200

        async def handle(request: Request) -> Response:
            scope = request.scope
            if request.headers.get("content-type") != JSON or scope["query_string"]:
                return await usual(request)
            if scope.get("sparsemod_admitted") != request.path_params:
                raise Forbidden("this endpoint has no access rule")
            content = await request.body()
            try:
                report = model.model_validate_json(content)
            except ValidationError:
                return await usual(request)
            parts = {"store": request.app.state.store, "files": request.app.state.files}
            parts |= {"login": scope["sparsemod_login"], **request.path_params}
            values = {name: parts[name] for name in names}
            if endpoint is None:
                return await usual(request)
            answer = await anyio.to_thread.run_sync(lambda: endpoint(**values, **{body_name: report}))
            if isinstance(answer, Response):
                return answer
            if isinstance(answer, Claim) or (isinstance(answer, AttemptOutcome) and answer.next is not None):
                request.app.state.metrics.claimed()
            return Response(written(answer, request.app.state.store.spec_json), status, media_type=JSON)

        return handle


def written(answer: BaseModel, spec_json: Callable[[int], str | None]) -> str:
    """Return a record as JSON. The spec of a claim is written once for each experiment, not for each claim."""
    claim = answer.next if isinstance(answer, AttemptOutcome) else answer
    spec = spec_json(claim.experiment) if isinstance(claim, Claim) else None
    if not isinstance(claim, Claim) or spec is None:
        return answer.model_dump_json()
    text = claim.model_dump_json(exclude={"spec"})[:-1] + ',"spec":' + spec + "}"
    if claim is answer:
        return text
    return answer.model_dump_json(exclude={"next"})[:-1] + ',"next":' + text + "}"
