"""What happens, as it happens: server-sent events (HTML standard, 9.2)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep
from cloud_hub.api.events import LIFE_S, stream_of
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.live.changes import KINDS, WHAT, Kind
from cloud_hub.live.feed import Feed, Viewer, pack
from cloud_hub.live.watch import missed
from models.contract.ids import ID_PATTERN

router = APIRouter(tags=["live"], dependencies=[Depends(needs(Permission.FLEET_READ))])
HEARTBEAT_S = 15.0
MAX_MACHINES = 50
MAX_VIEWERS = 1000
_RETRY_MS = 2000
_ID = Annotated[str, Query(pattern=rf"^{ID_PATTERN}$")]
_STREAM = stream_of(WHAT, "Events; `{}` as data means that any of this kind may be otherwise now.", may_be_empty=True)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses=_STREAM
    | problem_responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def stream(
    request: Request,
    context: ContextDep,
    kind: Annotated[list[Kind] | None, Query(description="Only these kinds of events.")] = None,
    machine: Annotated[
        list[_ID] | None, Query(max_length=MAX_MACHINES, description="Only these machines, with scores of each point.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=40, description="Go on after this event.")] = None,
) -> StreamingResponse:
    """Changes of alarms, scores, rollouts, gateways and training jobs as server-sent events `alarm`, `point`,
    `rollout`, `gateway`, `job`.

    Data is JSON and says how a thing is now; `{}` means that any of its kind may have changed. Without `machine`, new
    scores are told as `{}` every few seconds. A comment comes every 15 seconds; after 15 minutes, or when a viewer does
    not keep up, the stream ends: ask again with `Last-Event-ID`, as browsers do, and nothing is missed.
    """
    feed: Feed = request.app.state.live
    if feed.viewers >= MAX_VIEWERS:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"{feed.viewers} viewers are watching; ask the API instead")
    since_s = _time_of(last_event_id)
    viewer = feed.join(kind or KINDS, machine or ())  # before looking back: nothing falls between
    try:
        now_s = context.now_s()
        past = await run_in_threadpool(missed, context.database, since_s) if since_s is not None else []
    except BaseException:
        feed.leave(viewer)
        raise
    first = [pack(event, now_s) for event in past if viewer.wants(event)]
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return _Stream(feed, viewer, first, headers)


class _Stream(StreamingResponse):
    """Lets go of its viewer also when nobody is there any more before the first line: what ends a generator that has
    not begun does not run its `finally`.
    """

    def __init__(self, feed: Feed, viewer: Viewer, first: list[bytes], headers: dict[str, str]) -> None:
        super().__init__(_lines(viewer, first), media_type="text/event-stream", headers=headers)
        self._feed, self._viewer = feed, viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until either side ends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._viewer)


async def _lines(viewer: Viewer, first: list[bytes]) -> AsyncIterator[bytes]:
    ends_s = time.monotonic() + LIFE_S  # by the clock, however much there is to tell
    yield b"retry: %d\n\n" % _RETRY_MS + b"".join(first)
    while (left_s := ends_s - time.monotonic()) > 0:
        message = await viewer.next(min(HEARTBEAT_S, left_s))
        if message is None:
            return
        yield message or b": still here\n\n"


def _time_of(last_event_id: str | None) -> float | None:
    """When the last event was told; None for a new viewer, and for an id that is none of ours."""
    try:
        found = float(last_event_id) if last_event_id else None
    except ValueError:
        return None
    return found if found is not None and 0 <= found <= 1e11 else None
