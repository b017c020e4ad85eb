"""Hooks and their outbox: who is told, what is due, how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError, StaleError
from cloud_hub.notify.schedule import Next
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.happenings import HappeningsReader, Link
from cloud_hub.store.hook_views import Channel, DeliveryState, DeliveryView, HookView
from cloud_hub.store.paging import Order, Page, Paging, fetch_page

_BY_HOOK = Order("hooks", (t.Hook.id,), (str,))
_BY_DELIVERY = Order("deliveries", (t.HookDelivery.id,), (int,), descending=True)
KEPT_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Due:
    """What the sender is given."""

    id: int
    hook: str
    key: str
    kind: str
    body: bytes
    attempts: int
    channel: Channel
    url: str | None
    addresses: tuple[str, ...]
    secrets: tuple[str, ...]


def list_hooks(session: Session, paging: Paging) -> Page[HookView]:
    """Hooks by id."""
    return fetch_page(session, select(t.Hook), _BY_HOOK, paging, _view)


def get_hook(session: Session, hook: str) -> HookView:
    """One hook. Raises: NotFoundError."""
    return _view(row_of(session, hook))


def row_of(session: Session, hook: str, revision: int | None = None) -> t.Hook:
    """Its row, for a change. Raises: NotFoundError; ConflictError: it is not at this revision any more."""
    row = session.get(t.Hook, hook, with_for_update=revision is not None)
    if row is None:
        raise NotFoundError(f"hook {hook!r}: there is none with this id")
    if revision is not None and row.revision != revision:
        raise StaleError(f"hook {hook}: expected revision {revision}, it is at {row.revision}: somebody was faster")
    return row


def count(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(t.Hook)) or 0


class Spec(Protocol):
    """What a hook is to be; see `cloud_hub.services.hooks.HookSpec`."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def url(self) -> str | None:
        """Of a webhook."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of e-mail."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it wants to be told, empty for all."""

    @property
    def machines(self) -> tuple[str, ...]:
        """Of which machines, empty for all."""

    @property
    def enabled(self) -> bool:
        """Whether it is told anything."""


def add(session: Session, hook: str, spec: Spec, secret: str | None, now_s: float) -> None:
    """A new hook."""
    session.add(
        t.Hook(
            id=hook,
            channel="webhook" if spec.url is not None else "email",
            secret=secret,
            previous_secret=None,
            previous_until_s=0.0,
            revision=1,
            created_s=now_s,
            **_values(spec),
        )
    )
    session.flush()


def put(session: Session, hook: str, spec: Spec, revision: int) -> None:
    """Change a hook. Raises: NotFoundError, ConflictError."""
    row = row_of(session, hook, revision)
    for name, value in _values(spec).items():
        setattr(row, name, value)
    row.revision += 1
    session.flush()


def put_secret(session: Session, hook: str, secret: str, until_s: float) -> None:
    """Change the secret; the one before stays valid until then. Raises: NotFoundError."""
    row = row_of(session, hook)
    row.previous_secret, row.previous_until_s, row.secret = row.secret, until_s, secret
    row.revision += 1
    session.flush()


def drop(session: Session, hook: str, revision: int) -> None:
    """Remove a hook and what is on its way to it. Raises: NotFoundError, ConflictError."""
    row = row_of(session, hook, revision)
    session.execute(delete(t.HookDelivery).where(t.HookDelivery.hook_id == hook))
    session.delete(row)
    session.flush()


def _values(spec: Spec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "url": spec.url,
        "addresses": list(spec.addresses),
        "kinds": list(spec.kinds),
        "machines": list(spec.machines),
        "enabled": spec.enabled,
    }


def list_deliveries(
    session: Session, paging: Paging, hook: str, *, state: DeliveryState | None = None
) -> Page[DeliveryView]:
    """What was and is on its way to a hook, newest first. Raises: NotFoundError."""
    row_of(session, hook)
    query = select(t.HookDelivery).where(t.HookDelivery.hook_id == hook)
    if state is not None:
        query = query.where(t.HookDelivery.state == state)
    return fetch_page(session, query, _BY_DELIVERY, paging, _delivery)


def claim(database: Database, now_s: float, lease_s: float, limit: int) -> list[Due]:
    """Take what is due, for `lease_s`: other hub processes leave it alone, and get it should this one die. Raises:
    StoreError.
    """
    with database.write() as session:
        rows = session.execute(
            select(t.HookDelivery, t.Hook)
            .join(t.Hook, t.Hook.id == t.HookDelivery.hook_id)
            .where(
                t.HookDelivery.state == "waiting",
                t.HookDelivery.next_s <= now_s,
                t.HookDelivery.lease_s <= now_s,
                t.Hook.enabled.is_(True),
            )
            .order_by(t.HookDelivery.next_s)
            .limit(limit)
            .with_for_update(of=t.HookDelivery, skip_locked=True)
        ).all()
        for delivery, _ in rows:
            delivery.lease_s = now_s + lease_s
            delivery.attempts += 1
        return [
            Due(
                id=d.id,
                hook=h.id,
                key=d.key,
                kind=d.kind,
                body=d.body,
                attempts=d.attempts,
                channel=_channel(h),
                url=h.url,
                addresses=tuple(h.addresses),
                secrets=_secrets(h, now_s),
            )
            for d, h in rows
        ]


def settle(database: Database, delivery: int, after: Next, status: int | None, error: str | None, now_s: float) -> None:
    """Write down how a try went. Raises: StoreError."""
    values = {
        "state": after.state,
        "next_s": after.next_s,
        "lease_s": 0.0,
        "status": status,
        "error": error[:1000] if error is not None else None,
        "done_s": now_s if after.state != "waiting" else None,
    }
    with database.write() as session:
        session.execute(update(t.HookDelivery).where(t.HookDelivery.id == delivery).values(values))


def clear_old(database: Database, now_s: float) -> None:
    """Forget what was settled long ago. Raises: StoreError."""
    with database.write() as session:
        session.execute(
            delete(t.HookDelivery).where(t.HookDelivery.state != "waiting", t.HookDelivery.created_s < now_s - KEPT_S)
        )


def again(session: Session, hook: str, delivery: int, now_s: float) -> DeliveryView:
    """Send a delivery once more, with all its tries before it. Raises: NotFoundError."""
    row = session.get(t.HookDelivery, delivery)
    if row is None or row.hook_id != hook:
        raise NotFoundError(f"delivery {delivery} of hook {hook!r}: there is none")
    row.state, row.attempts, row.next_s, row.lease_s, row.done_s = "waiting", 0, now_s, 0.0, None
    return _delivery(row)


def _secrets(hook: t.Hook, now_s: float) -> tuple[str, ...]:
    both = (hook.secret, hook.previous_secret if hook.previous_until_s > now_s else None)
    return tuple(s for s in both if s is not None)


def _channel(hook: t.Hook) -> Channel:
    return "email" if hook.channel == "email" else "webhook"


def _view(row: t.Hook) -> HookView:
    lists: tuple[Sequence[str], ...] = (row.addresses, row.kinds, row.machines)
    addresses, kinds, machines = (tuple(texts) for texts in lists)
    return HookView(
        row.id, row.name, _channel(row), row.url, addresses, kinds, machines, row.enabled, row.revision, row.created_s
    )


def _delivery(row: t.HookDelivery) -> DeliveryView:
    state: DeliveryState = "delivered" if row.state == "delivered" else "failed" if row.state == "failed" else "waiting"
    return DeliveryView(
        id=row.id,
        hook=row.hook_id,
        key=row.key,
        kind=row.kind,
        state=state,
        attempts=row.attempts,
        created_s=row.created_s,
        next_s=row.next_s,
        status=row.status,
        error=row.error,
        done_s=row.done_s,
    )


class SqlOutbox:
    """The database's part of `cloud_hub.notify.worker.NotifyWorker`."""

    def __init__(self, database: Database, link: Link) -> None:
        self._database = database
        self._reader = HappeningsReader(database, link)

    def collect(self, now_s: float) -> int:
        """Look for happenings. Raises: StoreError."""
        return self._reader.collect(now_s)

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[Due]:
        """Take what is due. Raises: StoreError."""
        with self._database.read() as session:
            waiting = select(t.HookDelivery.id).where(
                t.HookDelivery.state == "waiting", t.HookDelivery.next_s <= now_s, t.HookDelivery.lease_s <= now_s
            )
            if session.scalar(waiting.limit(1)) is None:  # most of the time; no write transaction for it
                return ()
        return claim(self._database, now_s, lease_s, limit)

    def settle(self, delivery: int, then: Next, status: int | None, error: str | None, now_s: float) -> None:
        """Write down a try. Raises: StoreError."""
        settle(self._database, delivery, then, status, error, now_s)

    def clear_old(self, now_s: float) -> None:
        """Forget what was settled long ago. Raises: StoreError."""
        clear_old(self._database, now_s)
