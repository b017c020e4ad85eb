"""`cloud-hub want`: say which bundle gateways shall run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._parts import moment_of, open_hub, open_registry, seconds_of, write_result
from cloud_hub.cli._remote import CaFileOption, HubOption, TokenFileOption, connect

if TYPE_CHECKING:
    from cloud_hub.services.wants import Wanted

_Told = tuple[str, int, float, dict[str, tuple[str, str]]]
"""Gateway, number, until when, and of each slot the version and the digest."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("want")(want)


def want(
    gateways: Annotated[list[str], typer.Argument(help="Gateways.", metavar="GATEWAY...")],
    bundle: Annotated[
        list[str] | None, typer.Option("--bundle", help="Digest, start of one, or slot/version. May be repeated.")
    ] = None,
    slot: Annotated[str | None, typer.Option(help="Refuse unless the bundle is for this slot.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A slot that shall stop. May be repeated.")
    ] = None,
    not_before: Annotated[str, typer.Option("--not-before", help="ISO 8601, UTC unless it says otherwise.")] = "",
    jitter: Annotated[str, typer.Option(help="Spread fetching over this time: 90s, 15m, 12h.")] = "0",
    expires: Annotated[str, typer.Option(help="How long the want may be followed: 12h, 30d.")] = "30d",
    *,
    resign: Annotated[bool, typer.Option("--resign", help="Issue anew what is wanted: after a new director.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Want a bundle on gateways; their other slots stay as they are."""
    from cloud_hub.services.wants import Wanted

    if not bundle and not remove and not resign:
        raise typer.BadParameter("expected --bundle, --remove or --resign", param_hint="--bundle")
    wanted = Wanted(
        bundles=tuple(bundle or ()),
        slot=slot,
        remove=tuple(remove or ()),
        not_before_s=moment_of(not_before, "--not-before") if not_before else 0,
        jitter_s=seconds_of(jitter, "--jitter"),
        expires_in_s=seconds_of(expires, "--expires"),
    )
    result: dict[str, object] = {}
    issued: list[object] = []
    source = (
        _here(home, gateways, wanted, result) if hub is None else _there(hub, token_file, ca_file, gateways, wanted)
    )
    with source as wants:
        for gateway, seq, expires_s, slots in wants:
            digests = {name: sha256 for name, (_, sha256) in slots.items()}
            issued.append({"gateway": gateway, "seq": seq, "expires_s": int(expires_s), "slots": digests})
            listed = ", ".join(f"{name}/{version}" for name, (version, _) in slots.items()) or "nothing"
            typer.echo(f"{gateway}: want {seq}: {listed}")
    write_result(json, {"wants": issued, **result})


@contextmanager
def _here(
    home: Path, gateways: list[str], wanted: Wanted, result: dict[str, object]
) -> Iterator[Iterator[_Told]]:  # fmt: skip
    """Issued by this command, with the keys in its folder."""
    from cloud_hub.services.wants import issue_wants

    with open_hub(home) as hub, open_registry(hub.settings) as registry:
        bodies = issue_wants(
            gateways,
            wanted,
            registry=registry,
            repository=hub.repository,
            link=hub.link,
            bundles_dir=hub.settings.bundles_dir,
            now_s=time.time(),
        )
        yield (
            (body.gateway, body.seq, body.expires_s, {one.slot: (one.version, one.sha256) for one in body.bundles})
            for body in bodies
        )
        result["bytes_sent"] = hub.link.bytes_sent


@contextmanager
def _there(
    hub: str, token_file: Path | None, ca_file: Path | None, gateways: list[str], wanted: Wanted
) -> Iterator[Iterator[_Told]]:
    """Issued by a hub that is elsewhere, one request for each gateway."""
    with connect(hub, token_file, ca_file) as client:
        views = (
            client.fleet.want(
                gateway,
                bundles=wanted.bundles,
                slot=wanted.slot,
                remove=wanted.remove,
                resign=not wanted.bundles and not wanted.remove,
                not_before_s=wanted.not_before_s,
                jitter_s=wanted.jitter_s,
                expires_in_s=wanted.expires_in_s,
            )
            for gateway in gateways
        )
        yield (
            (view.gateway, view.seq, view.expires_s, {one.slot: (one.version, one.sha256) for one in view.bundles})
            for view in views
        )
