"""Commands to single gateways."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.answers import CommandSent
from cloud_hub.api.conditions import json_only
from cloud_hub.api.context import ContextDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.api.routes.gateways import GatewayName
from cloud_hub.delivery.command import DEFAULT_EXPIRES_S
from cloud_hub.services import commands as service
from models.contract.ids import ID_PATTERN
from models.contract.messages import CommandBody

router = APIRouter(tags=["gateways"])
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_CHANGE = problem_responses(
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
    *_DENIED,
)
_Id = Annotated[str, Field(pattern=rf"^{ID_PATTERN}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    expires_in_s: Annotated[
        int, Field(ge=1, le=service.MAX_EXPIRES_S, description="How long it may be carried out.")
    ] = DEFAULT_EXPIRES_S


class CaptureBody(_Body):
    """Send raw samples of a point, from now on. The capture is listed under the command's id."""

    do: Literal["capture"]
    machine: _Id
    point: _Id
    seconds: Annotated[int, Field(ge=1, le=service.MAX_CAPTURE_S)]

    def command(self, gateway: str, now_s: float) -> CommandBody:
        """For the service."""
        until_s = service.deadline(now_s, self.expires_in_s)
        return service.capture(gateway, self.machine, self.point, self.seconds, until_s)


class RecalibrateBody(_Body):
    """Learn a point's healthy state anew, for example after a repair."""

    do: Literal["recalibrate"]
    machine: _Id
    point: _Id

    def command(self, gateway: str, now_s: float) -> CommandBody:
        """For the service."""
        return service.recalibrate(gateway, self.machine, self.point, service.deadline(now_s, self.expires_in_s))


class ReportBody(_Body):
    """Publish the state at once."""

    do: Literal["report"]

    def command(self, gateway: str, now_s: float) -> CommandBody:
        """For the service."""
        return service.report(gateway, service.deadline(now_s, self.expires_in_s))


@router.post(
    "/gateways/{gateway}/commands",
    responses=_CHANGE,
    dependencies=[Depends(json_only)],
    status_code=HTTPStatus.ACCEPTED,
    response_model=CommandSent,
)
def send_command(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Annotated[Principal, Depends(needs(Permission.GATEWAYS_COMMAND))],
    request_id: RequestIdDep,
    once: OnceDep,
    gateway: GatewayName,
    body: Annotated[CaptureBody | RecalibrateBody | ReportBody, Field(discriminator="do")],
) -> Response:
    """Ask a gateway to record, to learn anew, or to report. The broker has it when this answers; a gateway that is away
    carries it out if it comes back in time.
    """

    def make() -> CommandSent:
        now_s = context.now_s()
        command = body.command(gateway, now_s)
        sent = service.send(context.database, caller, workshop.command, command, now_s=now_s, request_id=request_id)
        return CommandSent(sent.id, sent.gateway, sent.expires_s)

    return once.answer(make, HTTPStatus.ACCEPTED)
