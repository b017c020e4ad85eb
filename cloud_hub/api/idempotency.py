"""`Idempotency-Key`: a POST that makes something may be sent again, after a broken connection, and makes it once.

A route that makes something takes `once: OnceDep` and gives its work to it:

    @router.post("/things", response_model=Thing, status_code=201)
    def create_thing(once: OnceDep, ...) -> Response:
        return once.answer(lambda: services.things.create(...))

Keys are the caller's own, for 24 hours (after the IETF's draft-ietf-httpapi-idempotency-key-header). The same key with
the same request gives the same answer, and with another one 422. While the first is at work, and after a hub that
died in the middle of it, 409: then look whether it was done, and ask with a new key. What failed may be tried again
under its key.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from cloud_hub.api.conditions import tag
from cloud_hub.api.context import ContextDep
from cloud_hub.api.guard import principal_of
from cloud_hub.errors import ConflictError, HubError, KeyReusedError
from cloud_hub.store import idempotency as store
from cloud_hub.store.database import Database

_log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_KEY = 200
REPLAYED = "idempotency-replayed"


class Once:
    """One request, with or without a key."""

    def __init__(self, database: Database, who: str, key: str | None, request_sha256: str, now_s: float) -> None:
        self._database, self._who, self._key = database, who, key
        self._request_sha256, self._now_s = request_sha256, now_s

    def answer(
        self,
        make: Callable[[], T],
        status: HTTPStatus = HTTPStatus.CREATED,
        *,
        secret: bool = False,
        revision: str = "",
    ) -> Response:
        """What `make` gives, as JSON; or what it gave the first time, with the header Idempotency-Replayed.

        Args:   secret: the answer holds a secret and is not kept; the same request again is a conflict.
                revision: where in the answer the number of its ETag stands, such as "hook.revision".
        Raises: KeyReusedError. ConflictError: the first is still at work, or its answer was not kept. What `make`
                raises.
        """
        if self._key is None:
            return _tagged(_json(make(), status), revision)
        kept = store.begin(self._database, self._who, self._key, self._request_sha256, self._now_s)
        if kept is not None:
            return _tagged(self._again(kept), revision)
        try:
            made = make()
        except Exception:  # whatever it was: nothing was made, and a fault of ours must not lock the caller out
            self._give_up(self._key)
            raise
        answer = _json(made, status)
        body = None if secret else bytes(answer.body)
        store.finish(self._database, self._who, self._key, int(status), "application/json", body)
        return _tagged(answer, revision)

    def _give_up(self, key: str) -> None:
        try:
            store.give_up(self._database, self._who, key)
        except HubError as error:  # the caller is told of what went wrong first; this key is of no use for a day
            _log.warning("idempotency-key of %s: could not be given up: %s", self._who, error)

    def _again(self, kept: store.Kept) -> Response:
        if kept.request_sha256 != self._request_sha256:
            raise KeyReusedError("idempotency-key: came with another request before; use a new key for a new request")
        if kept.status is None:
            raise ConflictError(
                "idempotency-key: the first request with it has not come to its end; wait, or look whether it was done"
            )
        if kept.body is None:
            raise ConflictError("idempotency-key: this was done; its answer held a secret and is shown only once")
        return Response(kept.body, kept.status, {REPLAYED: "true"}, kept.media_type)


def _json(value: object, status: HTTPStatus) -> Response:
    body = TypeAdapter(type(value)).dump_json(value)
    return Response(body, status, media_type="application/json")


def _tagged(answer: Response, revision: str) -> Response:
    """With its ETag, which is read from the answer: one that was kept has it, too."""
    if revision:
        found = msgspec.json.decode(answer.body)
        for name in revision.split("."):
            found = found[name]
        tag(answer, found)
    return answer


async def _once(
    request: Request,
    context: ContextDep,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=MAX_KEY, pattern=r"^[\x21-\x7e]+$", description="Makes it safe to send again."),
    ] = None,
) -> Once:
    principal = principal_of(request)
    who = f"{principal.kind}:{principal.name}"[:220] if principal is not None else "nobody"
    asked = b"\n".join([request.method.encode(), str(request.url).encode(), await request.body()])
    return Once(context.database, who, idempotency_key, hashlib.sha256(asked).hexdigest(), context.now_s())


OnceDep = Annotated[Once, Depends(_once)]
