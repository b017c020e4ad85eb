"""A plant with a past, written into a hub's database through the same writer that stores what gateways send.

Six gateways, machines of four kinds, a week of trends, alarms of every kind with the raw window of a damaged bearing,
bundles, a rollout under way. Everything is drawn from one seeded generator: two plants of the same `now_s` are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cloud_hub.delivery.registry import BundleRecord
from cloud_hub.rollout.cohorts import assign
from cloud_hub.rollout.machine import begin
from cloud_hub.rollout.plan import Cohort, Plan, decode_plan
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.rollouts import RolloutStore
from cloud_hub.store.writer import Message, Received, Writer
from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    Diagnosis,
    Driver,
    Evidence,
    Health,
    OrderMatch,
    PointState,
    SlotState,
    TrendBatch,
    TrendRow,
    Verdict,
)

NOW_S = 1_750_000_000.0  # a Sunday, 15:06 UTC
HOUR, DAY = 3600.0, 86_400.0
BOOT = "00000000000000aa"
RATE_HZ, SAMPLES = 12_000.0, 4096
SHAFT_HZ = 29.53
OUTER = 3.5848  # order of the outer race of a 6205
_BATCH = 200


@dataclass(frozen=True, slots=True)
class PlantPoint:
    """A point of the plant. `trend`: how its score went over the week."""

    machine: str
    point: str
    gateway: str
    slot: str
    verdict: Verdict
    trend: str = "steady"


def _points() -> list[PlantPoint]:
    points = []
    for i in range(1, 9):
        gateway = "gw-pumps" if i <= 5 else "gw-cooling"
        trend, verdict = {3: ("rising", "alarm"), 5: ("noisy", "warn")}.get(i, ("steady", "ok"))
        points.append(PlantPoint(f"P-10{i}", "de", gateway, "pump-vibration", verdict, trend))
        points.append(PlantPoint(f"P-10{i}", "nde", gateway, "pump-vibration", "ok"))
    for i in range(1, 6):
        verdict = "warming_up" if i == 5 else "ok"
        points += [PlantPoint(f"FAN-{i:02}", "bearing", "gw-roof", "fan-vibration", verdict)]
    for i in range(1, 4):
        verdict = "alarm" if i == 2 else "ok"
        points.append(
            PlantPoint(f"GB-{i}", "input", "gw-mill", "gearbox-vibration", verdict, "step" if i == 2 else "steady")
        )
        points.append(PlantPoint(f"GB-{i}", "output", "gw-mill", "gearbox-vibration", "ok"))
    points.extend(PlantPoint(f"VALVE-{i:02}", "process", "gw-water", "valve-process", "ok") for i in range(1, 5))
    points.extend(PlantPoint(f"C-{i}", "motor", "gw-offline", "pump-vibration", "ok") for i in range(1, 3))
    return points


POINTS: Sequence[PlantPoint] = tuple(_points())
GATEWAYS = tuple(sorted({p.gateway for p in POINTS}))


def sha(slot: str, version: int) -> str:
    """The digest of a bundle of the plant."""
    return f"{sum(slot.encode()) % 251:02x}{version:02x}" * 16


def bearing_window(seed: int, *, damage: float = 1.0, rate_hz: float = RATE_HZ, samples: int = SAMPLES) -> np.ndarray:
    """Three axes of a running bearing, m/s²: shaft, noise, and knocks of an outer-race fault that ring at 3.1 kHz.

    Returns: (samples, 3) float32.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / rate_hz
    knocks = np.zeros(samples)
    period_s = 1 / (OUTER * SHAFT_HZ)
    for k in range(int(samples / rate_hz / period_s) + 1):
        since = t - (k + 0.01 * rng.standard_normal()) * period_s
        ring = np.exp(-900.0 * np.maximum(since, 0)) * np.sin(2 * np.pi * 3100.0 * since)
        knocks += np.where(since >= 0, ring, 0.0) * (1 + 0.15 * rng.standard_normal())
    shaft = 1.2 * np.sin(2 * np.pi * SHAFT_HZ * t) + 0.4 * np.sin(4 * np.pi * SHAFT_HZ * t + 0.7)
    axes = [
        s * shaft + 14 * damage * g * knocks + 0.9 * rng.standard_normal(samples)
        for s, g in ((1, 1), (0.7, 0.6), (0.3, 0.25))
    ]
    return np.stack(axes, axis=1).astype("<f4")


def diagnosis() -> Diagnosis:
    """What an agent says of such a window."""
    lines = [OUTER * SHAFT_HZ * k for k in (1, 2, 3, 4)]
    return Diagnosis(
        summary="outer race: BPFO at 105.9 Hz stands 14 dB over the rest; energy at 2.5-3.2 kHz is 6.2 times its healthy level",
        drivers=[
            Driver(axis="x", label="2.5-3.2 kHz", share=0.58, ratio=6.2),
            Driver(axis="x", label="3.2-4.1 kHz", share=0.21, ratio=3.9),
            Driver(axis="y", label="2.5-3.2 kHz", share=0.11, ratio=2.8),
        ],
        fault="BPFO",
        orders=[
            OrderMatch(fault="BPFO", order=OUTER, frequency_hz=lines[0], harmonics=lines, prominence=14.0, confidence=0.94),
        ],
        velocity_rms_mm_s=5.4,
        zone="C",
        zone_source="ISO 20816-3, group 2, rigid",
        check_first="the drive-end bearing of P-103: listen with a stethoscope, sample the grease",
    )  # fmt: skip


def evidence(seed: int, damage: float = 1.0) -> Evidence:
    """The raw window that comes with an alarm."""
    window = bearing_window(seed, damage=damage)
    return Evidence(
        rate_hz=RATE_HZ, axes=["x", "y", "z"], units="m/s2", samples=len(window), window=window.tobytes(), shift=b"",
        raw_score=7.25, raw_limit=3.0,
    )  # fmt: skip


def scores(point: PlantPoint, count: int, rng: np.random.Generator) -> np.ndarray:
    """Mean scores of a point over its week, oldest first: (count,)."""
    part = np.linspace(0, 1, count)
    base = 0.42 + 0.03 * np.sin(14 * np.pi * part) + 0.025 * rng.standard_normal(count)
    match point.trend:
        case "rising":
            return base + 0.95 * np.maximum(part - 0.45, 0) ** 1.6 * 3
        case "step":
            return base + np.where(part > 0.9, 1.1, 0.0)
        case "noisy":
            return base + 0.3 + 0.12 * rng.standard_normal(count)
        case _:
            return base


def _healthy(point: PlantPoint) -> float:
    """A score of its own for each healthy point."""
    return 0.3 + sum(f"{point.machine}{point.point}".encode()) % 23 / 100


def _states(now_s: float) -> Iterator[AgentState]:
    for gateway in GATEWAYS:
        points = [p for p in POINTS if p.gateway == gateway]
        slots = sorted({p.slot for p in points})
        yield AgentState(
            gateway=gateway,
            boot_id=BOOT,
            online=gateway != "gw-offline",
            time_s=now_s - 5,
            agent_version="0.4.2",
            runtime="litert",
            want_seq=7,
            rss_mb=58.0 + len(points),
            outbox_bytes=184_320 if gateway == "gw-offline" else 0,
            slots=[SlotState(slot=s, phase="confirmed", active_sha256=sha(s, 2), active_version="2") for s in slots],
            points=[
                PointState(
                    machine=p.machine, point=p.point, slot=p.slot, verdict=p.verdict, windows=8000,
                    score=None if p.verdict == "warming_up" else {"alarm": 1.62, "warn": 0.91}.get(p.verdict, _healthy(p)),
                    warmup_left=140 if p.verdict == "warming_up" else 0, last_window_s=now_s - 12,
                )
                for p in points
            ],
            counters={"frames": 1_204_300, "windows": 8000 * len(points)},
        )  # fmt: skip


def _trends(now_s: float, rng: np.random.Generator, days: float, span_s: float) -> Iterator[TrendBatch]:
    seq = 0
    for point in POINTS:
        count = int(days * DAY / span_s)
        means = scores(point, count, rng)
        peaks = means + 0.05 + 0.06 * rng.random(count)
        rows = [
            TrendRow(
                machine=point.machine, point=point.point, time_s=now_s - (count - i) * span_s, span_s=span_s, windows=60,
                flagged=int(60 * min(max(peak - 1, 0), 1)), score_mean=float(mean), score_max=float(peak),
                rms=[float(1.6 * mean), float(1.1 * mean), float(0.8 * mean)],
                verdict="alarm" if mean >= 1 else "warn" if mean >= 0.8 else "ok",
            )
            for i, (mean, peak) in enumerate(zip(means, peaks, strict=True))
        ]  # fmt: skip
        for start in range(0, count, _BATCH):
            seq += 1
            vital = Health(time_s=now_s - 60, rss_mb=61.0, cpu_s=812.0, windows=8000, window_us=96.0, outbox_bytes=0)
            yield TrendBatch(
                gateway=point.gateway, boot_id=BOOT, seq=seq, rows=rows[start : start + _BATCH], health=vital
            )


def _events(now_s: float) -> Iterator[AlarmEvent]:
    def event(
        seq: int, alarm: str, point: PlantPoint, kind: str, ago_s: float, score: float, **more: object
    ) -> AlarmEvent:
        return AlarmEvent(
            gateway=point.gateway, boot_id=BOOT, seq=seq, alarm=alarm, kind=kind,  # type: ignore[arg-type]
            verdict="ok" if kind == "cleared" else "alarm" if score >= 1 else "warn", machine=point.machine,
            point=point.point, slot=point.slot, bundle_sha256=sha(point.slot, 2), bundle_version="2",
            time_s=now_s - ago_s, score=score, peak=max(score, 1.0), **more,  # type: ignore[arg-type]
        )  # fmt: skip

    by_name = {(p.machine, p.point): p for p in POINTS}
    pump, gear, noisy = by_name["P-103", "de"], by_name["GB-2", "input"], by_name["P-105", "de"]
    yield event(1, "a-103", pump, "raised", 9 * HOUR, 1.04, diagnosis=diagnosis(), evidence=evidence(1, 0.4))
    yield event(2, "a-103", pump, "updated", 2 * HOUR, 1.62, diagnosis=diagnosis(), evidence=evidence(2, 1.0))
    step = Diagnosis(
        summary="energy at 0.9-1.2 kHz is 3.4 times its healthy level; no known fault order matches",
        drivers=[Driver(axis="y", label="0.9-1.2 kHz", share=0.71, ratio=3.4)],
    )
    yield event(3, "a-gb2", gear, "raised", 40 * 60, 1.58, diagnosis=step, evidence=evidence(3, 0.2))
    yield event(4, "a-105", noisy, "raised", 3 * HOUR, 0.91, diagnosis=None)
    for i, ago_days in enumerate((0.4, 1.2, 2.5, 4.0, 6.5)):
        old = by_name[f"P-10{1 + i}", "nde"]
        yield event(10 + 2 * i, f"old-{i}", old, "raised", ago_days * DAY + HOUR, 1.2)
        yield event(11 + 2 * i, f"old-{i}", old, "cleared", ago_days * DAY, 0.5)


def _bundles(database: Database, now_s: float) -> None:
    registry = SqlRegistry(database)
    for slot in sorted({p.slot for p in POINTS}):
        for version in (1, 2, 3):
            if version == 3 and slot != "pump-vibration":
                continue
            registry.add_bundle(
                BundleRecord(
                    sha256=sha(slot, version),
                    slot=slot,
                    version=str(version),
                    family="process" if "process" in slot else "spectral",
                    target=f"{slot}/{version}.mwb",
                    length=281_004 + 1117 * version,
                    created_s=now_s - (4 - version) * 8 * DAY + 7 * DAY,
                    manifest_json=json.dumps({"slot": slot, "version": str(version)}) + "\n",
                )
            )


def fill(database: Database, *, now_s: float = NOW_S, days: float = 7.0, span_s: float = 600.0, seed: int = 5) -> None:
    """Write the plant into an empty, migrated database. `span_s`: of one trend row."""
    rng = np.random.default_rng(seed)
    clock = [now_s - 30 * DAY]
    writer = Writer(database, lambda: clock[0])

    def store(at_s: float, messages: Sequence[Message]) -> None:
        clock[0] = at_s
        for start in range(0, len(messages), 50):
            writer.store([Received(m) for m in messages[start : start + 50]])

    _bundles(database, now_s)
    states = list(_states(now_s))
    new = [s for s in states if s.gateway == "gw-water"]
    store(now_s - 30 * DAY, [msgspec.structs.replace(s, online=True) for s in states if s not in new])
    trends = list(_trends(now_s, rng, days, span_s))
    gone = [m for m in trends if m.gateway == "gw-offline"]
    store(now_s - 7 * HOUR, new)
    store(now_s - 4 * HOUR, gone)
    store(now_s - 4 * HOUR, [_last_will(s) for s in states if s.gateway == "gw-offline"])
    _rollouts(database, now_s)
    store(now_s - 3 * HOUR, list(_acks(now_s)))
    store(now_s - 20, [*(m for m in trends if m not in gone), *_events(now_s), *(s for s in states if s.online)])


def _rollouts(database: Database, now_s: float) -> None:
    """One that is over, one that tries bundle 3 on its first gateway."""
    store = RolloutStore(database)
    for name, version, ago_s in (("pumps-2", 2, 6 * DAY), ("pumps-3", 3, 2 * HOUR)):
        plan = Plan(
            slot="pump-vibration",
            sha256=sha("pump-vibration", version),
            cohorts=[
                Cohort(name="canary", gateways=["gw-cooling"], errors="0", success="100 %", shadow_windows=400),
                Cohort(name="everywhere", share="100 %", errors="10 %", success="80 %"),
            ],
        )
        text = msgspec.json.encode(plan).decode()
        state = begin(name, decode_plan(text, name), assign(name, plan, store.sites(plan.slot)), now_s - ago_s)
        store.create(state, text, plan.slot, plan.sha256, now_s - ago_s, "engineer@plant")
        if version == 2:
            _finish(database, name)
    with database.write() as session:
        canary = session.get_one(t.RolloutMember, ("pumps-3", "gw-cooling"))
        canary.stage, canary.sent, canary.windows, canary.want_seq = "shadow", True, 310, 8


def _finish(database: Database, rollout: str) -> None:
    with database.write() as session:
        over = session.get_one(t.Rollout, rollout)
        over.status, over.cohort = "finished", 1
        for member in session.query(t.RolloutMember).where(t.RolloutMember.rollout_id == rollout):
            member.stage, member.sent, member.windows = "done", True, 420


def _last_will(state: AgentState) -> AgentState:
    """What the broker says for a gateway that has gone without a word."""
    return msgspec.structs.replace(state, online=False)


def _acks(now_s: float) -> Iterator[Ack]:
    for gateway in ("gw-pumps", "gw-cooling"):
        for phase, ago_s in (("fetched", 3.4), ("verified", 3.3), ("shadow", 3.2), ("active", 3.1), ("confirmed", 3.0)):
            yield Ack(
                gateway=gateway, seq=7, slot="pump-vibration", phase=phase, time_s=now_s - ago_s * HOUR,  # type: ignore[arg-type]
                sha256=sha("pump-vibration", 2),
            )  # fmt: skip
