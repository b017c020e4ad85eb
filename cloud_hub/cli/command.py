"""`cloud-hub capture | recalibrate | report`: commands to one gateway, of the hub here or one elsewhere (`--hub`)."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption, caller
from cloud_hub.cli._parts import open_hub, seconds_of, write_result
from cloud_hub.cli._remote import CaFileOption, HubOption, TokenFileOption, connect

if TYPE_CHECKING:
    from cloud_hub.api.answers import CommandSent
    from cloud_hub.client import HubClient
    from models.contract.messages import CommandBody

GatewayArgument = Annotated[str, typer.Argument(help="Gateway.")]
MachineArgument = Annotated[str, typer.Argument(help="Machine.")]
PointArgument = Annotated[str, typer.Argument(help="Point.")]
ExpiresOption = Annotated[str, typer.Option(help="How long it may be carried out: 90s, 15m.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (capture, recalibrate, report):
        app.command(command.__name__)(command)


def capture(
    gateway: GatewayArgument,
    machine: MachineArgument,
    point: PointArgument,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How much of the signal.")],
    expires: ExpiresOption = "5m",
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Have a point's raw samples sent up, from now on. The id printed is the capture's."""
    from models.contract.messages import CaptureCommand

    body = CaptureCommand(
        gateway=gateway, id=_new_id(), expires_s=_deadline(expires), machine=machine, point=point, seconds=seconds
    )
    _send(body, home, json, hub, token_file, ca_file)


def recalibrate(
    gateway: GatewayArgument,
    machine: MachineArgument,
    point: PointArgument,
    expires: ExpiresOption = "5m",
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Have a point learn its healthy state anew, for example after a repair."""
    from models.contract.messages import RecalibrateCommand

    body = RecalibrateCommand(gateway=gateway, id=_new_id(), expires_s=_deadline(expires), machine=machine, point=point)
    _send(body, home, json, hub, token_file, ca_file)


def report(
    gateway: GatewayArgument,
    expires: ExpiresOption = "5m",
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Have a gateway publish its state at once."""
    from models.contract.messages import ReportCommand

    body = ReportCommand(gateway=gateway, id=_new_id(), expires_s=_deadline(expires))
    _send(body, home, json, hub, token_file, ca_file)


def _new_id() -> str:
    return secrets.token_hex(8)


def _deadline(expires: str) -> int:
    return int(time.time()) + seconds_of(expires, "--expires")


def _send(
    body: CommandBody, home: Path, json: Path | None, hub: str | None, token_file: Path | None, ca_file: Path | None
) -> None:
    from cloud_hub.delivery.command import send_command
    from cloud_hub.store.audit import record
    from cloud_hub.store.database import open_database

    if hub is not None:
        with connect(hub, token_file, ca_file) as client:
            sent = _ask(client, body)
        typer.echo(sent.id)
        write_result(json, {"id": sent.id, "gateway": sent.gateway, "expires_s": int(sent.expires_s)})
        return
    with open_hub(home) as here:
        send_command(body, here.repository, here.link)
        settings = here.settings
    with open_database(settings) as database, database.write() as session:
        after = {"id": body.id, "kind": type(body).__name__.removesuffix("Command").lower()}
        target = f"gateway:{body.gateway}"
        record(session, caller(), "gateway.command", target, before=None, after=after, now_s=time.time())
    typer.echo(body.id)
    write_result(json, {"id": body.id, "gateway": body.gateway, "expires_s": body.expires_s})


def _ask(hub: HubClient, body: CommandBody) -> CommandSent:
    """The same of a hub that is elsewhere: it numbers its commands itself."""
    from models.contract.messages import CaptureCommand, RecalibrateCommand

    within_s = max(1, body.expires_s - int(time.time()))
    if isinstance(body, CaptureCommand):
        return hub.fleet.record(body.gateway, body.machine, body.point, body.seconds, expires_in_s=within_s)
    if isinstance(body, RecalibrateCommand):
        return hub.fleet.recalibrate(body.gateway, body.machine, body.point, expires_in_s=within_s)
    return hub.fleet.ask_for_report(body.gateway, expires_in_s=within_s)
