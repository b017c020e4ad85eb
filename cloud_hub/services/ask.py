"""What people may ask of rollouts: the same for the API and the command line. All of it only writes the database; a
running hub carries it out within seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Literal

import msgspec

from cloud_hub.accounts.permissions import Principal
from cloud_hub.errors import ConflictError, PlanError, StaleError, StoreError, StoreUnavailableError
from cloud_hub.rollout import machine, steer
from cloud_hub.rollout.cohorts import assign
from cloud_hub.rollout.plan import Plan, check_zone, decode_plan, read_plan
from cloud_hub.rollout.state import Outcome
from cloud_hub.rollout.states import Status
from cloud_hub.store import audit
from cloud_hub.store.database import Database, Session
from cloud_hub.store.registry import find_bundle
from cloud_hub.store.rollout_queries import get_site, put_site
from cloud_hub.store.rollout_views import SiteView
from cloud_hub.store.rollouts import RolloutStore, Stored
from models.contract.ids import check_id
from models.errors import TopicError

Verb = Literal["approve", "pause", "resume", "abort", "retry"]
VERBS: tuple[Verb, ...] = ("approve", "pause", "resume", "abort", "retry")
_MAX_LABELS = 64


def create(
    database: Database,
    principal: Principal,
    plan: Plan,
    now_s: float,
    *,
    name: str | None = None,
    request_id: str | None = None,
) -> str:
    """Read a plan, settle who is in which cohort, and store the rollout.

    Returns: its id.
    Raises:  PlanError: the plan cannot be read or carried out. NotFoundError: no such bundle.
             ConflictError: another rollout is changing one of these slots, or has this name.
    """
    read_plan(plan)
    store = RolloutStore(database)
    with database.read() as session:
        bundle = find_bundle(session, plan.sha256)
    if bundle.slot != plan.slot:
        raise PlanError(f"rollout: bundle {bundle.target} is for the slot {bundle.slot}, not {plan.slot}")
    rollout = check_id(name or f"{plan.slot[:40]}-{secrets.token_hex(4)}", "rollout")
    text = msgspec.json.encode(plan).decode()
    read = decode_plan(text, f"rollout {rollout}")  # what is stored is what was read
    cohort_of = assign(rollout, plan, store.sites(plan.slot))

    def note(session: Session) -> None:
        after = {"slot": plan.slot, "sha256": plan.sha256, "gateways": len(cohort_of)}
        audit.record(
            session, principal, "rollout.create", f"rollout:{rollout}",
            before=None, after=after, now_s=now_s, request_id=request_id,
        )  # fmt: skip

    begun = machine.begin(rollout, read, cohort_of, now_s)
    store.create(begun, text, plan.slot, plan.sha256, now_s, principal.name, note)
    return rollout


def ask(
    database: Database,
    principal: Principal,
    rollout: str,
    verb: Verb,
    now_s: float,
    *,
    why: str = "",
    undo: bool = False,
    force: bool = False,
    gateways: Iterable[str] | None = None,
    revision: int | None = None,
    request_id: str | None = None,
) -> Status:
    """Do what somebody asks.

    Args:   undo: of `abort`: also where it runs well. force: of `abort`: at once, although something cannot be taken
            back or the rollout cannot be read. revision: what they have seen; None: whatever it is.
    Returns: its status.
    Raises: NotFoundError; StaleError: it has another revision by now; RolloutError: it has no place now; PlanError: not
            readable; ConflictError: what is stored of it cannot be read.
    """
    by = principal.name
    if force and undo:
        raise PlanError(f"rollout {rollout}, abort: expected force or undo, got both: by force nothing is sent")
    gateways = list(gateways) if gateways is not None else None

    def command(stored: Stored) -> Outcome:
        where = f"rollout {rollout}"
        if revision is not None and revision != stored.revision:
            raise StaleError(f"{where}: expected revision {revision}, it is at {stored.revision}: look at it again")
        match verb:
            case "approve":
                return steer.approve(stored.state, decode_plan(stored.plan_json, where), now_s, by)
            case "pause":
                return steer.pause(stored.state, now_s, by, why)
            case "resume":
                return steer.resume(stored.state, decode_plan(stored.plan_json, where), now_s, by)
            case "abort":
                if force:
                    return steer.force(stored.state, now_s, by)
                return steer.abort(stored.state, now_s, by, undo=undo)
            case "retry":
                return steer.retry(stored.state, now_s, by, gateways)

    def note(session: Session, before: str, after: str) -> None:
        asked = {"why": why, "undo": undo or None, "force": force or None, "gateways": gateways}
        audit.record(
            session, principal, f"rollout.{verb}", f"rollout:{rollout}",
            before={"status": before}, after={"status": after} | {k: v for k, v in asked.items() if v},
            now_s=now_s, request_id=request_id,
        )  # fmt: skip

    store = RolloutStore(database)
    try:
        after = store.act(rollout, command, lambda s, a, b: note(s, a.rollout.status.value, b.rollout.status.value))
    except StoreUnavailableError:
        raise
    except StoreError as error:
        if verb != "abort" or not force:
            raise ConflictError(f"{error}; only to abort it by force is possible") from error
        ended = Status.ABORTED
        store.force_unreadable(rollout, str(error)[:2000], now_s, by, revision, lambda s, b: note(s, b, ended.value))
        return ended
    return after.rollout.status


def set_site(
    database: Database,
    principal: Principal,
    gateway: str,
    time_zone: str | None,
    labels: dict[str, str],
    now_s: float,
    *,
    revision: int | None = None,
    request_id: str | None = None,
) -> SiteView:
    """Say where a gateway is. `revision`: of what was said before; None: whatever that is.

    Raises: PlanError: not an id, a time zone, a label. StaleError: something else was said meanwhile.
    """
    try:
        for what, name in (("gateway", gateway), *((f"gateway {gateway}, label", name) for name in labels)):
            check_id(name, what)
    except TopicError as error:
        raise PlanError(str(error)) from error
    if time_zone is not None:
        check_zone(time_zone, f"gateway {gateway}, time zone")
    if len(labels) > _MAX_LABELS:
        raise PlanError(f"gateway {gateway}: expected at most {_MAX_LABELS} labels, got {len(labels)}")
    site = SiteView(gateway, time_zone, dict(labels))
    with database.write() as session:
        before = get_site(session, gateway)
        if revision is not None and revision != before.revision:
            raise StaleError(f"gateway {gateway}, site: expected revision {revision}, it is at {before.revision}")
        put_site(session, site)
        audit.record(
            session, principal, "site.put", f"gateway:{gateway}",
            before={"time_zone": before.time_zone, "labels": before.labels},
            after={"time_zone": time_zone, "labels": site.labels}, now_s=now_s, request_id=request_id,
        )  # fmt: skip
        return get_site(session, gateway)
