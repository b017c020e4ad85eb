"""Answers to requests that carried an idempotency key, so that the same request again changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, update

from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, insert_new

KEPT_S = 24 * 3600.0
_TABLE = t.table_of(t.IdempotencyKey)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an earlier request. `status` None: it has not come to its end. `body` None: not kept."""

    request_sha256: str
    status: int | None
    media_type: str | None
    body: bytes | None


def begin(database: Database, who: str, key: str, request_sha256: str, now_s: float) -> Kept | None:
    """Claim a key; None when it is the caller's now, else what there is under it. Keys of yesterday are forgotten."""
    row = {"who": who, "key": key, "request_sha256": request_sha256, "created_s": now_s}
    with database.write() as session:
        session.execute(delete(t.IdempotencyKey).where(t.IdempotencyKey.created_s < now_s - KEPT_S))
        if insert_new(session, _TABLE, [row], key=["who", "key"], returning=["key"]):
            return None
        found = session.get(t.IdempotencyKey, (who, key))
        assert found is not None  # noqa: S101 - it was in the way a moment ago, in this transaction
        return Kept(found.request_sha256, found.status, found.media_type, found.body)


def finish(database: Database, who: str, key: str, status: int, media_type: str | None, body: bytes | None) -> None:
    """Keep the answer."""
    row = t.IdempotencyKey
    with database.write() as session:
        values = {"status": status, "media_type": media_type, "body": body}
        session.execute(update(row).where(row.who == who, row.key == key).values(**values))


def give_up(database: Database, who: str, key: str) -> None:
    """It failed and changed nothing: the key is free again."""
    row = t.IdempotencyKey
    with database.write() as session:
        session.execute(delete(row).where(row.who == who, row.key == key))
