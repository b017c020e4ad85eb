"""`/metrics` for Prometheus, and the middleware that times every answer."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.access import template_of
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.observing.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["hub"])


@router.get(
    "/metrics",
    dependencies=[Depends(needs(Permission.METRICS_READ))],
    response_class=Response,
    responses={**problem_responses(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(request: Request) -> Response:
    """The hub's and the fleet's figures in Prometheus' text format."""
    metrics = request.app.state.metrics
    assert isinstance(metrics, Metrics)  # noqa: S101 - set by create_app
    return Response(metrics.text(), media_type=CONTENT_TYPE)


class TimedRequests:
    """Times every answer by the route's template. A stream of events counts until its first byte."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        seen = False

        async def timed(message: Message) -> None:
            nonlocal seen
            if message["type"] == "http.response.start":
                seen = True
                self._observe(scope, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, timed)
        finally:
            if not seen:
                self._observe(scope, 500, time.perf_counter() - began)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.observe_request(method, template_of(scope), status, seconds)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
