"""What single gateways shall run. (Which wants there are is listed with the fleet; fleets are served by rollouts.)"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.conditions import json_only
from cloud_hub.api.context import ContextDep, WorkshopDep
from cloud_hub.api.guard import needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.api.routes.gateways import GatewayName
from cloud_hub.delivery.want import DEFAULT_EXPIRES_S
from cloud_hub.services import wants as service
from cloud_hub.store import views as v
from models.contract.ids import ID_PATTERN
from models.contract.messages import MAX_SLOTS

router = APIRouter(tags=["gateways"])
_CHANGE = problem_responses(
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
)
_Id = Annotated[str, Field(pattern=rf"^{ID_PATTERN}$")]
_Reference = Annotated[str, Field(min_length=1, max_length=200)]
_MAX_EXPIRES_S = 3650 * 86_400


class WantAsk(BaseModel):
    """What changes; the gateway's other slots stay as they are. Expected: `bundles`, `remove` or `resign`."""

    model_config = ConfigDict(extra="forbid")
    bundles: Annotated[
        list[_Reference], Field(max_length=MAX_SLOTS, description="Digests, starts of one, or slot/version.")
    ] = []
    slot: Annotated[_Id | None, Field(description="Refuse unless the bundles are for this slot.")] = None
    remove: Annotated[list[_Id], Field(max_length=MAX_SLOTS, description="Slots that shall stop.")] = []
    resign: Annotated[bool, Field(description="Issue anew what is wanted: after a new director.")] = False
    not_before_s: Annotated[int, Field(ge=0, le=10**10, description="UTC seconds since 1970.")] = 0
    jitter_s: Annotated[int, Field(ge=0, le=86_400, description="Spreads the fetching over this time.")] = 0
    expires_in_s: Annotated[
        int, Field(ge=1, le=_MAX_EXPIRES_S, description="How long it may be followed, from when it holds.")
    ] = DEFAULT_EXPIRES_S

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.bundles and not self.remove and not self.resign:
            raise ValueError("expected bundles, remove or resign")
        return self


@router.post(
    "/gateways/{gateway}/wants",
    responses=_CHANGE,
    dependencies=[Depends(json_only)],
    status_code=HTTPStatus.CREATED,
    response_model=v.WantView,
)
def issue_want(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Annotated[Principal, Depends(needs(Permission.MODELS_PUBLISH))],
    once: OnceDep,
    gateway: GatewayName,
    body: WantAsk,
) -> Response:
    """Say what a gateway shall run, also before it was ever seen. The broker keeps it for a gateway that is away. A
    rollout that is under way there counts the gateway as superseded when another bundle is wanted.
    """
    wanted = service.Wanted(
        bundles=body.bundles, slot=body.slot, remove=body.remove, not_before_s=body.not_before_s,
        jitter_s=body.jitter_s, expires_in_s=body.expires_in_s,
    )  # fmt: skip

    def make() -> v.WantView:
        issued = service.issue_want(workshop.want, caller, gateway, wanted, context.now_s())
        return v.WantView(
            gateway=issued.gateway,
            seq=issued.seq,
            issued_s=float(issued.issued_s),
            expires_s=float(issued.expires_s),
            bundles=tuple(v.WantedView(one.slot, one.sha256, one.version) for one in issued.bundles),
            progress=(),
        )

    return once.answer(make, HTTPStatus.CREATED)
