"""Wants: which bundles a gateway shall run. One retained message per gateway, all slots in it, signed, numbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.delivery.registry import BundleRecord, BundleRegistry, WantRecord
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
    """The gateway's current want with these changes: slot to bundle, or to None for a slot that shall stop.

    The number only grows, also when the database was lost: it is never below the time in seconds.

    Raises: GateError: a bundle is for another slot, too many slots, or already expired. NotFoundError: a bundle of the
            current want is no longer known. TopicError: not a gateway's id.
    """
    when = when or When(int(now_s) + DEFAULT_EXPIRES_S)
    if when.expires_s <= max(now_s, when.not_before_s):
        raise GateError(f"want for {gateway}: expires at {when.expires_s}, before it could be followed")
    current = registry.current_want(gateway)
    chosen: dict[str, BundleRecord | None] = {}
    if current is not None:
        chosen = {slot: registry.find_bundle(sha256) for slot, sha256 in current.bundles if slot not in changes}
    chosen.update(changes)
    bundles = [_wanted(gateway, slot, record) for slot, record in sorted(chosen.items()) if record is not None]
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


def send_want(body: WantBody, repository: Repository, registry: BundleRegistry, link: Link) -> None:
    """Sign, remember, publish. Remembered first: the registry is what refuses a number that was used before.

    Raises: LinkError: remembered but not sent; issue another. KeysError, MessageError: it cannot be signed.
    """
    envelope = repository.sign_want(body)
    _remember(body, registry)
    link.publish(topic_of(Want(GatewayId(body.gateway))), envelope, retain=True)


def send_wants(bodies: Sequence[WantBody], repository: Repository, registry: BundleRegistry, link: Link) -> None:
    """`send_want` for many gateways, many in flight together: a fleet does not wait for a round trip per gateway.

    Each want is remembered before it is sent. Raises: as `send_want`; the wants of earlier batches are out by then.
    """
    for start in range(0, len(bodies), _IN_FLIGHT):
        messages = []
        for body in bodies[start : start + _IN_FLIGHT]:
            envelope = repository.sign_want(body)
            _remember(body, registry)
            messages.append((topic_of(Want(GatewayId(body.gateway))), envelope))
        link.publish_all(messages, retain=True)


def _remember(body: WantBody, registry: BundleRegistry) -> None:
    slots = tuple((wanted.slot, wanted.sha256) for wanted in body.bundles)
    registry.add_want(WantRecord(body.gateway, body.seq, float(body.issued_s), float(body.expires_s), slots))


def _wanted(gateway: str, slot: str, record: BundleRecord) -> WantedBundle:
    if record.slot != slot:
        raise GateError(f"want for {gateway}, slot {slot}: bundle {record.target} is for the slot {record.slot}")
    return WantedBundle(
        slot=slot, target=record.target, sha256=record.sha256, length=record.length, version=record.version
    )
