"""`cloud-hub want`: say which bundle gateways shall run."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._parts import moment_of, open_hub, open_registry, seconds_of, write_result


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
) -> None:
    """Want a bundle on gateways; their other slots stay as they are."""
    from cloud_hub.delivery.collect import ChunkCollector
    from cloud_hub.delivery.want import When, build_want, send_want
    from cloud_hub.errors import GateError, NotFoundError

    if not bundle and not remove and not resign:
        raise typer.BadParameter("expected --bundle, --remove or --resign", param_hint="--bundle")
    now_s = time.time()
    start = moment_of(not_before, "--not-before") if not_before else 0
    when = When(int(max(now_s, start)) + seconds_of(expires, "--expires"), start, seconds_of(jitter, "--jitter"))
    issued: list[object] = []
    with open_hub(home) as hub, open_registry(hub.settings) as registry:
        records = [registry.find_bundle(reference) for reference in bundle or []]
        for record in records:
            if slot is not None and record.slot != slot:
                raise GateError(f"bundle {record.target}: it is for the slot {record.slot}, not {slot}")
        collector = ChunkCollector(hub.settings.bundles_dir, registry.list_bundles, registry.wanted_digests)
        for record in records:
            collector.ensure(hub.link, record)
        changes = dict.fromkeys(remove or [], None) | {record.slot: record for record in records}
        for gateway in gateways:
            if not changes and registry.current_want(gateway) is None:
                raise NotFoundError(f"want for {gateway}: none was issued that could be signed anew")
            body = build_want(gateway, changes, registry, now_s, when)
            send_want(body, hub.repository, registry, hub.link)
            slots = {wanted.slot: wanted.sha256 for wanted in body.bundles}
            issued.append({"gateway": gateway, "seq": body.seq, "expires_s": body.expires_s, "slots": slots})
            listed = ", ".join(f"{wanted.slot}/{wanted.version}" for wanted in body.bundles) or "nothing"
            typer.echo(f"{gateway}: want {body.seq}: {listed}")
        sent = hub.link.bytes_sent
    write_result(json, {"wants": issued, "bytes_sent": sent})
