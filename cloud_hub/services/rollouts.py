"""Carries rollouts out: reads the facts, steps each machine, stores, and only then sends. Call `RolloutService` every
few seconds with the link; it may be killed at any moment (see `cloud_hub.store.rollouts` for why that is harmless).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from cloud_hub.delivery.registry import BundleRecord, Shadow, WantRecord
from cloud_hub.delivery.want import DEFAULT_EXPIRES_S, When, body_of, next_want, record_of
from cloud_hub.errors import ConflictError, GateError, NotFoundError, PlanError, StoreError, StoreUnavailableError
from cloud_hub.observing.logs import about
from cloud_hub.rollout.gateways import failed
from cloud_hub.rollout.machine import step
from cloud_hub.rollout.plan import Plan, ReadPlan, decode_plan
from cloud_hub.rollout.state import Fact, Member
from cloud_hub.rollout.states import OVER, Stage
from cloud_hub.store.database import Database
from cloud_hub.store.rollout_facts import FactReader
from cloud_hub.store.rollouts import RolloutStore, Stored
from models.contract.ids import GatewayId
from models.contract.messages import WantBody
from models.contract.topics import Want, topic_of
from models.errors import ContractError

_log = logging.getLogger(__name__)
BATCH = 500  # wants that are numbered, signed and published together


class Publisher(Protocol):
    """What is needed of `cloud_hub.transport.Link`."""

    @property
    def listening(self) -> bool:
        """Whether what gateways send reaches us."""

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        """Publish and wait until the broker has them all. Raises: LinkError."""


class Signer(Protocol):
    """What is needed of `cloud_hub.trust.repository.Repository`."""

    def sign_want(self, body: WantBody) -> bytes:
        """A want as it goes to the gateway. Raises: KeysError, MessageError."""


class RolloutService:
    """All rollouts of one database."""

    def __init__(self, database: Database, signer: Signer, now_s: Callable[[], float] = time.time) -> None:
        self._store = RolloutStore(database)
        self._database = database
        self._signer = signer
        self._now_s = now_s
        self._listening_s: float | None = None
        self._stored: dict[str, Stored] = {}
        self._facts: dict[str, FactReader] = {}
        self._faults: dict[str, str] = {}

    def __call__(self, link: Publisher) -> None:
        """One step of every rollout. While nothing can be heard nothing is decided.

        Raises: LinkError, KeysError, StoreUnavailableError: the next call goes on from there.
        """
        if not link.listening:
            self._listening_s = None
            return
        if self._listening_s is None:
            self._listening_s = self._now_s()
        unfinished = self._store.unfinished()
        for gone in self._stored.keys() - set(unfinished):
            del self._stored[gone]
            self._facts.pop(gone, None)
        self._faults = {rollout: fault for rollout, fault in self._faults.items() if rollout in unfinished}
        for rollout in unfinished:
            with about(rollout=rollout):
                self._look_after(rollout, link, self._listening_s)

    def _look_after(self, rollout: str, link: Publisher, listening_s: float) -> None:
        try:
            self._advance(rollout, link, listening_s)
            self._faults.pop(rollout, None)
        except ConflictError as error:
            _log.info("%s; looking again", error)
            self._stored.pop(rollout, None)
        except StoreUnavailableError:
            self._stored.pop(rollout, None)
            raise
        except (StoreError, NotFoundError, GateError, ContractError) as error:
            # Its own matter, such as a want that cannot be made again: the others go on, and so does the hub.
            if self._faults.get(rollout) != str(error):  # said once, not at every step
                _log.exception("rollout %s: cannot go on", rollout)
            self._faults[rollout] = str(error)
            self._stored.pop(rollout, None)
            self._store.pause_unreadable(rollout, str(error), self._now_s())

    def _advance(self, rollout: str, link: Publisher, listening_s: float) -> None:
        stored = self._stored.get(rollout)
        if stored is None or stored.revision != self._store.revision(rollout):
            stored = self._store.load(rollout)
        with about(bundle=stored.sha256):
            self._step(stored, link, listening_s)

    def _step(self, stored: Stored, link: Publisher, listening_s: float) -> None:
        rollout = stored.state.rollout.id
        read = _read(stored)
        if rollout not in self._facts:
            self._facts[rollout] = FactReader(self._database, rollout, stored.slot, stored.sha256)
        facts = self._facts[rollout].read()
        self._keep(stored)
        if stored.state.rollout.status not in OVER:
            outcome = step(stored.state, read, facts, self._now_s(), listening_s)
            stored = self._keep(self._store.commit(stored, outcome))
            for note in outcome.notes:
                _log.info("rollout %s: %s: %s", rollout, note.event.value, note.text)
        self._send(stored, read, facts, link)

    def _keep(self, stored: Stored) -> Stored:
        self._stored[stored.state.rollout.id] = stored
        return stored

    # ------------------------------------------------------------------------------------------------ sending

    def _send(self, stored: Stored, read: ReadPlan | PlanError, facts: Mapping[str, Fact], link: Publisher) -> None:
        """Number what is due, publish what is numbered; batch by batch, what takes something back first."""
        members = stored.state.members.values()
        stored = self._publish(stored, [m.gateway for m in members if not m.sent and m.due is None], link)
        due = sorted((m for m in members if m.due is not None), key=lambda m: m.due != "return")
        if not due:
            return
        plan = read.plan if isinstance(read, ReadPlan) else None
        for start in range(0, len(due), BATCH):
            names = [m.gateway for m in due[start : start + BATCH]]
            stored = self._keep(self._store.issue(stored, names, self._builder(stored, plan, facts, names)))
            stored = self._publish(stored, [g for g in names if not stored.state.members[g].sent], link)

    def _publish(self, stored: Stored, gateways: list[str], link: Publisher) -> Stored:
        for start in range(0, len(gateways), BATCH):
            names = gateways[start : start + BATCH]
            while names:
                records = self._store.newest(names)
                find = self._finder({sha for record in records for _, sha in record.bundles})
                signed = [
                    (topic_of(Want(GatewayId(r.gateway))), self._signer.sign_want(body_of(r, find))) for r in records
                ]
                link.publish_all(signed, retain=True)
                stored, names = self._store.mark_sent(stored, {r.gateway: r.seq for r in records})
                self._keep(stored)
        return stored

    def _finder(self, digests: set[str]) -> Callable[[str], BundleRecord]:
        known = self._store.bundles(digests)

        def find(sha256: str) -> BundleRecord:
            if sha256 not in known:
                raise NotFoundError(f"bundle {sha256}: none was published under this digest")
            return known[sha256]

        return find

    def _builder(
        self, stored: Stored, plan: Plan | None, facts: Mapping[str, Fact], names: list[str]
    ) -> Callable[[Member, WantRecord | None, bool], tuple[Member, WantRecord | None]]:
        """What makes due wants. All bundles that may be named are looked up before the transaction begins."""
        fleet = self._store.newest(names)
        digests = {sha for record in fleet for _, sha in record.bundles} | {stored.sha256}
        for name in names:
            fact = facts.get(name)
            digests |= {stored.state.members[name].previous or ""} | {(fact.active if fact else None) or ""}
        known = self._store.bundles(digests)
        now_s = self._now_s()

        def build(member: Member, newest: WantRecord | None, online: bool) -> tuple[Member, WantRecord | None]:
            fact = facts.get(member.gateway)
            active = fact.active if fact is not None and fact.active in known else None
            try:
                return due_want(member, newest, stored.slot, stored.sha256, active, plan, known, now_s, online=online)
            except (GateError, NotFoundError, ContractError) as error:
                with about(gateway=member.gateway):
                    _log.error("rollout %s, %s: %s", stored.state.rollout.id, member.gateway, error)
                return _undeliverable(member, plan, str(error), now_s), None

        return build


def due_want(
    member: Member,
    newest: WantRecord | None,
    slot: str,
    sha256: str,
    active: str | None,
    plan: Plan | None,
    known: Mapping[str, BundleRecord],
    now_s: float,
    *,
    online: bool,
) -> tuple[Member, WantRecord | None]:
    """The member once its due want has a number, and that want; None when there is nothing to say: somebody else has
    given the slot another bundle meanwhile, or it has been given back already.

    Args:   newest: the newest want of the gateway. active: what it reports to run.
    Raises: GateError, NotFoundError, TopicError: no such want can be made.
    """
    replace = msgspec.structs.replace
    wanted = dict(newest.bundles).get(slot) if newest is not None else None
    if member.due == "return" and wanted != sha256:
        return replace(member, due=None), None
    if member.try_seq > 0 and member.due != "return" and wanted != sha256:
        detail = f"want {newest.seq if newest is not None else 0} asks for {(wanted or 'nothing')[:12]}"
        changes = {"due": None, "stage": Stage.FAILED, "kind": "superseded", "detail": detail, "since_s": now_s}
        return replace(member, **changes), None
    if member.try_seq == 0 and member.due != "return":
        before = wanted if wanted is not None else active
        if before is not None and (before != sha256 or member.want_seq == 0):
            member = replace(member, previous=before)
    target = member.previous if member.due == "return" else sha256
    if target is not None and target not in known:
        raise NotFoundError(f"bundle {target}: none was published under this digest")

    def find(digest: str) -> BundleRecord:
        if digest not in known:
            raise NotFoundError(f"bundle {digest}: none was published under this digest")
        return known[digest]

    when = When(
        int(now_s) + DEFAULT_EXPIRES_S, jitter_s=plan.jitter_s if plan is not None and member.due != "return" else 0
    )
    shadow = {slot: Shadow(hold=True)} if member.due == "try" else {}
    change = {slot: known[target] if target is not None else None}
    record = record_of(next_want(member.gateway, newest, change, find, now_s, when, shadow))
    changes = {"due": None, "want_seq": record.seq, "sent": False, "since_s": now_s, "was_online": online}
    member = replace(member, **changes)
    return (replace(member, try_seq=record.seq) if member.try_seq == 0 else member), record


def _undeliverable(member: Member, plan: Plan | None, text: str, now_s: float) -> Member:
    if member.due == "return" or plan is None:
        return msgspec.structs.replace(member, due=None, detail=text[:2000])
    return failed(member, plan, "undeliverable", text, now_s)


def _read(stored: Stored) -> ReadPlan | PlanError:
    try:
        read = decode_plan(stored.plan_json, f"rollout {stored.state.rollout.id}")
    except PlanError as error:
        return error
    wanted = (stored.slot, stored.sha256)
    if (read.plan.slot, read.plan.sha256) != wanted or stored.state.rollout.cohort >= len(read.plan.cohorts):
        return PlanError(f"rollout {stored.state.rollout.id}: the stored plan is not the one that it began with")
    if any(m.cohort >= len(read.plan.cohorts) for m in stored.state.members.values()):
        return PlanError(f"rollout {stored.state.rollout.id}: the stored plan has fewer cohorts than it began with")
    return read
