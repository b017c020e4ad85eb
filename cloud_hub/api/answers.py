"""What only the API answers with. Everything else that it answers is what queries return: `cloud_hub.store.views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cloud_hub.accounts.permissions import Permission
from cloud_hub.accounts.records import AccountView, TokenView
from cloud_hub.evaluate.compare import Section


@dataclass(frozen=True, slots=True)
class LinkAnswer:
    """A one-time link by which `user` sets a password; shown this once."""

    user: AccountView
    url: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token; `secret` is shown this once."""

    token: TokenView
    secret: str


@dataclass(frozen=True, slots=True)
class Me:
    """Who asks, and what they may do."""

    name: str
    kind: str
    permissions: list[Permission]


@dataclass(frozen=True, slots=True)
class NewEnrolToken:
    """`token` is shown this once; the hub keeps only what it takes to know it again."""

    gateway: str
    token: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class CommandSent:
    """A command that the broker has. `id`: of a capture, too, under which it will be listed."""

    id: str
    gateway: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class RevokeAnswer:
    """What was revoked. `broker`: what became of the broker's list. `session_ended`: its connection was cut."""

    gateway: str
    serials: list[str]
    broker: str
    session_ended: bool


@dataclass(frozen=True, slots=True)
class RetireAnswer:
    """`changed`: it was not retired before."""

    gateway: str
    changed: bool


@dataclass(frozen=True, slots=True)
class CertificateBody:
    """A certificate that was issued to a gateway."""

    serial: str
    issued_s: float
    not_after_s: float
    revoked_s: float | None
    revoked_why: str | None


@dataclass(frozen=True, slots=True)
class CardBody:
    """A bundle for people. `card`: Markdown."""

    sha256: str
    card: str
    manifest: dict[str, Any]
    evaluation: dict[str, Any]
    network_bytes: int


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One figure of two bundles. `change`: other minus one, of numbers."""

    section: Section
    name: str
    one: str | float | int | bool | None
    other: str | float | int | bool | None
    same: bool
    change: float | None


@dataclass(frozen=True, slots=True)
class PublishBody:
    """What publishing took."""

    target: str
    sha256: str
    length: int
    chunks: int
    bytes_sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TestSent:
    """A test is on its way; its delivery is listed under this key."""

    key: str


@dataclass(frozen=True, slots=True)
class SilencedView:
    """How many alarms have moved."""

    alarms: int


@dataclass(frozen=True, slots=True)
class HubHealth:
    """`degraded`: the API answers, but nothing new can come in; the other fields say why."""

    status: Literal["ok", "degraded"]
    fleet: str
    broker_connected: bool
    store_error: str | None
    queued: int
    time_s: float


@dataclass(frozen=True, slots=True)
class TrendBody:
    """One point over time, oldest first; null where not known. `resolution_s`: length of each item, 0 for rows as they
    came. `limit`: of the score.
    """

    resolution_s: int
    gateway: list[str]
    time_s: list[float]
    span_s: list[float]
    score_mean: list[float | None]
    score_max: list[float | None]
    rms: list[list[float]]
    limit: float


@dataclass(frozen=True, slots=True)
class FaultMarkBody:
    """A fault order: see `lines_hz`, where it would show, and `found_hz`, where lines stand out in this window."""

    fault: str
    order: float
    frequency_hz: float
    lines_hz: list[float]
    found_hz: list[float]
    confidence: float
    named: bool


@dataclass(frozen=True, slots=True)
class SpectrumBody:
    """`amplitude`: RMS of each line at `hz`, in `units`. `envelope`: squared envelope of the band `carrier_hz`,
    relative to its mean, at `envelope_hz`.
    """

    alarm: str
    event: int
    axis: str
    axes: list[str]
    units: str
    rate_hz: float
    samples: int
    shaft_hz: float | None
    hz: list[float]
    amplitude: list[float]
    carrier_hz: tuple[float, float] | None
    envelope_hz: list[float]
    envelope: list[float]
    marks: list[FaultMarkBody]


@dataclass(frozen=True, slots=True)
class CurveBody:
    """One axis over the time since the first sample."""

    axis: str
    time_s: list[float]
    value: list[float]


@dataclass(frozen=True, slots=True)
class WaveformBody:
    """A raw window for a picture: thinned so that no peak is lost; `/evidence` has every sample."""

    alarm: str
    event: int
    units: str
    rate_hz: float
    samples: int
    curves: list[CurveBody]


@dataclass(frozen=True, slots=True)
class EvidenceBody:
    """The raw window of an event. `window`: one list per sample, one number per axis, in `units`."""

    alarm: str
    event: int
    gateway: str
    machine: str
    point: str
    bundle_sha256: str
    time_s: float
    rate_hz: float
    axes: list[str]
    units: str
    raw_score: float
    raw_limit: float
    rescored_raw: float | None
    rescore_error: str | None
    window: list[list[float]]
