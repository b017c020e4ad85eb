"""Letting gateways in, shutting them out and taking them out: enrolment tokens, certificates, revocation."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.answers import CertificateBody, NewEnrolToken, RetireAnswer, RevokeAnswer
from cloud_hub.api.conditions import json_only
from cloud_hub.api.context import ContextDep, WorkshopDep
from cloud_hub.api.guard import needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.errors import ConflictError
from cloud_hub.services.gateways import MAX_HOURS, GatewayDesk
from cloud_hub.store.retirement import retire as retire_gateway
from models.contract.ids import ID_PATTERN

router = APIRouter(tags=["gateways"])
GatewayName = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_CHANGE = problem_responses(HTTPStatus.CONFLICT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, *_WHO)
_CHANGES = [Depends(json_only)]


class TokenBody(BaseModel):
    """How long it may be used."""

    model_config = ConfigDict(extra="forbid")
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] = 24.0


class RevokeBody(BaseModel):
    """Why, for the record."""

    model_config = ConfigDict(extra="forbid")
    why: Annotated[str, Field(min_length=1, max_length=500)]


def desk_of(workshop: WorkshopDep) -> GatewayDesk:
    """The desk of this hub. Raises: ConflictError: it has none."""
    if workshop.desk is None:
        raise ConflictError("this hub has no certificate authority (`cloud-hub identity init`)")
    return workshop.desk


DeskDep = Annotated[GatewayDesk, Depends(desk_of)]


@router.get(
    "/gateways/{gateway}/certificates",
    responses=problem_responses(HTTPStatus.CONFLICT, *_WHO),
    dependencies=[Depends(needs(Permission.FLEET_READ))],
)
def list_certificates(desk: DeskDep, gateway: GatewayName) -> list[CertificateBody]:
    """All certificates that were issued to a gateway, newest first."""
    return [
        CertificateBody(
            serial=row.serial, issued_s=row.issued_s, not_after_s=row.not_after_s, revoked_s=row.revoked_s,
            revoked_why=row.revoked_why,
        )
        for row in desk.certificates(gateway)
    ]  # fmt: skip


@router.post(
    "/gateways/{gateway}/enrol-tokens",
    responses=_CHANGE,
    dependencies=_CHANGES,
    status_code=HTTPStatus.CREATED,
    response_model=NewEnrolToken,
)
def create_token(
    context: ContextDep,
    desk: DeskDep,
    caller: Annotated[Principal, Depends(needs(Permission.GATEWAYS_ENROL))],
    gateway: GatewayName,
    body: TokenBody,
    once: OnceDep,
) -> Response:
    """Issue a single-use token for a gateway; one of before that was not used is void from now on."""

    def make() -> NewEnrolToken:
        made = desk.create_token(caller, gateway, body.hours, context.now_s())
        return NewEnrolToken(gateway=made.gateway, token=made.text, expires_s=made.expires_s)

    answer = once.answer(make, secret=True)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post("/gateways/{gateway}/revoke", responses=_CHANGE, dependencies=_CHANGES)
def revoke(
    context: ContextDep,
    desk: DeskDep,
    caller: Annotated[Principal, Depends(needs(Permission.GATEWAYS_REVOKE))],
    gateway: GatewayName,
    body: RevokeBody,
) -> RevokeAnswer:
    """Revoke all certificates and tokens of a gateway, tell the broker, and end the gateway's session there."""
    done = desk.revoke(caller, gateway, body.why, context.now_s())
    return RevokeAnswer(
        gateway=done.gateway, serials=list(done.serials), broker=done.broker, session_ended=done.session_ended
    )


@router.post(
    "/gateways/{gateway}/retire",
    responses=_CHANGE | problem_responses(HTTPStatus.NOT_FOUND),
    dependencies=_CHANGES,
)
def retire(
    context: ContextDep,
    caller: Annotated[Principal, Depends(needs(Permission.GATEWAYS_REVOKE))],
    gateway: GatewayName,
    body: RevokeBody,
) -> RetireAnswer:
    """Take a gateway that was revoked out of the fleet: out of lists, counts and rollouts. Its alarms that last return
    to normal, and its history stays. It is back as soon as it reports itself again.
    """
    return RetireAnswer(
        gateway=gateway, changed=retire_gateway(context.database, caller, gateway, body.why, context.now_s())
    )
