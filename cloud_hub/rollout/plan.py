"""What a rollout is asked to do. Everything is parsed when the rollout is created; a text that cannot be read is an
error there. A stored plan that cannot be read any more (edited, or of another release) raises the same error, and
whoever steps the machine must pause: a rule that nobody can read is not a rule that holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from cloud_hub.errors import PlanError
from models.contract.ids import Id, Sha256

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
MAX_COHORTS = 32
MAX_LISTED = 100_000

Positive = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
Ratio = Annotated[float, msgspec.Meta(ge=1, le=1000)]
Rule = Annotated[str, msgspec.Meta(max_length=32)]
Word = Annotated[str, msgspec.Meta(max_length=64)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A share of a cohort, or a number of gateways. `percent` is None when `count` counts."""

    percent: float | None
    count: int | None

    @classmethod
    def parse(cls, text: str, where: str) -> Threshold:
        """Read "5 %" or "3". Raises: PlanError."""
        if (share := _SHARE.fullmatch(text.strip())) and float(share[1]) <= 100:
            return cls(float(share[1]), None)
        if _COUNT.fullmatch(text.strip()):
            return cls(None, int(text))
        raise PlanError(f'{where}: expected a share such as "5 %" or a count such as "3", got {text!r}')

    def at_most(self, size: int) -> int:
        """As an upper bound on some of `size`: how many are still within it."""
        return self.count if self.count is not None else math.floor((self.percent or 0.0) * size / 100 + 1e-9)

    def at_least(self, size: int) -> int:
        """As a lower bound: how many of `size` it takes. A count is never more than there are."""
        if self.count is not None:
            return min(self.count, size)
        return math.ceil((self.percent or 0.0) * size / 100 - 1e-9)


class Cohort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step. Exactly one of `share` (cumulative, of all gateways of the rollout, in hash order), `label` ("name" or
    "name=value") and `gateways`.

    `shadow_windows`: what each gateway must score with the candidate beside the champion, over all its points, before
    the hub lets it decide; 0: no shadow. `soak_windows`: the same, after it decides. `errors`: more failed gateways
    than that pause the rollout. `success`: so many must come through before the next cohort begins.
    """

    name: Word
    share: Rule | None = None
    label: Annotated[str, msgspec.Meta(max_length=129)] | None = None
    gateways: Annotated[list[Id], msgspec.Meta(max_length=MAX_LISTED)] | None = None
    shadow_windows: NotNegative = 200
    soak_windows: NotNegative = 200
    errors: Rule = "5 %"
    success: Rule = "90 %"
    approval: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a candidate may do, against the champion over the same live windows. None switches a rule off.

    `alarm_ratio`: 1.5, because half as many alarms again is what people notice, and a few more prove nothing.
    `flagged_ratio`: 2, for windows over the limit come in runs and vary more. `score_up`, `score_down`: octaves that
    the median or the 95th percentile of the calibrated scores may move; half an octave up eats the margin between a
    usual healthy level and the limit; down, only what looks like a network that has gone blind (a quarter) counts, for
    a better one may well score healthy machines lower. `latency_ratio`: 2, of the mean time per window, and only
    above `latency_floor_us`, below which a window's cost is nothing to a gateway. `memory_ratio`: 2.
    """

    alarm_ratio: Ratio | None = 1.5
    flagged_ratio: Ratio | None = 2.0
    score_up: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = 0.5
    score_down: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = 2.0
    latency_ratio: Ratio | None = 2.0
    latency_floor_us: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 500.0
    memory_ratio: Ratio | None = 2.0
    memory_kb: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None


class MaintenanceWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a site may be changed: on `days`, from `start` to `end` by the clock on its wall ("HH:MM", `end` may be
    "24:00"). An `end` that is not after `start` is on the next day.
    """

    days: Annotated[list[Day], msgspec.Meta(min_length=1, max_length=7)] = msgspec.field(
        default_factory=lambda: list(DAYS)
    )
    start: Word
    end: Word


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole rollout. Times in seconds.

    `select`: "name" or "name=value", only gateways with this label; None: all that report the slot. `in_flight`: so
    many gateways at most fetch at the same time. `silence_s`: a gateway that was there and has not been heard since
    has failed. `arrive_s`: one that is there must be in shadow (or refuse) by then. `cohort_s`: a cohort that is not
    through by then pauses the rollout; `timeout_s`: the same for all of it, without the time it was paused.
    `give_back`: a failed gateway gets its previous bundle back.
    """

    slot: Id
    sha256: Sha256
    cohorts: Annotated[list[Cohort], msgspec.Meta(min_length=1, max_length=MAX_COHORTS)]
    select: Annotated[str, msgspec.Meta(max_length=129)] | None = None
    limits: Limits = Limits()
    windows: Annotated[list[MaintenanceWindow], msgspec.Meta(max_length=32)] = []
    time_zone: Word = "UTC"
    in_flight: Positive = 500
    jitter_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    silence_s: Positive = 3600
    arrive_s: Positive = 6 * 3600
    cohort_s: Positive = 7 * 86_400
    timeout_s: Positive = 30 * 86_400
    give_back: bool = True


DEFAULT_COHORTS = (
    Cohort(name="canary", share="1 %", errors="0", success="100 %"),
    Cohort(name="early", share="10 %"),
    Cohort(name="all", share="100 %"),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds of one cohort, read."""

    errors: Threshold
    success: Threshold


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A plan whose every text has been read."""

    plan: Plan
    rules: tuple[Rules, ...]


def read_plan(plan: Plan) -> ReadPlan:
    """Read every rule of a plan. Raises: PlanError: with all that is wrong, each with its place."""
    problems: list[str] = []
    rules = []
    for cohort in plan.cohorts:
        where = f"cohort {cohort.name!r}"
        chosen = [name for name in ("share", "label", "gateways") if getattr(cohort, name) is not None]
        if len(chosen) != 1:
            problems.append(f"{where}: expected one of share, label and gateways, got {' and '.join(chosen) or 'none'}")
        if cohort.share is not None:
            with _collected(problems):
                _share(cohort, where)
        with _collected(problems):
            errors = Threshold.parse(cohort.errors, f"{where}, errors")
            success = Threshold.parse(cohort.success, f"{where}, success")
            if not (success.percent or success.count):
                raise PlanError(f"{where}, success: expected more than none, got {cohort.success!r}")
            rules.append(Rules(errors, success))
    if len({c.name for c in plan.cohorts}) < len(plan.cohorts):
        problems.append("cohorts: expected every name once")
    for index, window in enumerate(plan.windows, 1):
        for name, text in (("start", window.start), ("end", window.end)):
            if not (_TIME.fullmatch(text) or (name == "end" and text == "24:00")):
                problems.append(f'window {index}, {name}: expected a time such as "22:30", got {text!r}')
        if len(set(window.days)) < len(window.days):
            problems.append(f"window {index}, days: expected every day once")
    with _collected(problems):
        check_zone(plan.time_zone, "time_zone")
    if problems:
        raise PlanError("plan: " + "; ".join(problems))
    return ReadPlan(plan, tuple(rules))


def decode_plan(text: str | bytes, where: str) -> ReadPlan:
    """A plan from its JSON. Raises: PlanError."""
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{where}: not a plan: {error}") from error
    return read_plan(plan)


def share_of(cohort: Cohort) -> float:
    """The cumulative share of a cohort by share, in percent. Raises: PlanError."""
    return _share(cohort, f"cohort {cohort.name!r}").percent or 0.0


def check_zone(name: str, where: str) -> ZoneInfo:
    """The time zone of this name. Raises: PlanError."""
    if name not in available_timezones():
        raise PlanError(f"{where}: expected a time zone such as Europe/Berlin, got {name!r}")
    return ZoneInfo(name)


def _share(cohort: Cohort, where: str) -> Threshold:
    share = Threshold.parse(cohort.share or "", f"{where}, share")
    if not share.percent:
        raise PlanError(f'{where}, share: expected a share above 0 % such as "10 %", got {cohort.share!r}')
    return share


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except PlanError as error:
        problems.append(str(error))
