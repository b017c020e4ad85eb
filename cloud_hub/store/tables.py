"""The tables. Times `*_s` are UTC seconds since 1970 by the gateway's clock, except `received_s`, `first_seen_s`,
`last_seen_s` and `added_s`, and those of certificates and tokens, which are by the hub's.

What gateways report is keyed by gateway: none can touch what another one has reported, and a machine that two gateways
watch has points under both.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
_BIG_ID = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts up by itself in SQLite


class FreeText(TypeDecorator[str]):
    """Text that people or other programs wrote. NUL becomes U+FFFD: PostgreSQL refuses it, and it is never meant."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Replace NUL on the way in."""
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if value is not None else None


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way
        str: FreeText,
        float: Double,
        int: BigInteger,
        bytes: LargeBinary,
        dict[str, Any]: JSON(none_as_null=True),
        dict[str, int]: JSON(none_as_null=True),
        dict[str, str]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[float]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


_ID = String(64)
_SHA256 = String(64)
_BOOT = String(16)
_WORD = String(16)


class Gateway(Base):
    """A gateway as it last reported itself. `state_s` is None until its first state came."""

    __tablename__ = "gateways"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    first_seen_s: Mapped[float]
    last_seen_s: Mapped[float]
    online: Mapped[bool] = mapped_column(default=False)
    boot_id: Mapped[str | None] = mapped_column(_BOOT)
    state_s: Mapped[float | None]
    agent_version: Mapped[str] = mapped_column(default="")
    runtime: Mapped[str] = mapped_column(default="")
    want_seq: Mapped[int] = mapped_column(default=0)
    rss_mb: Mapped[float] = mapped_column(default=0.0)
    outbox_bytes: Mapped[int] = mapped_column(default=0)
    counters: Mapped[dict[str, int]] = mapped_column(default=dict)


class GatewaySlot(Base):
    """One slot of a gateway as it last reported it."""

    __tablename__ = "gateway_slots"

    gateway_id: Mapped[str] = mapped_column(_ID, ForeignKey(Gateway.id), primary_key=True)
    slot: Mapped[str] = mapped_column(_ID, primary_key=True)
    phase: Mapped[str] = mapped_column(_WORD)
    active_sha256: Mapped[str | None] = mapped_column(_SHA256)
    active_version: Mapped[str | None]
    candidate_sha256: Mapped[str | None] = mapped_column(_SHA256)
    error: Mapped[str | None]
    champion: Mapped[dict[str, Any] | None]
    candidate: Mapped[dict[str, Any] | None]


class GatewaySite(Base):
    """What people have said about a gateway: where it is, and labels to choose it by. It may never have been seen."""

    __tablename__ = "gateway_sites"

    gateway: Mapped[str] = mapped_column(_ID, primary_key=True)
    time_zone: Mapped[str | None]
    labels: Mapped[dict[str, str]]


class Machine(Base):
    """A machine that some gateway has named."""

    __tablename__ = "machines"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    first_seen_s: Mapped[float]


class Point(Base):
    """One point as its gateway last reported it. `current` is false when the gateway no longer lists it."""

    __tablename__ = "points"
    __table_args__ = (Index(None, "machine_id", "point"),)

    gateway_id: Mapped[str] = mapped_column(_ID, ForeignKey(Gateway.id), primary_key=True)
    machine_id: Mapped[str] = mapped_column(_ID, ForeignKey(Machine.id), primary_key=True)
    point: Mapped[str] = mapped_column(_ID, primary_key=True)
    slot: Mapped[str | None] = mapped_column(_ID)
    verdict: Mapped[str] = mapped_column(_WORD, default="warming_up")
    score: Mapped[float | None]
    windows: Mapped[int] = mapped_column(default=0)
    warmup_left: Mapped[int] = mapped_column(default=0)
    last_window_s: Mapped[float | None]
    current: Mapped[bool] = mapped_column(default=True)


class Bundle(Base):
    """A published bundle. A version names one bundle of its slot, for ever."""

    __tablename__ = "bundles"
    __table_args__ = (UniqueConstraint("slot", "version"), Index(None, "created_s", "sha256"))

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    slot: Mapped[str] = mapped_column(_ID)
    version: Mapped[str] = mapped_column(_ID)
    family: Mapped[str] = mapped_column(_ID)
    target: Mapped[str]
    length: Mapped[int]
    created_s: Mapped[float]
    manifest_json: Mapped[str]


class Want(Base):
    """A want as it was issued. Its gateway may never have been seen."""

    __tablename__ = "wants"
    __table_args__ = (Index(None, "issued_s", "gateway", "seq"),)

    gateway: Mapped[str] = mapped_column(_ID, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    issued_s: Mapped[float]
    expires_s: Mapped[float]
    not_before_s: Mapped[int] = mapped_column(default=0, server_default="0")
    jitter_s: Mapped[int] = mapped_column(default=0, server_default="0")


class WantBundle(Base):
    """What a want asks one slot to run."""

    __tablename__ = "want_bundles"
    __table_args__ = (ForeignKeyConstraint(["gateway", "seq"], [Want.gateway, Want.seq]),)

    gateway: Mapped[str] = mapped_column(_ID, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slot: Mapped[str] = mapped_column(_ID, primary_key=True)
    sha256: Mapped[str] = mapped_column(_SHA256, ForeignKey(Bundle.sha256), index=True)
    shadow_windows: Mapped[int] = mapped_column(default=0, server_default="0")
    hold: Mapped[bool] = mapped_column(default=False, server_default=false())


class Ack(Base):
    """A step of a gateway towards a want. `slot` is empty for the want as a whole, so that it can be in the key."""

    __tablename__ = "acks"
    __table_args__ = (UniqueConstraint("gateway_id", "seq", "slot", "phase", "time_s"), Index(None, "gateway_id", "id"))

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(_ID, ForeignKey(Gateway.id))
    seq: Mapped[int]
    slot: Mapped[str] = mapped_column(_ID, default="")
    phase: Mapped[str] = mapped_column(_WORD)
    time_s: Mapped[float]
    received_s: Mapped[float]
    sha256: Mapped[str | None] = mapped_column(_SHA256)
    reason: Mapped[str | None]
    detail: Mapped[str | None]


class Alarm(Base):
    """One episode. `*_key` order the events that it was made from: see `episodes`."""

    __tablename__ = "alarms"
    __table_args__ = (
        UniqueConstraint("gateway_id", "alarm"),
        Index(None, "raised_s", "id"),
        Index(None, "status", "raised_s", "id"),
        Index(None, "machine_id", "raised_s", "id"),
        Index(None, "gateway_id", "raised_s", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(_ID, ForeignKey(Gateway.id))
    alarm: Mapped[str] = mapped_column(_ID)
    machine_id: Mapped[str] = mapped_column(_ID, ForeignKey(Machine.id))
    point: Mapped[str] = mapped_column(_ID)
    slot: Mapped[str] = mapped_column(_ID)
    bundle_sha256: Mapped[str] = mapped_column(_SHA256)
    bundle_version: Mapped[str]
    verdict: Mapped[str] = mapped_column(_WORD)
    status: Mapped[str] = mapped_column(_WORD)
    raised_s: Mapped[float]
    cleared_s: Mapped[float | None]
    updated_s: Mapped[float]
    score: Mapped[float]
    peak: Mapped[float]
    summary: Mapped[str]
    diagnosis: Mapped[dict[str, Any] | None]
    newest_key: Mapped[str] = mapped_column(String(64))
    diagnosis_key: Mapped[str] = mapped_column(String(64))


class AlarmEvent(Base):
    """One event as it came. The key to its alarm is checked at commit: both are written in one transaction."""

    __tablename__ = "alarm_events"
    __table_args__ = (
        UniqueConstraint("gateway_id", "boot_id", "seq"),
        ForeignKeyConstraint(
            ["gateway_id", "alarm"], [Alarm.gateway_id, Alarm.alarm], deferrable=True, initially="DEFERRED"
        ),
        Index(None, "gateway_id", "alarm", "time_s"),
    )

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(_ID)
    boot_id: Mapped[str] = mapped_column(_BOOT)
    seq: Mapped[int]
    alarm: Mapped[str] = mapped_column(_ID)
    kind: Mapped[str] = mapped_column(_WORD)
    verdict: Mapped[str] = mapped_column(_WORD)
    time_s: Mapped[float]
    received_s: Mapped[float]
    score: Mapped[float]
    peak: Mapped[float]
    diagnosis: Mapped[dict[str, Any] | None]


class AlarmEvidence(Base):
    """The raw window of an event, and what came out when the hub computed its score again."""

    __tablename__ = "alarm_evidence"
    __table_args__ = (Index(None, "rescored_s"),)

    event_id: Mapped[int] = mapped_column(_BIG_ID, ForeignKey(AlarmEvent.id), primary_key=True, autoincrement=False)
    bundle_sha256: Mapped[str] = mapped_column(_SHA256)
    rate_hz: Mapped[float]
    axes: Mapped[list[str]]
    units: Mapped[str]
    samples: Mapped[int]
    shift: Mapped[bytes]
    raw_score: Mapped[float]
    raw_limit: Mapped[float]
    window: Mapped[bytes]
    rescored_s: Mapped[float | None]
    rescored_raw: Mapped[float | None]
    rescore_error: Mapped[str | None]


class TrendBatch(Base):
    """Which trend batches have been stored; its key is what keeps them from being stored twice."""

    __tablename__ = "trend_batches"

    gateway_id: Mapped[str] = mapped_column(_ID, ForeignKey(Gateway.id), primary_key=True)
    boot_id: Mapped[str] = mapped_column(_BOOT, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    received_s: Mapped[float]


class Trend(Base):
    """One point over one span of time."""

    __tablename__ = "trends"
    __table_args__ = (
        Index(None, "machine_id", "point", "time_s", "id"),
        Index(None, "machine_id", "time_s", "id"),
        Index(None, "time_s", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(_ID)
    machine_id: Mapped[str] = mapped_column(_ID)
    point: Mapped[str] = mapped_column(_ID)
    time_s: Mapped[float]
    span_s: Mapped[float]
    windows: Mapped[int]
    flagged: Mapped[int]
    score_mean: Mapped[float | None]
    score_max: Mapped[float | None]
    rms: Mapped[list[float]]
    verdict: Mapped[str] = mapped_column(_WORD)


class Health(Base):
    """An agent's own health at one moment."""

    __tablename__ = "health"
    __table_args__ = (Index(None, "gateway_id", "time_s", "id"),)

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(_ID)
    boot_id: Mapped[str] = mapped_column(_BOOT)
    time_s: Mapped[float]
    rss_mb: Mapped[float]
    cpu_s: Mapped[float]
    windows: Mapped[int]
    window_us: Mapped[float]
    outbox_bytes: Mapped[int]


class Capture(Base):
    """A capture on its way or complete, of the gateway that sent first. `stored_s` is set once its file stands."""

    __tablename__ = "captures"
    __table_args__ = (Index(None, "first_s", "id"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(_ID, ForeignKey(Gateway.id))
    machine_id: Mapped[str] = mapped_column(_ID)
    point: Mapped[str] = mapped_column(_ID)
    rate_hz: Mapped[float]
    axes: Mapped[list[str]]
    units: Mapped[str]
    total: Mapped[int]
    received: Mapped[int] = mapped_column(default=0)
    samples: Mapped[int] = mapped_column(default=0)
    first_s: Mapped[float]
    stored_s: Mapped[float | None]


class CaptureChunk(Base):
    """A chunk of a capture. `data` is let go of once the capture's file stands; the row stays, against duplicates."""

    __tablename__ = "capture_chunks"

    capture_id: Mapped[str] = mapped_column(_ID, ForeignKey(Capture.id), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time_s: Mapped[float]
    gap: Mapped[bool]
    samples: Mapped[int]
    data: Mapped[bytes | None]


class EnrolToken(Base):
    """A single-use token: the public half of its key, never the secret."""

    __tablename__ = "enrol_tokens"
    __table_args__ = (Index(None, "gateway"),)

    token_hash: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    public_key: Mapped[bytes]
    gateway: Mapped[str] = mapped_column(_ID)
    created_s: Mapped[float]
    expires_s: Mapped[float]
    used_s: Mapped[float | None]
    csr_sha256: Mapped[str | None] = mapped_column(_SHA256)


class Certificate(Base):
    """A certificate that was issued to a gateway. Its gateway may never have been seen."""

    __tablename__ = "certificates"
    __table_args__ = (Index(None, "gateway", "issued_s"), Index(None, "revoked_s"))

    sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    serial: Mapped[str] = mapped_column(String(40), unique=True)
    key_sha256: Mapped[str] = mapped_column(_SHA256, unique=True)
    csr_sha256: Mapped[str] = mapped_column(_SHA256, unique=True)
    gateway: Mapped[str] = mapped_column(_ID)
    issuer_sha256: Mapped[str] = mapped_column(_SHA256)
    issued_s: Mapped[float]
    not_before_s: Mapped[float]
    not_after_s: Mapped[float]
    chain: Mapped[str]
    revoked_s: Mapped[float | None]
    revoked_why: Mapped[str | None]


class Rollout(Base):
    """A rollout: see `cloud_hub.rollout.state.Rollout`. `revision` grows with every change."""

    __tablename__ = "rollouts"
    __table_args__ = (Index(None, "created_s", "id"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    slot: Mapped[str] = mapped_column(_ID)
    sha256: Mapped[str] = mapped_column(_SHA256, ForeignKey(Bundle.sha256))
    plan_json: Mapped[str]
    created_s: Mapped[float]
    created_by: Mapped[str]
    revision: Mapped[int]
    status: Mapped[str] = mapped_column(String(32), index=True)
    cohort: Mapped[int]
    resumes: Mapped[str | None] = mapped_column(String(32))
    cohort_ends_s: Mapped[float]
    ends_s: Mapped[float]
    paused_s: Mapped[float | None]
    cause: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str | None]
    waits: Mapped[str]
    accepted: Mapped[list[str]]
    checks: Mapped[list[dict[str, Any]]]


class RolloutMember(Base):
    """A gateway in a rollout: see `cloud_hub.rollout.state.Member`."""

    __tablename__ = "rollout_members"
    __table_args__ = (Index(None, "gateway", "rollout_id"),)

    rollout_id: Mapped[str] = mapped_column(_ID, ForeignKey(Rollout.id), primary_key=True)
    gateway: Mapped[str] = mapped_column(_ID, primary_key=True)
    cohort: Mapped[int]
    stage: Mapped[str] = mapped_column(_WORD)
    due: Mapped[str | None] = mapped_column(_WORD)
    want_seq: Mapped[int]
    try_seq: Mapped[int]
    sent: Mapped[bool]
    since_s: Mapped[float]
    previous: Mapped[str | None] = mapped_column(_SHA256)
    was_online: Mapped[bool]
    windows: Mapped[int]
    ready: Mapped[bool]
    baseline: Mapped[dict[str, Any] | None]
    origin: Mapped[dict[str, Any] | None]
    kind: Mapped[str | None] = mapped_column(_WORD)
    detail: Mapped[str | None]
    forgiven: Mapped[bool]


class RolloutNote(Base):
    """An entry in the log of a rollout: what happened, when, by whose wish."""

    __tablename__ = "rollout_notes"
    __table_args__ = (Index(None, "rollout_id", "id"),)

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    rollout_id: Mapped[str] = mapped_column(_ID, ForeignKey(Rollout.id))
    time_s: Mapped[float]
    event: Mapped[str] = mapped_column(String(32))
    text: Mapped[str]
    by: Mapped[str]
