"""What can be told, and how it looks on the wire. A happening is plain JSON: `type`, `id`, `time`, `data`.

Machine-readable names never change; fields may be added. `data.work_order` is what a maintenance system needs to open a
work order, in the words of ISO 14224 (equipment, failure mode) and of its usual import formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec

Kind = Literal[
    "alarm.raised",
    "alarm.updated",
    "alarm.cleared",
    "gateway.offline",
    "gateway.online",
    "rollout.changed",
    "test",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
_PRIORITY = {"alarm": 1, "warn": 3}
_FAILED_PARTS = {  # by the fault that a diagnosis names; ISO 14224:2016, annex B, calls what is seen vibration (VIB)
    "BPFI": "bearing, inner race",
    "BPFO": "bearing, outer race",
    "BSF": "bearing, rolling element",
    "FTF": "bearing, cage",
    "GMF": "gear mesh",
    "VPF": "pump hydraulics, vane pass",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened. `key` names it for ever: told twice, it has the same key."""

    kind: Kind
    key: str
    time_s: float
    machine: str | None
    data: Mapping[str, Any]


def body_of(happening: Happening) -> bytes:
    """The happening as it is sent."""
    return msgspec.json.encode(
        {
            "type": happening.kind,
            "id": happening.key,
            "time": datetime.fromtimestamp(happening.time_s, UTC).isoformat(timespec="milliseconds"),
            "data": happening.data,
        }
    )


def alarm_data(alarm: Mapping[str, Any], link: str) -> dict[str, Any]:
    """What is told of an alarm. `alarm`: gateway, machine, point, alarm, verdict, score, peak, summary, diagnosis,
    raised_s, cleared_s. `link`: the page that shows it.
    """
    return {**alarm, "link": link, "work_order": work_order(alarm, link)}


def work_order(alarm: Mapping[str, Any], link: str) -> dict[str, Any]:
    """What a maintenance system needs: which equipment, how urgent, what fails, what to look at first."""
    diagnosis = alarm.get("diagnosis") or {}
    part = _FAILED_PARTS.get(diagnosis.get("fault") or "")
    sure = [o["confidence"] for o in diagnosis.get("orders") or [] if o["fault"] == diagnosis.get("fault")]
    return {
        "external_id": f"millwright:{alarm['gateway']}.{alarm['alarm']}",
        "equipment": alarm["machine"],
        "location": alarm["point"],
        "title": f"{alarm['machine']}, {alarm['point']}: {alarm['verdict']}",
        "description": alarm["summary"],
        "priority": _PRIORITY.get(alarm["verdict"], 4),
        "failure_mode": "VIB" if part is not None else "UNK",
        "failed_part": part or "unknown",
        "confidence": max(sure, default=None),
        "check_first": diagnosis.get("check_first"),
        "reported_at": datetime.fromtimestamp(alarm["raised_s"], UTC).isoformat(timespec="seconds"),
        "evidence_url": link,
    }
