"""What queries return, and what the API hands out as it is: frozen, plain, no row of the database behind it.

Times `*_s` are UTC seconds since 1970. Scores are calibrated, 1.0 is the limit, None is "not known yet".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["warming_up", "ok", "warn", "alarm"]
Phase = Literal[
    "idle", "seen", "fetching", "fetched", "verified", "replayed", "shadow", "active", "confirmed", "refused",
    "rolled_back",
]  # fmt: skip
AlarmStatus = Literal["raised", "cleared"]
AlarmState = Literal["normal", "unacknowledged", "acknowledged", "returned", "shelved", "out_of_service"]
Review = Literal["true", "false", "unsure"]
EventKind = Literal["raised", "updated", "cleared"]
CaptureStatus = Literal["receiving", "complete", "stored"]


@dataclass(frozen=True, slots=True)
class GatewayView:
    """A gateway. `state_s` is when it made its last report, by its clock; `last_seen_s` is by the hub's. `retired_s`:
    when it was taken out of the fleet, unless it has come back.
    """

    id: str
    online: bool
    boot_id: str | None
    agent_version: str
    runtime: str
    want_seq: int
    rss_mb: float
    outbox_bytes: int
    state_s: float | None
    first_seen_s: float
    last_seen_s: float
    retired_s: float | None


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot of a gateway."""

    slot: str
    phase: Phase
    active_sha256: str | None
    active_version: str | None
    candidate_sha256: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class PointView:
    """One point. `current` is false when its gateway no longer lists it."""

    gateway: str
    machine: str
    point: str
    slot: str | None
    verdict: Verdict
    score: float | None
    windows: int
    warmup_left: int
    last_window_s: float | None
    current: bool


@dataclass(frozen=True, slots=True)
class HealthView:
    """An agent's own health at one moment."""

    gateway: str
    boot_id: str
    time_s: float
    rss_mb: float
    cpu_s: float
    windows: int
    window_us: float
    outbox_bytes: int


@dataclass(frozen=True, slots=True)
class WantedView:
    """What a want asks one slot to run."""

    slot: str
    sha256: str
    version: str


@dataclass(frozen=True, slots=True)
class AckView:
    """A step of a gateway towards a want; `slot` is None for the want as a whole."""

    gateway: str
    seq: int
    slot: str | None
    phase: Phase
    time_s: float
    received_s: float
    sha256: str | None
    reason: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class WantView:
    """A want with the last step that its gateway took for each slot."""

    gateway: str
    seq: int
    issued_s: float
    expires_s: float
    bundles: tuple[WantedView, ...]
    progress: tuple[AckView, ...]


@dataclass(frozen=True, slots=True)
class GatewayDetail:
    """A gateway with all that it last reported, its latest health and its current want."""

    gateway: GatewayView
    slots: tuple[SlotView, ...]
    points: tuple[PointView, ...]
    counters: dict[str, int]
    health: HealthView | None
    want: WantView | None


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine. `verdict` is the worst of its points (alarm, warn, warming_up, ok), `score` the highest."""

    id: str
    gateways: tuple[str, ...]
    online: bool
    verdict: Verdict
    score: float | None
    points: int
    open_alarms: int
    first_seen_s: float


@dataclass(frozen=True, slots=True)
class MachineDetail:
    """A machine with its points."""

    machine: MachineView
    points: tuple[PointView, ...]


@dataclass(frozen=True, slots=True)
class BundleView:
    """A published bundle."""

    sha256: str
    slot: str
    version: str
    family: str
    target: str
    length: int
    created_s: float


@dataclass(frozen=True, slots=True)
class BundleDetail:
    """A published bundle with its manifest, as JSON text, exactly as it stands in the bundle."""

    bundle: BundleView
    manifest_json: str


@dataclass(frozen=True, slots=True)
class DriverView:
    """One thing that drives a score up: see the contract's `Driver`."""

    axis: str
    label: str
    share: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class OrderView:
    """Lines of a spectrum that stand at multiples of a known fault order: see the contract's `OrderMatch`."""

    fault: str
    order: float
    frequency_hz: float
    harmonics: tuple[float, ...]
    prominence: float
    confidence: float


@dataclass(frozen=True, slots=True)
class DiagnosisView:
    """Why a point is in alarm; `fault` is None where nothing known matches."""

    summary: str
    drivers: tuple[DriverView, ...]
    fault: str | None
    orders: tuple[OrderView, ...]
    velocity_rms_mm_s: float | None
    zone: str | None
    zone_source: str | None
    check_first: str | None


@dataclass(frozen=True, slots=True)
class AlarmView:
    """One episode. `id` is "gateway.alarm" and names it in the whole hub.

    `status`: whether the condition lasts. `state`: what has become of it in the hub, after ISA-18.2, since `state_s`.
    `announced_s`: when it first asked for attention, by the hub's clock. `review`: what people say it was.
    """

    id: str
    gateway: str
    alarm: str
    machine: str
    point: str
    slot: str
    bundle_sha256: str
    bundle_version: str
    verdict: Verdict
    status: AlarmStatus
    raised_s: float
    cleared_s: float | None
    updated_s: float
    score: float
    peak: float
    summary: str
    diagnosis: DiagnosisView | None
    state: AlarmState
    state_s: float
    revision: int
    changed_s: float
    announced_s: float | None
    shelved_until_s: float | None
    acknowledged_s: float | None
    acknowledged_by: str | None
    assignee: str | None
    review: Review | None
    review_fault: str | None
    reviewed_s: float | None
    reviewed_by: str | None


@dataclass(frozen=True, slots=True)
class AlarmActionView:
    """One thing that somebody, or the hub's clock, did about an alarm. `text`: what was said with it."""

    id: int
    time_s: float
    who: str
    action: str
    before: AlarmState
    after: AlarmState
    text: str | None
    until_s: float | None


@dataclass(frozen=True, slots=True)
class AlarmCounts:
    """How many alarms there are in each state but `normal`, and how many in the operator's list (`open`)."""

    open: int
    unacknowledged: int
    acknowledged: int
    returned: int
    shelved: int
    out_of_service: int


@dataclass(frozen=True, slots=True)
class SuppressionView:
    """A place whose alarms do not ask for attention. What is None stands for all."""

    id: int
    kind: Literal["shelf", "out_of_service"]
    machine: str
    gateway: str | None
    point: str | None
    slot: str | None
    reason: str
    who: str
    since_s: float
    until_s: float | None


@dataclass(frozen=True, slots=True)
class LabelView:
    """What people say an alarm was, for those who train models: the point's data from `begin_s` to `end_s`."""

    alarm: str
    gateway: str
    machine: str
    point: str
    slot: str
    begin_s: float
    end_s: float | None
    label: Literal["confirmed fault", "false alarm", "unsure"]
    fault: str | None
    by: str
    time_s: float


@dataclass(frozen=True, slots=True)
class EvidenceSummary:
    """What evidence an event carries. `rescored_raw` is what the hub got for the same window, or None with the reason
    in `rescore_error`, or None without one while it is still to be done.
    """

    rate_hz: float
    axes: tuple[str, ...]
    units: str
    samples: int
    raw_score: float
    raw_limit: float
    rescored_raw: float | None
    rescore_error: str | None


@dataclass(frozen=True, slots=True)
class AlarmEventView:
    """One event of an alarm. `id` names it for `/evidence`."""

    id: int
    boot_id: str
    seq: int
    kind: EventKind
    verdict: Verdict
    time_s: float
    received_s: float
    score: float
    peak: float
    evidence: EvidenceSummary | None


@dataclass(frozen=True, slots=True)
class AlarmDetail:
    """An alarm with its events, newest first, and how many there are if not all are shown."""

    alarm: AlarmView
    events: tuple[AlarmEventView, ...]
    event_count: int


@dataclass(frozen=True, slots=True)
class EvidenceWindow:
    """The raw window of an event. `window`: (samples, axes) float32, little-endian."""

    alarm: str
    event: int
    machine: str
    point: str
    gateway: str
    bundle_sha256: str
    time_s: float
    summary: EvidenceSummary
    window: bytes


@dataclass(frozen=True, slots=True)
class TrendView:
    """One point over one span of time. `rms`: one per axis, in the point's unit."""

    gateway: str
    machine: str
    point: str
    time_s: float
    span_s: float
    windows: int
    flagged: int
    score_mean: float | None
    score_max: float | None
    rms: tuple[float, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class TrendSeriesView:
    """A point over a span of time, oldest first. `resolution_s`: length of each item, 0 for rows as they came. With
    several gateways at one point each has items of its own.
    """

    machine: str
    point: str
    resolution_s: int
    items: tuple[TrendView, ...]


@dataclass(frozen=True, slots=True)
class OutlookView:
    """Where a point's score is heading. `remaining_s`: median time from `time_s` until it reaches `limit`; with
    probability `coverage` it is between `low_s` and `high_s`. They are None unless the state is `rising`, and where
    more than their share of the futures never reach the limit. `rows`: trend rows looked at, the newest at `time_s`.
    """

    machine: str
    point: str
    state: Literal["too_short", "no_trend", "rising", "reached"]
    limit: float
    coverage: float
    rows: int
    time_s: float | None
    level: float | None
    remaining_s: float | None
    low_s: float | None
    high_s: float | None
    since_s: float | None
    per_day: float | None


@dataclass(frozen=True, slots=True)
class CaptureView:
    """A capture. `status`: chunks still come, all are here, or the file stands."""

    id: str
    gateway: str
    machine: str
    point: str
    rate_hz: float
    axes: tuple[str, ...]
    units: str
    status: CaptureStatus
    chunks_total: int
    chunks_received: int
    samples: int
    first_s: float
    stored_s: float | None
