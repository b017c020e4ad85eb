"""Maintenance windows: is a site open for changes at this moment, and when is it next.

A window is written in the time on the site's wall. That time is turned into moments on both of its ends, so a window
is as long as it really is on the two nights when clocks change: an end that the clock skips is the moment of the jump;
of a start that comes twice the first counts, of an end that comes twice the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cloud_hub.rollout.plan import DAYS, MaintenanceWindow

_LOOK_AHEAD_DAYS = 9  # every weekday comes within a week; one more on each side for the time zone


def is_open(windows: Sequence[MaintenanceWindow], zone: ZoneInfo, now_s: float) -> bool:
    """Whether a site in `zone` may be changed now. No windows: always."""
    return not windows or any(start <= now_s < end for start, end in _spans(windows, zone, now_s))


def next_open_s(windows: Sequence[MaintenanceWindow], zone: ZoneInfo, now_s: float) -> float | None:
    """When the site may be changed: now, or the start of the next window; None when there is none within a week (it
    lies in an hour that the clock skips).
    """
    if is_open(windows, zone, now_s):
        return now_s
    return min((start for start, end in _spans(windows, zone, now_s) if start > now_s and end > start), default=None)


def _spans(windows: Sequence[MaintenanceWindow], zone: ZoneInfo, now_s: float) -> Iterator[tuple[float, float]]:
    today = datetime.fromtimestamp(now_s, zone).date()
    for offset in range(-2, _LOOK_AHEAD_DAYS):
        day = today + timedelta(days=offset)
        for window in windows:
            if DAYS[day.weekday()] in window.days:
                yield _span(window, zone, day)


def _span(window: MaintenanceWindow, zone: ZoneInfo, day: date) -> tuple[float, float]:
    """The moments of the window that starts on `day`; empty when both ends fall into a skipped hour."""
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end if window.end != "24:00" else "00:00")
    last = day if end > start else day + timedelta(days=1)
    return _moment_s(datetime.combine(day, start), zone, fold=0), _moment_s(datetime.combine(last, end), zone, fold=1)


def _moment_s(wall: datetime, zone: ZoneInfo, fold: int) -> float:
    """The moment at which the wall shows this; of two the one that `fold` says, and the jump where it never does."""
    moment = wall.replace(tzinfo=zone, fold=fold).timestamp()
    if datetime.fromtimestamp(moment, zone).replace(tzinfo=None) == wall:
        return moment
    # Skipped: with fold=1 the offset after the jump applies and gives a moment before it, with fold=0 one after it.
    low = int(wall.replace(tzinfo=zone, fold=1).timestamp())
    high = int(wall.replace(tzinfo=zone, fold=0).timestamp())
    before = datetime.fromtimestamp(low, UTC).astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return float(high)
