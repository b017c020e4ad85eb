"""The audit log: `record` is called inside the transaction that makes the change, so that there is none without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_hub.accounts.permissions import Principal
from cloud_hub.observing.logs import bound
from cloud_hub.store import tables as t
from cloud_hub.store.database import Session


def record(
    session: Session,
    principal: Principal,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    now_s: float,
    request_id: str | None = None,
) -> None:
    """Write down a change.

    Args:   action: noun and verb, "alarm.acknowledge". target: what was changed, "alarm:gw-1.17".
            before, after: the fields that changed, as plain JSON values; None where there was or is nothing. Never a
            password, a token or a key.
            request_id: by default the request that is under way here, as in the log.
    """
    session.add(
        t.AuditEntry(
            time_s=now_s,
            who=principal.name[:200],
            kind=principal.kind,
            action=action,
            target=target[:200],
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
            request_id=request_id if request_id is not None else bound("request"),
        )
    )
