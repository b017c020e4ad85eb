"""`cloud-hub serve`: the running hub."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, caller
from cloud_hub.settings import Settings, load_settings

if TYPE_CHECKING:
    from cloud_hub.transport import Link
    from cloud_hub.trust.repository import Repository


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    home: HomeOption = DEFAULT_HOME,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of API and page; 0 takes a free one.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written (JSON: url, port, pid) once the hub is up, removed when it stops.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Take in what gateways send, and serve API and page. Ctrl-C stops it cleanly."""
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise typer.BadParameter(f"expected debug, info, warning or error, got {log_level!r}", param_hint="--log-level")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))
    from cloud_hub.delivery.blocks import BlockService
    from cloud_hub.services.rescore import Rescorer
    from cloud_hub.services.rollouts import RolloutService
    from cloud_hub.services.serve import Hub
    from cloud_hub.trust.keys import hub_repository

    settings = load_settings(home)
    if port is not None:
        settings = settings.model_copy(update={"api_port": port})
    # Without keys this hub watches a fleet that another one signs for.
    repository = hub_repository(settings) if settings.keys_dir.is_dir() else None
    desk = people = None
    if settings.identity_dir.is_dir():
        from cloud_hub.identity.folder import IdentityFolder
        from cloud_hub.identity.service import IdentityService
        from cloud_hub.services.gateways import GatewayDesk
        from cloud_hub.store.identities import SqlIdentities

        folder = IdentityFolder(settings.identity_dir, settings.fleet)
        desk = lambda database: IdentityService(settings, folder, SqlIdentities(database))  # noqa: E731
        people = lambda database: GatewayDesk(settings, folder, database)  # noqa: E731
    hub = Hub(
        settings,
        rescore=Rescorer(settings.bundles_dir),
        periodic=_periodic(settings, repository) if repository is not None else None,
        rollouts=(lambda database: RolloutService(database, repository)) if repository is not None else None,
        identity=desk,
        repository=repository,
        desk=people,
    )
    typer.echo(f"hub at {hub.url}, broker {settings.broker_host}:{settings.broker_port}, home {settings.home}")
    first = hub.first_link(caller())
    if first is not None:
        typer.echo(f"nobody can sign in yet; whoever opens this first becomes the administrator: {first}")
    blocks = BlockService(settings)
    blocks.start()
    try:
        hub.run(ready_file, on_ready=lambda: typer.echo("ready"))
    finally:
        blocks.stop()
    typer.echo("stopped")


def _periodic(settings: Settings, repository: Repository) -> Callable[[Link], None]:
    """What a hub that signs does every minute: keep the metadata fresh, clear chunks that nobody wants any more."""
    from cloud_hub.delivery.collect import ChunkCollector
    from cloud_hub.delivery.publish import MetadataKeeper
    from cloud_hub.store.registry import SqlRegistry

    keeper = MetadataKeeper(settings, repository)
    registry = SqlRegistry(settings)
    collector = ChunkCollector(settings.bundles_dir, registry.list_bundles, registry.wanted_digests)

    def work(link: Link) -> None:
        keeper(link)
        collector(link)

    return work
