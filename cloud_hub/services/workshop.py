"""What handles files, trains and publishes in a hub: one thing for the API and the pages to be given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud_hub.jobs.places import Places
from cloud_hub.services.commands import Send
from cloud_hub.services.gateways import GatewayDesk
from cloud_hub.services.models import Publish
from cloud_hub.services.wants import Issue


def _nothing() -> None:
    """There is nobody to wake."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """`wake`: tells the runner of jobs to look now. `publish`: None where this hub has no signing keys. `trains`: how
    many jobs run at the same time; 0: jobs wait for another hub. `desk`: None where this hub has no certificate
    authority. `command` asks gateways and `want` says what they shall run; None where this hub has no signing keys.
    """

    places: Places
    wake: Callable[[], None] = _nothing
    publish: Publish | None = None
    trains: int = 1
    desk: GatewayDesk | None = None
    command: Send | None = None
    want: Issue | None = None
