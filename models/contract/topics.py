"""The whole topic tree, as two inverse functions.

    >>> topic_of(Want(GatewayId("gw-1")))
    'mw/1/d/gw-1/dn/want'
    >>> address_of("mw/1/d/gw-1/dn/want")
    Want(gateway='gw-1')

An address is what a topic means; nothing outside this file spells a topic. The second level is the contract's major
version. No topic is deeper than seven slashes (some brokers bound the depth).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from enum import Enum
from typing import get_args

from models.contract.ids import FleetId, GatewayId, NodeId, check_id, check_sha256
from models.errors import TopicError

ROOT = "mw"
MAJOR = "1"
SHARDS = 16


@dataclass(frozen=True, slots=True)
class Metadata:
    """All TUF metadata of a fleet, retained. Down."""

    fleet: FleetId


@dataclass(frozen=True, slots=True)
class Chunk:
    """Chunk `index` of the file with this digest, retained, immutable. Down."""

    sha256: str
    index: int


@dataclass(frozen=True, slots=True)
class Want:
    """Which bundles a gateway shall run: signed, retained. Down."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Command:
    """One signed command. Down."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the hub has stored for good, so that the outbox may let go of it. Down."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Block:
    """A block sent to one gateway that asked for it. Down."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Get:
    """A gateway asks for blocks that it could not get as retained chunks. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class State:
    """Reported state, retained; also the last will. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Ack:
    """How far a gateway has come with a want. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Event:
    """Alarm events with evidence. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Trend:
    """Batched trends and health. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Capture:
    """Raw samples sent up on request. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class EnrollRequest:
    """A certificate request, under the hash of a single-use token. Up."""

    token_hash: str


@dataclass(frozen=True, slots=True)
class EnrollReply:
    """The certificate chain that answers it. Down."""

    token_hash: str


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """A certificate request of a gateway that has a certificate. Up."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class RenewReply:
    """The certificate chain that answers it. Down."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class Frames:
    """Sensor frames from one node to the gateway that it belongs to; never leaves the site."""

    gateway: GatewayId
    node: NodeId


Address = (
    Metadata | Chunk | Want | Command | Receipt | Block | Get | State | Ack | Event | Trend | Capture
    | EnrollRequest | EnrollReply | RenewRequest | RenewReply | Frames
)  # fmt: skip

# One row per kind of address. {shard} is computed from the gateway and checked on the way back.
_TEMPLATES: dict[type[Address], str] = {
    Metadata: "f/{fleet}/tuf",
    Chunk: "b/{sha256}/{index}",
    Want: "d/{gateway}/dn/want",
    Command: "d/{gateway}/dn/cmd",
    Receipt: "d/{gateway}/dn/rcv",
    Block: "d/{gateway}/dn/blk",
    Get: "u/{shard}/{gateway}/get",
    State: "u/{shard}/{gateway}/st",
    Ack: "u/{shard}/{gateway}/ack",
    Event: "u/{shard}/{gateway}/ev",
    Trend: "u/{shard}/{gateway}/t",
    Capture: "u/{shard}/{gateway}/cap",
    EnrollRequest: "enroll/{token_hash}/csr",
    EnrollReply: "enroll/{token_hash}/crt",
    RenewRequest: "renew/{gateway}/csr",
    RenewReply: "renew/{gateway}/crt",
    Frames: "n/{gateway}/{node}/f",
}
assert set(_TEMPLATES) == set(get_args(Address))


class Access(Enum):
    """Who besides the hub may use a topic on the plant's broker. What is not granted here is granted to nobody."""

    FLEET_READS = "every gateway reads, only the hub writes"
    OWNER_READS = "the named gateway reads, only the hub writes"
    OWNER_WRITES = "the named gateway writes, only the hub reads"
    STRANGER_READS = "whoever has no certificate yet reads, only the hub writes"
    STRANGER_WRITES = "whoever has no certificate yet writes, only the hub reads"
    SITE_ONLY = "never on the plant's broker: between sensor nodes and their gateway"


# One row per kind of address, so that no topic can be without a rule.
ACCESS: dict[type[Address], Access] = {
    Metadata: Access.FLEET_READS,
    Chunk: Access.FLEET_READS,
    Want: Access.OWNER_READS,
    Command: Access.OWNER_READS,
    Receipt: Access.OWNER_READS,
    Block: Access.OWNER_READS,
    Get: Access.OWNER_WRITES,
    State: Access.OWNER_WRITES,
    Ack: Access.OWNER_WRITES,
    Event: Access.OWNER_WRITES,
    Trend: Access.OWNER_WRITES,
    Capture: Access.OWNER_WRITES,
    EnrollRequest: Access.STRANGER_WRITES,
    EnrollReply: Access.STRANGER_READS,
    RenewRequest: Access.OWNER_WRITES,
    RenewReply: Access.OWNER_READS,
    Frames: Access.SITE_ONLY,
}
assert set(ACCESS) == set(get_args(Address))

_SPLIT = {cls: template.split("/") for cls, template in _TEMPLATES.items()}
_MAX_TOPIC_CHARS = 256
_MAX_INDEX_DIGITS = 6


def shard_of(gateway: str) -> int:
    """The ingest shard of a gateway, 0 to 15: CRC-32 of its id, modulo 16."""
    return zlib.crc32(gateway.encode()) % SHARDS


def topic_of(address: Address) -> str:
    """The topic of an address.

    Raises: TopicError: a field is not a well-formed id, digest or index.
    """
    values = {f.name: _check(f.name, str(getattr(address, f.name))) for f in fields(address)}
    if "gateway" in values:
        values["shard"] = str(shard_of(values["gateway"]))
    return f"{ROOT}/{MAJOR}/" + _TEMPLATES[type(address)].format_map(values)


def address_of(topic: str) -> Address:
    """The address of a topic: the inverse of `topic_of`.

    Raises: TopicError: not a topic of this contract, or of another major version.
    """
    if len(topic) > _MAX_TOPIC_CHARS:
        raise TopicError(f"topic: expected at most {_MAX_TOPIC_CHARS} characters, got {len(topic)}")
    root, _, rest = topic.partition("/")
    major, _, rest = rest.partition("/")
    if root != ROOT or major != MAJOR:
        raise TopicError(f"topic: expected it to begin with {ROOT}/{MAJOR}/, got {topic!r}")
    levels = rest.split("/")
    for cls, template in _SPLIT.items():
        if len(template) == len(levels):
            values = _match(template, levels)
            if values is not None:
                return _build(cls, values, topic)
    raise TopicError(f"topic: {topic!r} is none of this contract")


def _match(template: list[str], levels: list[str]) -> dict[str, str] | None:
    values = {}
    for pattern, level in zip(template, levels, strict=True):
        if pattern.startswith("{"):
            values[pattern[1:-1]] = level
        elif pattern != level:
            return None
    return values


def _build(cls: type[Address], values: dict[str, str], topic: str) -> Address:
    shard = values.pop("shard", None)
    arguments: dict[str, object] = {name: _check(name, value) for name, value in values.items()}
    if shard is not None and shard != str(shard_of(values["gateway"])):
        raise TopicError(f"topic: {topic!r} is in shard {shard}, expected {shard_of(values['gateway'])}")
    if "index" in arguments:
        arguments["index"] = int(values["index"])
    return cls(**arguments)  # type: ignore[arg-type]  # field names and types come from the same table


def _check(name: str, value: str) -> str:
    if name in {"sha256", "token_hash"}:
        return check_sha256(value, f"topic, {name}")
    if name == "index":
        canonical = value.isascii() and value.isdigit() and len(value) <= _MAX_INDEX_DIGITS
        if not canonical or str(int(value)) != value:
            raise TopicError(f"topic, index: expected a number below 1,000,000 without leading zeros, got {value!r}")
        return value
    return check_id(value, f"topic, {name}")


def up_filters(shards: range = range(SHARDS)) -> list[str]:
    """Subscription filters for everything that gateways of these shards send up."""
    return [f"{ROOT}/{MAJOR}/u/{shard}/+/+" for shard in shards]


def frames_filter(gateway: GatewayId) -> str:
    """Subscription filter for the frames of all nodes that belong to one gateway."""
    return f"{ROOT}/{MAJOR}/n/{check_id(gateway, 'gateway')}/+/f"


def filter_of(kind: type[Address], **fixed: str) -> str:
    """The filter for all topics of a kind: `+` at each level that varies, unless `fixed` names what stands there.

    >>> filter_of(RenewRequest)
    'mw/1/renew/+/csr'
    >>> filter_of(Want, gateway="%u")  # as brokers' access rules write "the client's own name"
    'mw/1/d/%u/dn/want'
    """
    levels = [fixed.get(level[1:-1], "+") if level.startswith("{") else level for level in _SPLIT[kind]]
    return "/".join([ROOT, MAJOR, *levels])
