"""The messages of the contract: typed, bounded, checked while they are decoded.

Up to the hub, JSON so that people can read them with `mosquitto_sub` (`AgentState`, `Ack`, `AlarmEvent`), MessagePack
where the bulk is (`TrendBatch`, `CaptureChunk`). Down, JSON: `Envelope` around a `WantBody` or a command body, and
`ReceiptBody`. `GetBody` goes up and `BlockBody` (MessagePack) comes down where retained chunks have failed.

Versions: `schema` is "major.minor". The same major is read and unknown fields are passed over; another major raises
`SchemaError`. All times `*_s` are UTC seconds since 1970 unless the name says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from models.contract.ids import Id, Sha256
from models.errors import MessageError, SchemaError

SCHEMA_MAJOR = 1
SCHEMA = "1.0"

Text = Annotated[str, msgspec.Meta(max_length=200)]
LongText = Annotated[str, msgspec.Meta(max_length=2000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
WholeSeconds = Annotated[int, msgspec.Meta(ge=0, le=10**11)]
BootId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
MAX_SLOTS = 16
MAX_POINTS = 256
MAX_AXES = 32

Verdict = Literal["warming_up", "ok", "warn", "alarm"]
Phase = Literal[
    "idle", "seen", "fetching", "fetched", "verified", "replayed", "shadow", "active", "confirmed", "refused",
    "rolled_back",
]  # fmt: skip


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all messages that stand alone in a payload."""

    schema: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\Z")] = SCHEMA


# ---------------------------------------------------------------------------------------------- up: state and acks


SCORE_BINS = 64
"""Bins of a histogram of calibrated scores. Bin k > 0 starts at 2^((k - 44) / 6): 6 bins an octave from 0.007 up to 9,
with an edge at 1.0, the limit, at k = 44. Bin 0 also holds all that is below, the last one all that is above.
"""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What one bundle did in one slot, over all points that it watches, since `since_s`.

    `alarms`: episodes begun. `flagged`: windows over the limit. `scores`: a histogram, see `SCORE_BINS`. `window_us`:
    mean time from samples to score. `memory_kb`: what its network takes, None before that was measured.
    """

    sha256: Sha256
    since_s: Seconds
    windows: Count = 0
    flagged: Count = 0
    alarms: Count = 0
    scores: Annotated[list[Count], msgspec.Meta(max_length=SCORE_BINS)] = []
    window_us: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    memory_kb: Annotated[float, msgspec.Meta(ge=0)] | None = None


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """One slot of a gateway as it stands. `champion`: of the active bundle, `candidate`: of the one in shadow, both
    over the same live windows while a candidate is in shadow.
    """

    slot: Id
    phase: Phase
    active_sha256: Sha256 | None = None
    active_version: Text | None = None
    candidate_sha256: Sha256 | None = None
    error: LongText | None = None
    champion: Behaviour | None = None
    candidate: Behaviour | None = None


class PointState(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a gateway as it stands. `score` is None until the point is calibrated; 1.0 is the limit."""

    machine: Id
    point: Id
    slot: Id
    verdict: Verdict
    score: float | None = None
    windows: Count = 0
    warmup_left: Count = 0
    last_window_s: Seconds | None = None


class AgentState(Message, frozen=True, kw_only=True):
    """Reported state, retained. The last will is the same message with `online` false and empty lists."""

    gateway: Id
    boot_id: BootId
    online: bool
    time_s: Seconds
    agent_version: Text = ""
    runtime: Text = ""
    want_seq: Count = 0
    rss_mb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    outbox_bytes: Count = 0
    slots: Annotated[list[SlotState], msgspec.Meta(max_length=MAX_SLOTS)] = []
    points: Annotated[list[PointState], msgspec.Meta(max_length=MAX_POINTS)] = []
    counters: Annotated[dict[Text, Count], msgspec.Meta(max_length=200)] = {}


class Ack(Message, frozen=True, kw_only=True):
    """How far a gateway has come with one slot of a want. `reason` is a short stable word, `detail` is for people."""

    gateway: Id
    seq: Count
    slot: Id | None
    phase: Phase
    time_s: Seconds
    sha256: Sha256 | None = None
    reason: Text | None = None
    detail: LongText | None = None


# ---------------------------------------------------------------------------------------------- up: alarms


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that drives a score up. `share`: of the score, 0 to 1. `ratio`: feature against this point's healthy
    level, for energies in amplitude.
    """

    axis: Text
    label: Text
    share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    ratio: float | None = None


class OrderMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of the envelope (or velocity) spectrum that stand at multiples of a known fault order.

    `prominence`: standard deviations above what wrong orders show. `sidebands`: Hz. `depth`: of the envelope's
    modulation at the order, amplitude over mean; `healthy_depth`: the same of this point's healthy signal, where known.
    """

    fault: Text
    order: float
    frequency_hz: float
    harmonics: Annotated[list[float], msgspec.Meta(max_length=16)]
    prominence: float
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    sidebands: Annotated[list[float], msgspec.Meta(max_length=16)] = []
    depth: float | None = None
    healthy_depth: float | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Why a point is in alarm. `fault` is None where nothing known matches: unknown stays unknown.

    `ranking`: all known faults, the most likely first, however unlikely: a guess, not a finding.
    """

    summary: LongText
    drivers: Annotated[list[Driver], msgspec.Meta(max_length=16)] = []
    fault: Text | None = None
    orders: Annotated[list[OrderMatch], msgspec.Meta(max_length=16)] = []
    velocity_rms_mm_s: float | None = None
    zone: Text | None = None
    zone_source: Text | None = None
    check_first: Text | None = None
    ranking: Annotated[list[Text], msgspec.Meta(max_length=64)] = []


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The raw window behind a verdict: `window` is (samples, axes) float32, little-endian, in `units`.

    `raw_score` is what came out before division by `raw_limit`, with the point's own `shift` ((features,) float32: what
    its healthy level adds to the training set's mean); the hub computes it again and must get the same.
    """

    rate_hz: float
    axes: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MAX_AXES)]
    units: Text
    samples: Annotated[int, msgspec.Meta(ge=1, le=131072)]
    window: Annotated[bytes, msgspec.Meta(max_length=2**21)]
    shift: Annotated[bytes, msgspec.Meta(max_length=4 * 4096)]
    raw_score: float
    raw_limit: float


class AlarmEvent(Message, frozen=True, kw_only=True):
    """A change in the life of one alarm. `score` and `peak` are calibrated: 1.0 is the limit."""

    gateway: Id
    boot_id: BootId
    seq: Count
    alarm: Id
    kind: Literal["raised", "updated", "cleared"]
    verdict: Verdict
    machine: Id
    point: Id
    slot: Id
    bundle_sha256: Sha256
    bundle_version: Text
    time_s: Seconds
    score: float
    peak: float
    diagnosis: Diagnosis | None = None
    evidence: Evidence | None = None


# ---------------------------------------------------------------------------------------------- up: bulk

MAX_ROW_SPAN_S = 1e7
"""The longest time that one trend row may be about."""


class TrendRow(msgspec.Struct, frozen=True, kw_only=True):
    """One point over one span of time. Scores are None while the point warms up. `rms`: one per axis, in its unit."""

    machine: Id
    point: Id
    time_s: Seconds
    span_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_ROW_SPAN_S)]
    windows: Count
    flagged: Count = 0
    score_mean: float | None = None
    score_max: float | None = None
    rms: Annotated[list[float], msgspec.Meta(max_length=MAX_AXES)] = []
    verdict: Verdict = "warming_up"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's own health at one moment."""

    time_s: Seconds
    rss_mb: float
    cpu_s: float
    windows: Count
    window_us: float
    outbox_bytes: Count


class TrendBatch(Message, frozen=True, kw_only=True):
    """Trends and health, MessagePack."""

    gateway: Id
    boot_id: BootId
    seq: Count
    rows: Annotated[list[TrendRow], msgspec.Meta(max_length=1000)] = []
    health: Health | None = None


class CaptureChunk(Message, frozen=True, kw_only=True):
    """Part `index` of `total` of one capture, MessagePack. `data`: (n, axes) float32, little-endian, contiguous in time
    within the capture; `gap` is true when samples were lost before it.
    """

    gateway: Id
    capture: Id
    machine: Id
    point: Id
    index: Count
    total: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    rate_hz: float
    axes: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MAX_AXES)]
    units: Text
    time_s: Seconds
    data: Annotated[bytes, msgspec.Meta(max_length=131_072)]
    gap: bool = False


# ---------------------------------------------------------------------------------------------- blocks on request


class GetBody(Message, frozen=True, kw_only=True):
    """A gateway asks for blocks of a file that it could not get as retained chunks, or that it got wrong.

    Bit k of `bitmap`, least significant first, is set where block `first` + k is wanted. `digests`: it asks for the
    digests of all blocks instead, to find out which ones are wrong.
    """

    gateway: Id
    sha256: Sha256
    first: Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)] = 0
    bitmap: Annotated[bytes, msgspec.Meta(max_length=256)] = b""
    digests: bool = False

    def blocks(self) -> list[int]:
        """The blocks asked for, in order."""
        bits = int.from_bytes(self.bitmap, "little")
        return [self.first + k for k in range(bits.bit_length()) if bits >> k & 1]


DIGEST_BYTES = 16
"""Of SHA-256, as many as a `BlockBody` gives of each block: the digests of the largest bundle fill one block."""


class BlockBody(Message, frozen=True, kw_only=True):
    """One block of a file, MessagePack; or, without an index, the digests of all its blocks, `DIGEST_BYTES` each.

    Nothing in it is signed: the file's own digest is what counts, and this only says where to look for an error.
    """

    sha256: Sha256
    index: Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)] | None = None
    data: Annotated[bytes, msgspec.Meta(max_length=32_768)]


# ---------------------------------------------------------------------------------------------- down


class ReceiptBody(Message, frozen=True, kw_only=True):
    """What the hub has committed: (boot id, seq) of events and trends, (capture id, index) of capture chunks."""

    events: Annotated[list[tuple[BootId, Count]], msgspec.Meta(max_length=1000)] = []
    chunks: Annotated[list[tuple[Id, Count]], msgspec.Meta(max_length=1000)] = []


class Signature(msgspec.Struct, frozen=True):
    """One signature over the exact bytes of `Envelope.signed`. `sig` is hexadecimal."""

    keyid: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    sig: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{2,1024}\Z")]


class Envelope(msgspec.Struct, frozen=True):
    """A signed JSON document. `signed` is kept as the bytes that came, and those are what the signature covers: no
    canonical form is needed. The bytes are decoded only after the signature has been checked.
    """

    signed: msgspec.Raw
    signatures: Annotated[list[Signature], msgspec.Meta(min_length=1, max_length=8)]


class WantedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """What one slot shall run. `target` is the TUF target path.

    `shadow_windows`: how many windows per point it must at least score beside the champion before it may decide.
    `hold`: stay in shadow until a want for the same bundle says otherwise. Neither matters where nothing runs yet.
    """

    slot: Id
    target: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}/[A-Za-z0-9_.-]{1,160}\Z")]
    sha256: Sha256
    length: Annotated[int, msgspec.Meta(ge=1, le=64 * 2**20)]
    version: Text
    shadow_windows: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    hold: bool = False


class WantBody(Message, frozen=True, kw_only=True, tag_field="type", tag="want"):
    """What a gateway shall run, all slots at once, so that one retained message says it all. `seq` only grows."""

    gateway: Id
    seq: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    issued_s: WholeSeconds
    expires_s: WholeSeconds
    not_before_s: WholeSeconds = 0
    jitter_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    bundles: Annotated[list[WantedBundle], msgspec.Meta(max_length=MAX_SLOTS)]


class CommandBase(Message, frozen=True, kw_only=True, tag_field="type"):
    """Fields of every command. `id` makes it idempotent: an agent carries out an id once."""

    gateway: Id
    id: Id
    expires_s: WholeSeconds


class CaptureCommand(CommandBase, frozen=True, kw_only=True, tag="capture"):
    """Send `seconds` of raw samples of one point, from now on. The capture's id is the command's id."""

    machine: Id
    point: Id
    seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class RecalibrateCommand(CommandBase, frozen=True, kw_only=True, tag="recalibrate"):
    """Forget this point's calibration and learn it anew, for example after a repair."""

    machine: Id
    point: Id


class ReportCommand(CommandBase, frozen=True, kw_only=True, tag="report"):
    """Publish the state at once."""


CommandBody = CaptureCommand | RecalibrateCommand | ReportCommand

# ---------------------------------------------------------------------------------------------- encode, decode

M = TypeVar("M")

MAX_JSON_BYTES = 4 * 2**20
MAX_MSGPACK_BYTES = 2**20
MAX_ENVELOPE_BYTES = 32_768
MAX_METADATA_BYTES = 32_768
MAX_METADATA_INFLATED_BYTES = 262_144
CHUNK_BYTES = 32_768
MAX_BUNDLE_BYTES = 64 * 2**20

_MSGPACK_TYPES = (TrendBatch, CaptureChunk, BlockBody)


def encode(message: Message | Envelope) -> bytes:
    """The payload of a message: MessagePack for bulk, JSON for the rest."""
    if isinstance(message, _MSGPACK_TYPES):
        return msgspec.msgpack.encode(message)
    return msgspec.json.encode(message)


def decode(kind: type[M], payload: bytes, where: str) -> M:
    """Decode and check a message that stands alone in a payload.

    Args:   kind: the message class, or `Envelope`. where: topic or file, for the error's text.
    Raises: SchemaError: another major version. MessageError: too long, not decodable, or a field out of bounds.
    """
    bulk = kind in _MSGPACK_TYPES
    limit = MAX_MSGPACK_BYTES if bulk else MAX_ENVELOPE_BYTES if kind is Envelope else MAX_JSON_BYTES
    if len(payload) > limit:
        raise MessageError(f"{where}: expected at most {limit} bytes of {kind.__name__}, got {len(payload)}")
    try:
        message: M = (msgspec.msgpack.decode if bulk else msgspec.json.decode)(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _raise_if_newer(payload, bulk, kind.__name__, where)
        raise MessageError(f"{where}: not a valid {kind.__name__}: {error}") from error
    if isinstance(message, Message):
        check_schema(message.schema, kind.__name__, where)
    return message


def decode_command(signed: bytes, where: str) -> CommandBody:
    """Decode the signed part of a command, after its signature was checked. Raises as `decode`."""
    try:
        body: CommandBody = msgspec.json.decode(signed, type=CommandBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _raise_if_newer(signed, False, "command", where)
        raise MessageError(f"{where}: not a valid command: {error}") from error
    check_schema(body.schema, "command", where)
    return body


def check_schema(schema: str, what: str, where: str) -> None:
    """Raise SchemaError when `schema` is of another major version than this contract."""
    if schema.split(".", maxsplit=1)[0] != str(SCHEMA_MAJOR):
        raise SchemaError(f"{where}: {what} has schema {schema}, this release reads {SCHEMA_MAJOR}.x")


class _OnlySchema(msgspec.Struct):
    schema: str = SCHEMA


def _raise_if_newer(payload: bytes, bulk: bool, what: str, where: str) -> None:
    """A document of another major version may well break our bounds: then say that it is newer, not that it is bad."""
    decoder: Any = msgspec.msgpack.decode if bulk else msgspec.json.decode
    try:
        schema = decoder(payload, type=_OnlySchema).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    check_schema(schema, what, where)
