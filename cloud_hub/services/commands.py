"""What people ask of single gateways: record, learn anew, report. Signed, sent at once, carried out once at most."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from cloud_hub.accounts.permissions import Principal
from cloud_hub.delivery.command import DEFAULT_EXPIRES_S, send_command
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.store import audit
from cloud_hub.store.database import Database
from cloud_hub.store.fleet_queries import get_gateway
from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.contract.messages import CaptureCommand, CommandBody, RecalibrateCommand, ReportCommand

Send = Callable[[CommandBody], None]
MAX_EXPIRES_S = 86_400
MAX_CAPTURE_S = 86_400


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that the broker has. `id`: of a capture, too, by which it will be listed."""

    id: str
    gateway: str
    expires_s: float


def sender(repository: Repository, link: Link) -> Send:
    """What signs and sends in the running hub."""
    return lambda body: send_command(body, repository, link)


def capture(gateway: str, machine: str, point: str, seconds: int, expires_s: int) -> CommandBody:
    """Send raw samples of a point, from now on."""
    return CaptureCommand(
        gateway=gateway, id=_new_id(), expires_s=expires_s, machine=machine, point=point, seconds=seconds
    )


def recalibrate(gateway: str, machine: str, point: str, expires_s: int) -> CommandBody:
    """Learn a point's healthy state anew."""
    return RecalibrateCommand(gateway=gateway, id=_new_id(), expires_s=expires_s, machine=machine, point=point)


def report(gateway: str, expires_s: int) -> CommandBody:
    """Publish the state at once."""
    return ReportCommand(gateway=gateway, id=_new_id(), expires_s=expires_s)


def deadline(now_s: float, expires_in_s: int = DEFAULT_EXPIRES_S) -> int:
    """Until when a command may be carried out."""
    return int(now_s) + expires_in_s


def send(
    database: Database,
    principal: Principal,
    sender_: Send | None,
    body: CommandBody,
    *,
    now_s: float,
    request_id: str | None = None,
) -> Sent:
    """Ask a gateway. That it was asked is written down first: of a command nobody must be able to say that it was not.

    Raises: NotFoundError: no such gateway, or no such point on it; ConflictError: this hub cannot sign; LinkError: the
            broker does not have it.
    """
    if sender_ is None:
        raise ConflictError("this hub has no signing keys (`cloud-hub keys init`): another one commands its gateways")
    with database.write() as session:
        known = get_gateway(session, body.gateway)
        if isinstance(body, CaptureCommand | RecalibrateCommand):
            places = {(point.machine, point.point) for point in known.points if point.current}
            if (body.machine, body.point) not in places:
                raise NotFoundError(f"gateway {body.gateway}: it reports no point {body.machine}/{body.point}")
        told = msgspec.to_builtins(body)
        kind = told.pop("type")
        after = {"kind": kind} | {name: value for name, value in told.items() if name not in {"gateway", "schema"}}
        audit.record(
            session, principal, "gateway.command", f"gateway:{body.gateway}", before=None, after=after, now_s=now_s,
            request_id=request_id,
        )  # fmt: skip
    sender_(body)
    return Sent(body.id, body.gateway, float(body.expires_s))


def _new_id() -> str:
    return secrets.token_hex(8)
