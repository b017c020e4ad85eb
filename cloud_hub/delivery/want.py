"""Wants: which bundles a gateway shall run. One retained message per gateway, all slots in it, signed, numbered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.delivery.registry import BundleRecord, BundleRegistry, Shadow, WantRecord
from cloud_hub.errors import GateError
from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.contract.ids import GatewayId, check_id
from models.contract.messages import MAX_SLOTS, WantBody, WantedBundle
from models.contract.topics import Want, topic_of

DEFAULT_EXPIRES_S = 30 * 86_400
_IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class When:
    """When a want holds. `not_before_s`, `expires_s`: UTC seconds since 1970; `jitter_s` spreads the fetching out."""

    expires_s: int
    not_before_s: int = 0
    jitter_s: int = 0


def build_want(
    gateway: str,
    changes: Mapping[str, BundleRecord | None],
    registry: BundleRegistry,
    now_s: float,
    when: When | None = None,
) -> WantBody:
    """The gateway's current want with these changes: slot to bundle, or to None for a slot that shall stop. What
    another slot holds in shadow stays there; a slot that changes decides at once.

    The number only grows, also when the database was lost: it is never below the time in seconds.

    Raises: GateError: a bundle is for another slot, too many slots, or already expired. NotFoundError: a bundle of the
            current want is no longer known. TopicError: not a gateway's id.
    """
    return next_want(gateway, registry.current_want(gateway), changes, registry.find_bundle, now_s, when)


def next_want(
    gateway: str,
    current: WantRecord | None,
    changes: Mapping[str, BundleRecord | None],
    find: Callable[[str], BundleRecord],
    now_s: float,
    when: When | None = None,
    shadow: Mapping[str, Shadow] | None = None,
) -> WantBody:
    """As `build_want`, for whoever has the current want at hand. `shadow`: of the slots that change."""
    when = when or When(int(now_s) + DEFAULT_EXPIRES_S)
    if when.expires_s <= max(now_s, when.not_before_s):
        raise GateError(f"want for {gateway}: expires at {when.expires_s}, before it could be followed")
    chosen: dict[str, BundleRecord | None] = {}
    held: dict[str, Shadow] = {}
    if current is not None:
        chosen = {slot: find(sha256) for slot, sha256 in current.bundles if slot not in changes}
        held = {slot: kept for slot, kept in current.shadow if slot not in changes}
    chosen.update(changes)
    held.update(shadow or {})
    bundles = [
        _wanted(gateway, slot, record, held.get(slot, Shadow()))
        for slot, record in sorted(chosen.items())
        if record is not None
    ]
    if len(bundles) > MAX_SLOTS:
        raise GateError(f"want for {gateway}: expected at most {MAX_SLOTS} slots, got {len(bundles)}")
    return WantBody(
        gateway=check_id(gateway, "gateway"),
        seq=max(current.seq + 1 if current is not None else 1, int(now_s)),
        issued_s=int(now_s),
        expires_s=when.expires_s,
        not_before_s=when.not_before_s,
        jitter_s=when.jitter_s,
        bundles=bundles,
    )


def record_of(body: WantBody) -> WantRecord:
    """What the registry keeps of a want."""
    return WantRecord(
        body.gateway,
        body.seq,
        float(body.issued_s),
        float(body.expires_s),
        tuple((wanted.slot, wanted.sha256) for wanted in body.bundles),
        body.not_before_s,
        body.jitter_s,
        tuple(
            (wanted.slot, Shadow(wanted.shadow_windows, wanted.hold))
            for wanted in body.bundles
            if wanted.hold or wanted.shadow_windows
        ),
    )


def body_of(record: WantRecord, find: Callable[[str], BundleRecord]) -> WantBody:
    """A want that was issued before, as it was. Raises: NotFoundError: a bundle of it is no longer known."""
    held = dict(record.shadow)
    return WantBody(
        gateway=record.gateway,
        seq=record.seq,
        issued_s=int(record.issued_s),
        expires_s=int(record.expires_s),
        not_before_s=record.not_before_s,
        jitter_s=record.jitter_s,
        bundles=[
            _wanted(record.gateway, slot, find(sha256), held.get(slot, Shadow())) for slot, sha256 in record.bundles
        ],
    )


def send_want(body: WantBody, repository: Repository, registry: BundleRegistry, link: Link) -> None:
    """Sign, remember, publish. Remembered first: the registry is what refuses a number that was used before.

    Raises: LinkError: remembered but not sent; issue another. KeysError, MessageError: it cannot be signed.
    """
    envelope = repository.sign_want(body)
    registry.add_want(record_of(body))
    link.publish(topic_of(Want(GatewayId(body.gateway))), envelope, retain=True)


def send_wants(bodies: Sequence[WantBody], repository: Repository, registry: BundleRegistry, link: Link) -> None:
    """`send_want` for many gateways, many in flight together: a fleet does not wait for a round trip per gateway.

    Each want is remembered before it is sent. Raises: as `send_want`; the wants of earlier batches are out by then.
    """
    for start in range(0, len(bodies), _IN_FLIGHT):
        messages = []
        for body in bodies[start : start + _IN_FLIGHT]:
            envelope = repository.sign_want(body)
            registry.add_want(record_of(body))
            messages.append((topic_of(Want(GatewayId(body.gateway))), envelope))
        link.publish_all(messages, retain=True)


def _wanted(gateway: str, slot: str, record: BundleRecord, shadow: Shadow) -> WantedBundle:
    if record.slot != slot:
        raise GateError(f"want for {gateway}, slot {slot}: bundle {record.target} is for the slot {record.slot}")
    return WantedBundle(
        slot=slot,
        target=record.target,
        sha256=record.sha256,
        length=record.length,
        version=record.version,
        shadow_windows=shadow.windows,
        hold=shadow.hold,
    )
