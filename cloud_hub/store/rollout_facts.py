"""What the database has of the gateways of a rollout: the facts that its machine goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from cloud_hub.rollout.state import Fact, Refusal
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from models.contract.messages import Behaviour

_OVERLAP = 10_000  # acks looked at again: transactions that ran side by side may commit in another order


class FactReader:
    """What the hub knows of the gateways of one rollout. Refusals are read once, each as it comes."""

    def __init__(self, database: Database, rollout: str, slot: str, sha256: str) -> None:
        self._database = database
        self._rollout, self._slot, self._sha256 = rollout, slot, sha256
        self._refusals: dict[str, Refusal] = {}
        self._last_ack = 0

    def read(self) -> dict[str, Fact]:
        """The facts as they are now, of one moment."""
        with self._database.read() as session:
            self._read_refusals(session)
            wanted = self._wanted(session)
            query = (
                select(
                    t.RolloutMember.gateway,
                    t.Gateway.online,
                    t.Gateway.last_seen_s,
                    t.Gateway.want_seq,
                    t.GatewaySlot.phase,
                    t.GatewaySlot.active_sha256,
                    t.GatewaySlot.candidate_sha256,
                    t.GatewaySlot.error,
                    t.GatewaySlot.champion,
                    t.GatewaySlot.candidate,
                    t.GatewaySite.time_zone,
                    t.Gateway.retired_s,
                )
                .join(t.Gateway, t.Gateway.id == t.RolloutMember.gateway)
                .outerjoin(
                    t.GatewaySlot,
                    and_(t.GatewaySlot.gateway_id == t.RolloutMember.gateway, t.GatewaySlot.slot == self._slot),
                )
                .outerjoin(t.GatewaySite, t.GatewaySite.gateway == t.RolloutMember.gateway)
                .where(t.RolloutMember.rollout_id == self._rollout)
            )
            return {row[0]: self._fact(row, wanted) for row in session.execute(query)}

    def _fact(self, row: tuple[Any, ...], wanted: Mapping[str, tuple[int, str | None]]) -> Fact:
        gateway, online, seen_s, seq, phase, active, candidate, error, champion, shadow, zone, retired_s = row
        wanted_seq, wanted_sha = wanted.get(gateway, (0, None))
        return Fact(
            gateway=gateway,
            online=online,
            last_seen_s=seen_s,
            reported_seq=seq,
            phase=phase or "idle",
            active=active,
            candidate=candidate,
            error=error,
            champion=msgspec.convert(champion, Behaviour) if champion is not None else None,
            shadow=msgspec.convert(shadow, Behaviour) if shadow is not None else None,
            refusal=self._refusals.get(gateway),
            wanted=wanted_sha,
            wanted_seq=wanted_seq,
            time_zone=zone,
            retired=retired_s is not None,
        )

    def _wanted(self, session: Session) -> dict[str, tuple[int, str | None]]:
        newest = (
            select(t.Want.gateway, func.max(t.Want.seq).label("seq"))
            .join(t.RolloutMember, t.RolloutMember.gateway == t.Want.gateway)
            .where(t.RolloutMember.rollout_id == self._rollout)
            .group_by(t.Want.gateway)
            .subquery()
        )
        on = and_(
            t.WantBundle.gateway == newest.c.gateway,
            t.WantBundle.seq == newest.c.seq,
            t.WantBundle.slot == self._slot,
        )
        query = select(newest.c.gateway, newest.c.seq, t.WantBundle.sha256).outerjoin(t.WantBundle, on)
        return {gateway: (seq, sha) for gateway, seq, sha in session.execute(query)}

    def _read_refusals(self, session: Session) -> None:
        query = (
            select(t.Ack)
            .join(t.RolloutMember, t.RolloutMember.gateway == t.Ack.gateway_id)
            .where(
                t.RolloutMember.rollout_id == self._rollout,
                t.Ack.id > self._last_ack - _OVERLAP,
                t.Ack.phase.in_(["refused", "rolled_back"]),
                or_(and_(t.Ack.slot == self._slot, t.Ack.sha256 == self._sha256), t.Ack.slot == ""),
            )
            .order_by(t.Ack.id)
        )
        for ack in session.scalars(query):
            self._refusals[ack.gateway_id] = Refusal(
                seq=ack.seq,
                phase="refused" if ack.phase == "refused" else "rolled_back",
                reason=ack.reason or "",
                detail=ack.detail or "",
            )
        self._last_ack = max(self._last_ack, session.scalar(select(func.max(t.Ack.id))) or 0)
