"""What is told to those who bring hosts up: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloud_hub.store import views as v

Standing = Literal["revoked", "unseen", "offline", "alarm", "warn", "warming_up", "ok"]


@dataclass(frozen=True, slots=True)
class RunningView:
    """What decides in one slot; `version` is None while nothing does."""

    slot: str
    phase: v.Phase
    version: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class InventoryView:
    """A gateway as those see it who bring hosts up. It may never have been seen: then somebody has only labelled it.

    `standing` is one word, the first that fits: `revoked` (it had certificates, none is good any more and one was
    revoked), `unseen`, `offline`, then the worst verdict of its current points; without any it is `warming_up`, for not
    known yet is not healthy. `certificate_s`: when the last of its valid certificates ends.
    """

    id: str
    standing: Standing
    online: bool
    last_seen_s: float | None
    agent_version: str
    runtime: str
    time_zone: str | None
    labels: dict[str, str]
    slots: tuple[RunningView, ...]
    machines: tuple[str, ...]
    certificate_s: float | None
