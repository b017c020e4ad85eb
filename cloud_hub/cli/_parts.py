"""What the commands that sign and send have in common: opening the hub's parts, numbering, durations, results."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloud_hub.cli._common import caller

if TYPE_CHECKING:
    from cloud_hub.delivery.registry import BundleRegistry
    from cloud_hub.settings import Settings
    from cloud_hub.transport import Link
    from cloud_hub.trust.repository import Repository

_DURATION = re.compile(r"(\d{1,9})([smhd]?)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Hub:
    """The parts of the hub that sign and send."""

    settings: Settings
    repository: Repository
    link: Link


@contextmanager
def open_hub(home: Path) -> Iterator[Hub]:
    """Open settings, repository, and the link to the broker. Raises: HubError."""
    from cloud_hub.settings import load_settings
    from cloud_hub.transport import Link
    from cloud_hub.trust.keys import hub_repository

    settings = load_settings(home)
    repository = hub_repository(settings)
    client = f"hub-cli-{os.getpid()}-{secrets.token_hex(4)}"
    with Link(settings, client) as link:
        yield Hub(settings, repository, link)


@contextmanager
def open_registry(settings: Settings) -> Iterator[BundleRegistry]:
    """Open the database of bundles and wants; apart, because SQLAlchemy takes a second to import. Raises: HubError."""
    from cloud_hub.store.registry import SqlRegistry

    with SqlRegistry(settings, caller()) as registry:
        yield registry


def seconds_of(text: str, option: str) -> int:
    """A duration such as 90, 90s, 15m, 12h, 30d, in seconds. Raises: typer.BadParameter."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"expected a duration such as 90s, 15m, 12h or 30d, got {text!r}", param_hint=option)
    return int(match[1]) * _UNITS_S[match[2]]


def moment_of(text: str, option: str) -> int:
    """A moment in ISO 8601 (UTC unless it says otherwise), in seconds since 1970. Raises: typer.BadParameter."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"expected a time such as 2031-05-01T02:00, got {text!r}", param_hint=option
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def write_result(path: Path | None, result: dict[str, object]) -> None:
    """Write a command's result where `--json` says, whole or not at all."""
    if path is None:
        return
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
