"""How long the trends of one point are kept, where it is not what the settings say for all."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_hub.accounts.permissions import Principal
from cloud_hub.errors import RetentionError, StaleError
from cloud_hub.store import audit
from cloud_hub.store import trend_keeps as store
from cloud_hub.store.database import Database, Session
from cloud_hub.store.keep_views import KeptDays, KeptView

MAX_DAYS = 36_500.0
MIN_DAYS = 1.0
_NAMES = ("as they came", "by 5 minutes", "by the hour")


@dataclass(frozen=True, slots=True)
class Usual:
    """What the settings say, in days: rows as they came, buckets of 5 minutes, of an hour."""

    rows: float = 14
    five_minutes: float = 90
    hours: float = 1825

    def days(self) -> KeptDays:
        """The same as what is kept of a point."""
        return KeptDays(self.rows, self.five_minutes, self.hours)


def get(session: Session, usual: Usual, machine: str, point: str) -> KeptView:
    """How long a point's trends are kept. Raises: NotFoundError."""
    return store.get_kept(session, machine, point, usual.days())


def put(
    database: Database,
    principal: Principal,
    usual: Usual,
    machine: str,
    point: str,
    own: KeptDays,
    *,
    now_s: float,
    revision: int | None = None,
    request_id: str | None = None,
) -> KeptView:
    """Say how long they are kept; None: as the settings say. What is over its days goes within the hour.

    Raises: NotFoundError; RetentionError: not such days; StaleError: somebody else has said something else meanwhile.
    """
    for name, days in zip(_NAMES, own.all(), strict=True):
        if days is not None and not MIN_DAYS <= days <= MAX_DAYS:
            raise RetentionError(f"{name}: expected {MIN_DAYS:g} to {MAX_DAYS:g} days, got {days:g}")
    with database.write() as session:
        before = store.get_kept(session, machine, point, usual.days())
        if revision is not None and revision != before.revision:
            raise StaleError(
                f"trends of {machine}/{point}: expected revision {revision}, it is at {before.revision}: read it again"
            )
        after = store.put_kept(session, machine, point, own, usual.days())
        kept = [days for days in after.days.all() if days is not None]
        if kept != sorted(kept):  # a coarser picture has to reach back further, or it shows less than a finer one
            told = ", ".join(f"{name} {days:g}" for name, days in zip(_NAMES, kept, strict=True))
            raise RetentionError(f"expected days that do not fall, got {told}")
        audit.record(
            session, principal, "retention.put", f"point:{machine}/{point}",
            before=dict(zip(_NAMES, before.own.all(), strict=True)), after=dict(zip(_NAMES, own.all(), strict=True)),
            now_s=now_s, request_id=request_id,
        )  # fmt: skip
    return after
