"""What is told about receivers of happenings, and about the audit log: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Channel = Literal["webhook", "email"]


DeliveryState = Literal["waiting", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class HookView:
    """A receiver, without its secret. `revision` grows with every change."""

    id: str
    name: str
    channel: Channel
    url: str | None
    addresses: tuple[str, ...]
    kinds: tuple[str, ...]
    machines: tuple[str, ...]
    enabled: bool
    revision: int
    created_s: float


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One happening on its way to a hook, or there. `next_s`: the next try, while it waits."""

    id: int
    hook: str
    key: str
    kind: str
    state: DeliveryState
    attempts: int
    created_s: float
    next_s: float
    status: int | None
    error: str | None
    done_s: float | None


@dataclass(frozen=True, slots=True)
class AuditView:
    """One write: who, when, what, and the fields that it changed."""

    id: int
    time_s: float
    who: str
    kind: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """A new hook; `secret` is shown this once, None for e-mail."""

    hook: HookView
    secret: str | None
