"""From verdicts to the events of alarms: raised once, updated when it gets clearly worse, cleared once.

Pure: ids and time come in, drafts of events go out. What is open is stored by the caller, so that an alarm keeps its id
over a restart of the agent and over a change of bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from models.contract.messages import Verdict
from models.signal.monitor import Result

UPDATE_GROWTH = 1.25
UPDATE_PAUSE_S = 60.0


class OpenAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that was raised and not cleared. `reported_peak`: the peak that the last event told."""

    id: str
    raised_s: float
    peak: float
    reported_peak: float
    reported_s: float


@dataclass(frozen=True, slots=True)
class Draft:
    """An event to be sent about one window."""

    alarm: str
    kind: Literal["raised", "updated", "cleared"]
    verdict: Verdict
    score: float
    peak: float


class AlarmBook:
    """The alarm of one point, if any.

    An alarm taken over from before (`take_over`) has no verdict behind it yet: verdicts start anew with a monitor. It
    stays open until the new monitor either confirms it, or has been quiet for `clear_windows` windows.
    """

    def __init__(self, new_id: Callable[[], str], clear_windows: int) -> None:
        self._new_id = new_id
        self._clear_windows = clear_windows
        self._unconfirmed = False
        self._quiet = 0
        self.open: OpenAlarm | None = None

    def take_over(self, alarm: OpenAlarm | None) -> None:
        """Go on with an alarm from an earlier run or another bundle."""
        self.open = alarm
        self._unconfirmed = alarm is not None
        self._quiet = 0

    def observe(self, result: Result, now_s: float) -> Draft | None:
        """Take one result; the event it makes, if any."""
        if result.score is None:
            return None
        if result.verdict == "alarm":
            self._unconfirmed = False
            return self._in_alarm(result.score, now_s)
        if self.open is None:
            return None
        if self._unconfirmed:
            self._quiet = self._quiet + 1 if result.verdict == "ok" else 0
            if self._quiet < self._clear_windows:
                return None
        return self.end(result.verdict, result.score)

    def end(self, verdict: Verdict, score: float) -> Draft | None:
        """Clear the alarm, if one is open."""
        if self.open is None:
            return None
        draft = Draft(self.open.id, "cleared", verdict, score, self.open.peak)
        self.take_over(None)
        return draft

    def again(self, result: Result, now_s: float) -> Draft | None:
        """An update of the open alarm for another reason than its growth: more is known about it now."""
        if self.open is None or result.score is None:
            return None
        self.open = msgspec.structs.replace(
            self.open, reported_peak=max(self.open.reported_peak, result.score), reported_s=now_s
        )
        return Draft(self.open.id, "updated", "alarm", result.score, self.open.peak)

    def _in_alarm(self, score: float, now_s: float) -> Draft | None:
        if self.open is None:
            self.open = OpenAlarm(id=self._new_id(), raised_s=now_s, peak=score, reported_peak=score, reported_s=now_s)
            return Draft(self.open.id, "raised", "alarm", score, score)
        alarm = msgspec.structs.replace(self.open, peak=max(self.open.peak, score))
        self.open = alarm
        worse = score >= alarm.peak and score >= alarm.reported_peak * UPDATE_GROWTH
        # A time of reporting that is yet to come: the clock was set back since, and tells nothing of the pause.
        if not worse or 0 <= now_s - alarm.reported_s < UPDATE_PAUSE_S:
            return None
        self.open = msgspec.structs.replace(alarm, reported_peak=score, reported_s=now_s)
        return Draft(alarm.id, "updated", "alarm", score, score)
