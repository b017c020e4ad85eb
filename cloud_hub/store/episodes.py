"""How events make an alarm: a pure function, and one for which the order of arrival does not matter.

Outboxes send evidence first and the rest when they can, and may send anything twice. So an alarm is a fold over the
*set* of its events: the newest event (by time, boot, seq) gives verdict and score, the newest one that has a diagnosis
gives the diagnosis, `peak` is the highest, `raised_s` the earliest time, and an alarm that was once cleared stays
cleared: an episode has one end.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from models.contract.messages import AlarmEvent, Diagnosis, Verdict

Status = Literal["raised", "cleared"]


class Episode(msgspec.Struct, frozen=True):
    """An alarm as its events so far make it. Keys are empty before the first event of their kind."""

    machine: str
    point: str
    slot: str
    bundle_sha256: str
    bundle_version: str
    verdict: Verdict
    status: Status
    raised_s: float
    cleared_s: float | None
    updated_s: float
    score: float
    peak: float
    diagnosis: Diagnosis | None
    newest_key: str
    diagnosis_key: str


def order_key(event: AlarmEvent) -> str:
    """A text that sorts as (time, boot, seq); times to the microsecond."""
    return f"{event.time_s:018.6f}/{event.boot_id}/{event.seq:019d}"


def begin(event: AlarmEvent) -> Episode:
    """The episode that one event alone makes."""
    cleared = event.kind == "cleared"
    key = order_key(event)
    return Episode(
        machine=event.machine,
        point=event.point,
        slot=event.slot,
        bundle_sha256=event.bundle_sha256,
        bundle_version=event.bundle_version,
        verdict=event.verdict,
        status="cleared" if cleared else "raised",
        raised_s=event.time_s,
        cleared_s=event.time_s if cleared else None,
        updated_s=event.time_s,
        score=event.score,
        peak=event.peak,
        diagnosis=event.diagnosis,
        newest_key=key,
        diagnosis_key=key if event.diagnosis is not None else "",
    )


def advance(episode: Episode | None, event: AlarmEvent) -> Episode:
    """The episode with one more event; the same event twice changes nothing."""
    fresh = begin(event)
    if episode is None:
        return fresh
    newer, older = (fresh, episode) if fresh.newest_key > episode.newest_key else (episode, fresh)
    diagnosed = max((episode, fresh), key=lambda e: e.diagnosis_key)
    cleared = [e.cleared_s for e in (episode, fresh) if e.cleared_s is not None]
    return msgspec.structs.replace(
        newer,
        status="cleared" if cleared else "raised",
        raised_s=min(newer.raised_s, older.raised_s),
        cleared_s=min(cleared, default=None),
        peak=max(newer.peak, older.peak),
        diagnosis=diagnosed.diagnosis,
        diagnosis_key=diagnosed.diagnosis_key,
    )


def summary_of(episode: Episode) -> str:
    """One line for people: the diagnosis, or what is known without one."""
    if episode.diagnosis is not None:
        return episode.diagnosis.summary
    return f"{episode.machine}/{episode.point}: score {episode.peak:.2f} at its peak, the limit is 1.00"
