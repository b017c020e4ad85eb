"""`cloud-hub serve`: the running hub."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, caller
from cloud_hub.errors import SettingsError
from cloud_hub.observing.logs import LogFormat, set_up
from cloud_hub.settings import Settings, load_settings

if TYPE_CHECKING:
    from cloud_hub.notify.worker import NotifyWorker
    from cloud_hub.services.concerns import Concerns
    from cloud_hub.store.database import Database
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
    log_format: Annotated[
        LogFormat, typer.Option(help="text for people, json for programs that collect logs.")
    ] = "text",
) -> None:
    """Take in what gateways send, and serve API and page. Ctrl-C stops it cleanly."""
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise typer.BadParameter(f"expected debug, info, warning or error, got {log_level!r}", param_hint="--log-level")
    set_up(level, log_format)
    from cloud_hub.delivery.blocks import BlockService
    from cloud_hub.services.concerns import Concerns
    from cloud_hub.services.rescore import Rescorer
    from cloud_hub.services.rollouts import RolloutService
    from cloud_hub.services.serve import Hub
    from cloud_hub.trust.keys import hub_repository

    settings = load_settings(home)
    if port is not None:
        settings = settings.model_copy(update={"api_port": port})
    # Without keys this hub watches a fleet that another one signs for.
    repository = hub_repository(settings) if settings.keys_dir.is_dir() else None
    desk, people, concerns = None, None, Concerns()
    if settings.api_names and not settings.identity_dir.is_dir():
        raise SettingsError("api_names: expected a certificate authority to issue for them: `cloud-hub identity init`")
    if settings.identity_dir.is_dir():
        from cloud_hub.identity.api_certificate import renew_api
        from cloud_hub.identity.folder import IdentityFolder
        from cloud_hub.identity.service import IdentityService
        from cloud_hub.services.gateways import GatewayDesk
        from cloud_hub.store.identities import SqlIdentities

        folder = IdentityFolder(settings.identity_dir, settings.fleet)
        if settings.api_names:
            renew_api(folder, settings.api_names, time.time())
        desk = lambda database: IdentityService(  # noqa: E731
            settings, folder, SqlIdentities(database), tell=lambda texts: concerns.set("identity", texts)
        )
        people = lambda database: GatewayDesk(settings, folder, database)  # noqa: E731
    hub = Hub(
        settings,
        rescore=Rescorer(settings.bundles_dir),
        periodic=_periodic(settings, repository, concerns) if repository is not None else None,
        rollouts=(lambda database: RolloutService(database, repository)) if repository is not None else None,
        identity=desk,
        metadata_until_s=repository.expires_s if repository is not None else dict,
        notify=lambda database, url: _notify(settings, database, url),
        concerns=concerns,
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


def _notify(settings: Settings, database: Database, url: str) -> NotifyWorker:
    """What tells webhooks and mail boxes. `url`: where people reach the pages. Raises: SettingsError."""
    import time

    from cloud_hub.notify.address import read_networks
    from cloud_hub.notify.mail import MailServer
    from cloud_hub.notify.post import WebhookSender
    from cloud_hub.notify.worker import NotifyWorker
    from cloud_hub.store.hooks import SqlOutbox

    mail = None
    if settings.smtp_host is not None:
        mail = MailServer(
            settings.smtp_host,
            settings.smtp_port,
            settings.smtp_security,
            settings.smtp_sender,
            settings.smtp_username,
            _secret(settings.smtp_password_file),
            str(settings.smtp_ca_file) if settings.smtp_ca_file is not None else None,
        )
    ca_file = str(settings.hooks_ca_file) if settings.hooks_ca_file is not None else None
    sender = WebhookSender(read_networks(settings.hooks_allow), ca_file=ca_file)
    base = url.rstrip("/")
    return NotifyWorker(SqlOutbox(database, lambda path: base + path), sender, mail, time.time)


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"smtp_password_file: {path}: {error}") from error


def _periodic(settings: Settings, repository: Repository, concerns: Concerns) -> Callable[[Link], None]:
    """What a hub that signs does every minute: keep metadata and wants fresh, clear chunks that nobody wants."""
    from cloud_hub.delivery.collect import ChunkCollector
    from cloud_hub.delivery.publish import MetadataKeeper
    from cloud_hub.delivery.renew import WantKeeper
    from cloud_hub.store.registry import SqlRegistry

    keeper = MetadataKeeper(settings, repository)
    registry = SqlRegistry(settings)
    collector = ChunkCollector(
        settings.bundles_dir, registry.list_bundles, registry.wanted_digests, grace_s=settings.chunk_grace_days * 86_400
    )

    wants = WantKeeper(registry, repository.sign_want, renew=settings.want_renewal)

    def work(link: Link) -> None:
        keeper(link)
        concerns.set("metadata", keeper.concerns)
        wants(link)
        concerns.set("wants", wants.concerns)
        collector(link)

    return work
