"""The registry of bundles and wants, in the database: implements `cloud_hub.delivery.registry.BundleRegistry`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Self

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.accounts.permissions import Principal
from cloud_hub.delivery.registry import BundleRecord, Shadow, WantRecord
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.rollout.states import OVER
from cloud_hub.settings import Settings
from cloud_hub.store import audit
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, open_database

_BATCH = 500  # gateways whose wants are read together
_DIGEST = re.compile(r"[0-9a-f]{6,64}")


class SqlRegistry:
    """Bundles and wants. Give it the settings (it opens and migrates the database) or a database that is open, and who
    stands in the audit log for what is added.
    """

    def __init__(self, source: Settings | Database, by: Principal | None = None) -> None:
        """Raises: SettingsError: the database cannot be used."""
        self._by = by
        self._database = source if isinstance(source, Database) else open_database(source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add_bundle(self, record: BundleRecord) -> None:
        """Remember a bundle; the same digest twice is no error.

        Raises: ConflictError: its slot and version already name another bundle.
        """
        with self._database.write() as session:
            if insert_bundle(session, record) and self._by is not None:
                audit.record(
                    session, self._by, "bundle.publish", f"bundle:{record.sha256}", before=None,
                    after={"slot": record.slot, "version": record.version}, now_s=record.created_s,
                )  # fmt: skip

    def find_bundle(self, reference: str) -> BundleRecord:
        """A bundle by digest, by a prefix of it that is unique (at least 6 digits), or by "slot/version".

        Raises: NotFoundError: none, or more than one.
        """
        with self._database.read() as session:
            return find_bundle(session, reference)

    def list_bundles(self) -> list[BundleRecord]:
        """All bundles, newest first."""
        query = select(t.Bundle).order_by(t.Bundle.created_s.desc(), t.Bundle.sha256.desc())
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(query)]

    def current_want(self, gateway: str) -> WantRecord | None:
        """The want with the highest seq that was issued for a gateway."""
        with self._database.read() as session:
            return newest_wants(session, [gateway]).get(gateway)

    def wanted_digests(self) -> set[str]:
        """The bundles that the newest want of any gateway names, or a rollout that is not over."""
        newest = select(t.Want.gateway, func.max(t.Want.seq).label("seq")).group_by(t.Want.gateway).subquery()
        query = (
            select(t.WantBundle.sha256)
            .join(newest, (t.WantBundle.gateway == newest.c.gateway) & (t.WantBundle.seq == newest.c.seq))
            .distinct()
        )
        rolled_out = (
            select(t.Rollout.sha256).where(t.Rollout.status.not_in([status.value for status in OVER])).distinct()
        )
        with self._database.read() as session:
            return set(session.scalars(query)) | set(session.scalars(rolled_out))

    def standing_wants(self) -> Iterator[Sequence[WantRecord]]:
        """The newest want of each gateway that was not retired, in batches, by the gateways' names."""
        retired = select(t.Gateway.id).where(t.Gateway.id == t.Want.gateway, t.Gateway.retired_s.is_not(None))
        after = ""
        while True:
            query = (
                select(t.Want.gateway)
                .where(t.Want.gateway > after, ~retired.exists())
                .distinct()
                .order_by(t.Want.gateway)
            )
            with self._database.read() as session:
                gateways = list(session.scalars(query.limit(_BATCH)))
                wants = newest_wants(session, gateways)
            if not gateways:
                return
            yield [wants[gateway] for gateway in gateways]
            after = gateways[-1]

    def gateways_in_rollouts(self) -> set[str]:
        """Gateways that are in a rollout which is not over: it issues their wants."""
        query = (
            select(t.RolloutMember.gateway)
            .join(t.Rollout, t.Rollout.id == t.RolloutMember.rollout_id)
            .where(t.Rollout.status.not_in([status.value for status in OVER]))
            .distinct()
        )
        with self._database.read() as session:
            return set(session.scalars(query))

    def add_wants(self, records: Sequence[WantRecord]) -> None:
        """Remember new wants of different gateways, all or none.

        Raises: ConflictError: somebody has issued a newer one meanwhile.
        """
        with self._database.write() as session:
            newest = newest_wants(session, [record.gateway for record in records])
            for record in records:
                known = newest.get(record.gateway)
                if known is not None and record.seq <= known.seq:
                    raise ConflictError(
                        f"want for {record.gateway}: expected a seq above {known.seq}, got {record.seq}"
                    )
            insert_wants(session, records)

    def add_want(self, record: WantRecord) -> None:
        """Remember a want.

        Raises: ConflictError: its seq is not above that of every want before it (somebody else has just issued one).
                NotFoundError: it names a bundle that was never published.
        """
        with self._database.write() as session:
            newest = session.scalar(select(func.max(t.Want.seq)).where(t.Want.gateway == record.gateway))
            if newest is not None and record.seq <= newest:
                raise ConflictError(f"want for {record.gateway}: expected a seq above {newest}, got {record.seq}")
            for slot, sha256 in record.bundles:
                if session.get(t.Bundle, sha256) is None:
                    raise NotFoundError(f"want for {record.gateway}, slot {slot}: no bundle {sha256} was published")
            before = newest_wants(session, [record.gateway]).get(record.gateway) if self._by is not None else None
            insert_wants(session, [record])
            if self._by is not None:
                audit.record(
                    session, self._by, "want.issue", f"gateway:{record.gateway}",
                    before={"seq": before.seq, "bundles": dict(before.bundles)} if before is not None else None,
                    after={"seq": record.seq, "bundles": dict(record.bundles)}, now_s=record.issued_s,
                )  # fmt: skip


def insert_bundle(session: Session, record: BundleRecord) -> bool:
    """See `SqlRegistry.add_bundle`. Returns: whether it is new."""
    if session.get(t.Bundle, record.sha256) is not None:
        return False
    other = session.scalar(
        select(t.Bundle.sha256).where(t.Bundle.slot == record.slot, t.Bundle.version == record.version)
    )
    if other is not None:
        raise ConflictError(
            f"bundle {record.slot}/{record.version}: already published as {other}, got {record.sha256}; "
            "a version names one bundle for ever"
        )
    session.add(
        t.Bundle(
            sha256=record.sha256,
            slot=record.slot,
            version=record.version,
            family=record.family,
            target=record.target,
            length=record.length,
            created_s=record.created_s,
            manifest_json=record.manifest_json,
        )
    )
    return True


def insert_wants(session: Session, records: Sequence[WantRecord]) -> None:
    """Write wants down; their numbers are new and their bundles known, the caller has looked."""
    if not records:
        return
    session.execute(
        t.table_of(t.Want).insert(),
        [
            {
                "gateway": r.gateway,
                "seq": r.seq,
                "issued_s": r.issued_s,
                "expires_s": r.expires_s,
                "not_before_s": r.not_before_s,
                "jitter_s": r.jitter_s,
            }
            for r in records
        ],
    )
    rows = []
    for r in records:
        held = dict(r.shadow)
        for slot, sha256 in r.bundles:
            shadow = held.get(slot, Shadow())
            rows.append(
                {
                    "gateway": r.gateway,
                    "seq": r.seq,
                    "slot": slot,
                    "sha256": sha256,
                    "shadow_windows": shadow.windows,
                    "hold": shadow.hold,
                }
            )
    if rows:
        session.execute(t.table_of(t.WantBundle).insert(), rows)


def newest_wants(session: Session, gateways: Sequence[str]) -> dict[str, WantRecord]:
    """The want with the highest seq of each of these gateways that has one."""
    newest = (
        select(t.Want.gateway, func.max(t.Want.seq).label("seq"))
        .where(t.Want.gateway.in_(gateways))
        .group_by(t.Want.gateway)
        .subquery()
    )
    on = (t.Want.gateway == newest.c.gateway) & (t.Want.seq == newest.c.seq)
    wants = session.scalars(select(t.Want).join(newest, on)).all()
    bundles: defaultdict[str, list[t.WantBundle]] = defaultdict(list)
    on = (t.WantBundle.gateway == newest.c.gateway) & (t.WantBundle.seq == newest.c.seq)
    for row in session.scalars(select(t.WantBundle).join(newest, on).order_by(t.WantBundle.slot)):
        bundles[row.gateway].append(row)
    return {
        w.gateway: WantRecord(
            w.gateway,
            w.seq,
            w.issued_s,
            w.expires_s,
            tuple((b.slot, b.sha256) for b in bundles[w.gateway]),
            w.not_before_s,
            w.jitter_s,
            tuple((b.slot, Shadow(b.shadow_windows, b.hold)) for b in bundles[w.gateway] if b.hold or b.shadow_windows),
        )
        for w in wants
    }


def find_bundle(session: Session, reference: str) -> BundleRecord:
    """See `SqlRegistry.find_bundle`."""
    slot, slash, version = reference.partition("/")
    if slash:
        query = select(t.Bundle).where(t.Bundle.slot == slot, t.Bundle.version == version)
    elif _DIGEST.fullmatch(reference):
        query = select(t.Bundle).where(t.Bundle.sha256.startswith(reference, autoescape=True)).limit(2)
    else:
        raise NotFoundError(f"bundle {reference[:80]!r}: expected a digest, at least 6 digits of one, or slot/version")
    rows = session.scalars(query).all()
    if not rows:
        raise NotFoundError(f"bundle {reference!r}: none was published under this name")
    if len(rows) > 1:
        raise NotFoundError(f"bundle {reference!r}: fits more than one ({rows[0].sha256}, {rows[1].sha256}, ...)")
    return _record(rows[0])


def _record(row: t.Bundle) -> BundleRecord:
    return BundleRecord(
        sha256=row.sha256,
        slot=row.slot,
        version=row.version,
        family=row.family,
        target=row.target,
        length=row.length,
        created_s=row.created_s,
        manifest_json=row.manifest_json,
    )
