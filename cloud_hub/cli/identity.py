"""`cloud-hub identity`: certificates for gateways, the broker and the hub."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption, caller
from cloud_hub.cli._parts import write_result

if TYPE_CHECKING:
    from cloud_hub.identity.folder import IdentityFolder
    from cloud_hub.settings import Settings

RootDir = Annotated[
    Path, typer.Option("--root-dir", help="For the root key: best a removable medium.", file_okay=False)
]
Passphrase = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Opens the root key; asked for when not given.")
]
Gateway = Annotated[str, typer.Argument(help="The gateway's id.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Certificates: who is who between gateways, broker and hub.")
    group.command("init")(init)
    group.command("reissue")(reissue)
    group.command("revoke-authority")(revoke_authority)
    group.command("token")(token)
    group.command("revoke")(revoke)
    group.command("retire")(retire)
    group.command("crl")(crl)
    group.command("list")(list_certificates)
    group.command("broker-files")(broker_files)
    app.add_typer(group, name="identity")


def _open(home: Path) -> tuple[Settings, IdentityFolder]:
    from cloud_hub.identity.folder import IdentityFolder
    from cloud_hub.settings import load_settings

    settings = load_settings(home)
    return settings, IdentityFolder(settings.identity_dir, settings.fleet)


def _passphrase(file: Path | None, *, confirm: bool) -> bytes:
    if file is None:
        text: str = typer.prompt("passphrase of the root key", hide_input=True, confirmation_prompt=confirm)
        return text.encode()
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--passphrase-file") from error


def init(
    root_dir: RootDir, home: HomeOption = DEFAULT_HOME, passphrase_file: Passphrase = None, json: JsonOption = None
) -> None:
    """Make the certificate authorities and the hub's own certificate. Nothing is ever overwritten."""
    from cloud_hub.identity.revocation import refresh_crl
    from cloud_hub.identity.root_crl import first_root_crl
    from cloud_hub.store.identities import SqlIdentities

    settings, folder = _open(home)
    passphrase = _passphrase(passphrase_file, confirm=True)
    root_key = folder.create(root_dir, passphrase, time.time())
    first_root_crl(folder, root_dir, passphrase, time.time())
    with SqlIdentities(settings) as store:
        refresh_crl(folder, store, settings.crl_days)
    typer.echo(f"root certificate: {folder.root}")
    typer.echo(f"root key, encrypted; keep it away from this machine: {root_key}")
    typer.echo("next: `cloud-hub identity broker-files`, and `broker_identity = true` in hub.toml")
    write_result(json, {"root": str(folder.root), "root_key": str(root_key)})


def reissue(root_dir: RootDir, home: HomeOption = DEFAULT_HOME, passphrase_file: Passphrase = None) -> None:
    """Replace the issuing authority, before it expires or after its key was stolen; needs the root key."""
    from cloud_hub.identity.authority import fingerprint, load_certificate
    from cloud_hub.identity.revocation import refresh_crl
    from cloud_hub.identity.root_crl import first_root_crl
    from cloud_hub.store.identities import SqlIdentities

    settings, folder = _open(home)
    passphrase = _passphrase(passphrase_file, confirm=False)
    before = fingerprint(load_certificate(folder.path / "issuing.crt"))
    made = folder.reissue(root_dir, passphrase, time.time())
    first_root_crl(folder, root_dir, passphrase, time.time())
    with SqlIdentities(settings) as store:
        refresh_crl(folder, store, settings.crl_days)
    typer.echo(f"issuing authority, valid until {made.not_valid_after_utc:%Y-%m-%d}: gateways get it as they renew")
    typer.echo("make the broker's files anew (`cloud-hub identity broker-files`) and start the broker again")
    typer.echo(f"was the key of the one before stolen? then also `cloud-hub identity revoke-authority {before[:12]}`")


def revoke_authority(
    which: Annotated[str, typer.Argument(help="First digits of the SHA-256 of its certificate.", metavar="DIGITS")],
    root_dir: RootDir,
    home: HomeOption = DEFAULT_HOME,
    passphrase_file: Passphrase = None,
    json: JsonOption = None,
) -> None:
    """Revoke an issuing authority that was replaced, with the root key: its key was stolen. Gateways that have their
    certificate from it must enrol anew.
    """
    from cloud_hub.identity import root_crl
    from cloud_hub.identity.authority import fingerprint
    from cloud_hub.identity.revocation import deploy_crl, refresh_crl
    from cloud_hub.store.identities import SqlIdentities

    settings, folder = _open(home)
    passphrase = _passphrase(passphrase_file, confirm=False)
    now_s = time.time()
    gone = root_crl.revoke_authority(folder, which, root_dir, passphrase, now_s)
    digest = fingerprint(gone)
    with SqlIdentities(settings) as store:
        refresh_crl(folder, store, settings.crl_days)
        valid = [c for c in store.certificates() if c.revoked_s is None and c.not_after_s > now_s]
        known = {c.gateway for c in valid} - {c.gateway for c in valid if c.issuer_sha256 != digest}
    typer.echo(
        f"revoked {gone.subject.rfc4514_string()}, {digest[:12]}; list number {root_crl.root_crl_number(folder)}"
    )
    typer.echo(deploy_crl(folder, settings))
    typer.echo("start the broker again: a running one keeps the lists that it has read")
    typer.echo("issue new tokens: those from before do not name this list")
    for gateway in sorted(known):
        typer.echo(f"must enrol anew: {gateway}")
    write_result(json, {"authority": digest, "gateways": sorted(known)})


def token(
    gateway: Gateway,
    home: HomeOption = DEFAULT_HOME,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="How long it may be used.")] = 24,
    out: Annotated[Path | None, typer.Option(help="Write it to this new file (mode 0600), not to the screen.")] = None,
    json: JsonOption = None,
) -> None:
    """Issue a single-use token for one gateway. A token of this gateway that was not used is void from now on."""
    from cloud_hub.identity.authority import fingerprint, load_certificate
    from cloud_hub.identity.registrar import new_token
    from cloud_hub.identity.root_crl import root_crl_number
    from cloud_hub.store.identities import SqlIdentities
    from cloud_hub.trust.files import PRIVATE, write_atomic

    settings, folder = _open(home)
    folder.issuing_authority()  # without one a token would be of no use
    root = bytes.fromhex(fingerprint(load_certificate(folder.root)))
    now_s = time.time()
    with SqlIdentities(settings, caller()) as store:
        text = new_token(store, root, gateway, now_s, hours * 3600, root_crl_number(folder)).to_text()
    if out is not None:
        write_atomic(out, f"{text}\n".encode(), PRIVATE)
        typer.echo(f"{out}: for gateway {gateway}, once, until {_date(now_s + hours * 3600)}")
    else:
        typer.echo(text)
        typer.echo(f"for gateway {gateway}, once, until {_date(now_s + hours * 3600)}", err=True)
    write_result(json, {"gateway": gateway, "token": text, "expires_s": now_s + hours * 3600})


def revoke(
    gateway: Gateway,
    home: HomeOption = DEFAULT_HOME,
    why: Annotated[str, typer.Option(help="For the record.")] = "revoked",
    json: JsonOption = None,
) -> None:
    """Revoke all certificates and tokens of a gateway, tell the broker, and end the gateway's session there."""
    from cloud_hub.errors import HubError, LinkError
    from cloud_hub.identity.revocation import deploy_crl, refresh_crl
    from cloud_hub.store.identities import SqlIdentities
    from cloud_hub.transport import Link

    settings, folder = _open(home)
    with SqlIdentities(settings, caller()) as store:
        rows = store.revoke(gateway, time.time(), why)
        refresh_crl(folder, store, settings.crl_days)
    for row in rows:
        typer.echo(f"revoked {row.serial}, valid until {_date(row.not_after_s)}")
    if not rows:
        typer.echo(f"gateway {gateway} had no valid certificate; its tokens are void")
    done = deploy_crl(folder, settings)
    typer.echo(done)
    kicked = False
    if settings.broker_crl_file is not None and settings.broker_pid_file is not None:
        time.sleep(1.0)  # the broker reads its files at its own next turn; kicked before, the gateway would be back
        try:
            with Link(settings, gateway):  # the session of this name is ended by ours
                kicked = True
        except LinkError as error:
            raise HubError(f"gateway {gateway} is revoked, but its session could not be ended: {error}") from error
        typer.echo("its session at the broker was ended")
    write_result(json, {"gateway": gateway, "revoked": [r.serial for r in rows], "kicked": kicked})


def retire(
    gateway: Gateway,
    home: HomeOption = DEFAULT_HOME,
    why: Annotated[str, typer.Option(help="For the record.")] = "retired",
    json: JsonOption = None,
) -> None:
    """Take a gateway that was revoked out of the fleet: out of lists, counts and rollouts. Its history stays, and it is
    back as soon as it reports itself again.
    """
    from cloud_hub.store.database import open_database
    from cloud_hub.store.retirement import retire as retire_gateway

    settings, _ = _open(home)
    with open_database(settings) as database:
        changed = retire_gateway(database, caller(), gateway, why, time.time())
    typer.echo(f"gateway {gateway} {'is retired' if changed else 'was retired before'}")
    write_result(json, {"gateway": gateway, "changed": changed})


def crl(
    home: HomeOption = DEFAULT_HOME,
    out: Annotated[Path | None, typer.Option(help="Also write it here.")] = None,
) -> None:
    """Bring the revocation list up to date, and to the broker as the settings say. A running hub does so by itself."""
    from cloud_hub.identity.revocation import deploy_crl, refresh_crl
    from cloud_hub.store.identities import SqlIdentities
    from cloud_hub.trust.files import write_atomic

    settings, folder = _open(home)
    with SqlIdentities(settings) as store:
        fresh = refresh_crl(folder, store, settings.crl_days)
    typer.echo(f"{folder.crl}: {'signed anew' if fresh else 'still good'}")
    if out is not None:
        write_atomic(out, folder.crl.read_bytes())
    else:
        typer.echo(deploy_crl(folder, settings))


def list_certificates(
    gateway: Annotated[str | None, typer.Argument(help="Only of this gateway.")] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
) -> None:
    """Show certificates and open tokens."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from cloud_hub.store.identities import SqlIdentities

    settings, _ = _open(home)
    now_s = time.time()
    with SqlIdentities(settings) as store:
        rows = store.certificates(gateway)
        tokens = [
            t for t in store.tokens() if gateway in {None, t.gateway} and t.used_s is None and now_s < t.expires_s
        ]
    table = Table("gateway", "serial", "issued", "until", "state")
    for row in rows:
        state = row.revoked_why or "revoked" if row.revoked_s is not None else "valid"
        if row.revoked_s is None and now_s >= row.not_after_s:
            state = "expired"
        table.add_row(row.gateway, row.serial[:16], _date(row.issued_s), _date(row.not_after_s), state)
    for one in tokens:
        table.add_row(one.gateway, "-", _date(one.created_s), _date(one.expires_s), "token, not used yet")
    Console().print(table)
    write_result(json, {"certificates": [asdict(row) for row in rows], "open_tokens": [t.gateway for t in tokens]})


def broker_files(
    folder: Annotated[Path, typer.Argument(help="Where to put them.", file_okay=False)],
    host: Annotated[list[str], typer.Option(help="A name or address of the broker; several are possible.")],
    home: HomeOption = DEFAULT_HOME,
    port: Annotated[int, typer.Option(min=1, max=65535, help="For gateways.")] = 8883,
    hub_port: Annotated[int, typer.Option(min=1, max=65535, help="For the hub.")] = 8884,
    enrol_port: Annotated[int, typer.Option(min=1, max=65535, help="For enrolment.")] = 8885,
    bind: Annotated[str, typer.Option(help="Address of the listeners for gateways and enrolment.")] = "0.0.0.0",  # noqa: S104
    hub_bind: Annotated[str, typer.Option(help="Address of the listener for the hub.")] = "127.0.0.1",
    user: Annotated[
        str | None, typer.Option(help="The broker's user, who gets the key (default: Mosquitto's).")
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option(help="The folder's path where the broker will read it, when it is copied there afterwards."),
    ] = None,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep a key that is still good for these hosts; write only what differs.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Write Mosquitto's configuration, access rules, key and certificates. The key is made anew, unless --keep."""
    from cloud_hub.identity.broker_files import Ports, write_broker_files
    from cloud_hub.identity.revocation import refresh_crl
    from cloud_hub.store.identities import SqlIdentities

    settings, identity = _open(home)
    with SqlIdentities(settings) as store:
        refresh_crl(identity, store, settings.crl_days)
    ports = Ports(port, hub_port, enrol_port, bind, hub_bind)
    made = write_broker_files(identity, folder, host, ports, user=user, at=at, keep=keep)
    for path in made:
        typer.echo(path)
    if not made:
        typer.echo(f"{folder}: everything is as it should be; nothing was written")
    where = (at or folder).resolve()
    typer.echo(f"hub.toml needs: broker_identity = true, broker_port = {hub_port}, and on this machine")
    typer.echo(f'  broker_crl_file = "{where}/crl.pem"')
    typer.echo(f'  broker_pid_file = "{where}/mosquitto.pid"')
    write_result(json, {"folder": str(folder), "written": [path.name for path in made]})


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
