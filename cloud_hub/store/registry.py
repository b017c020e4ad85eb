"""The registry of bundles and wants, in the database: implements `cloud_hub.delivery.registry.BundleRegistry`."""

from __future__ import annotations

import re
from typing import Self

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.delivery.registry import BundleRecord, WantRecord
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.settings import Settings
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, open_database

_DIGEST = re.compile(r"[0-9a-f]{6,64}")


class SqlRegistry:
    """Bundles and wants. Give it the settings (it opens and migrates the database) or a database that is open."""

    def __init__(self, source: Settings | Database) -> None:
        """Raises: SettingsError: the database cannot be used."""
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
            if session.get(t.Bundle, record.sha256) is not None:
                return
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
        query = select(t.Want).where(t.Want.gateway == gateway).order_by(t.Want.seq.desc()).limit(1)
        with self._database.read() as session:
            want = session.scalar(query)
            if want is None:
                return None
            bundles = session.scalars(
                select(t.WantBundle)
                .where(t.WantBundle.gateway == gateway, t.WantBundle.seq == want.seq)
                .order_by(t.WantBundle.slot)
            )
            pairs = tuple((b.slot, b.sha256) for b in bundles)
            return WantRecord(gateway, want.seq, want.issued_s, want.expires_s, pairs)

    def wanted_digests(self) -> set[str]:
        """The bundles that the newest want of any gateway names."""
        newest = select(t.Want.gateway, func.max(t.Want.seq).label("seq")).group_by(t.Want.gateway).subquery()
        query = (
            select(t.WantBundle.sha256)
            .join(newest, (t.WantBundle.gateway == newest.c.gateway) & (t.WantBundle.seq == newest.c.seq))
            .distinct()
        )
        with self._database.read() as session:
            return set(session.scalars(query))

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
            want = t.Want(gateway=record.gateway, seq=record.seq, issued_s=record.issued_s, expires_s=record.expires_s)
            session.add(want)
            session.flush()
            session.add_all(
                t.WantBundle(gateway=record.gateway, seq=record.seq, slot=slot, sha256=sha256)
                for slot, sha256 in record.bundles
            )


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
