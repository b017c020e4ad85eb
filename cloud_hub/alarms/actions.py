"""What people may do about an alarm: each action with its values, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloud_hub.errors import HubError

MIN_SHELF_S = 60.0
MAX_SHELF_S = 24 * 3600.0
"""A day: what is to be silent for longer is out of service, and says so."""
MAX_TEXT = 2000
MAX_NAME = 200
Review = Literal["true", "false", "unsure"]


class ActionError(HubError):
    """An action with a value that is not possible; the text names it."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody has seen it and takes care of it."""

    text: str = ""

    def __post_init__(self) -> None:
        check_text(self.text, "text", needed=False)


@dataclass(frozen=True, slots=True)
class Shelve:
    """Put the alarms of this point in this slot aside for a while."""

    duration_s: float
    reason: str

    def __post_init__(self) -> None:
        if not MIN_SHELF_S <= self.duration_s <= MAX_SHELF_S:
            raise ActionError(
                f"shelve, duration_s: expected {MIN_SHELF_S:g} to {MAX_SHELF_S:g} seconds (for longer, take the point "
                f"out of service), got {self.duration_s:g}"
            )
        check_text(self.reason, "shelve, reason")


@dataclass(frozen=True, slots=True)
class Unshelve:
    """Take them from the shelf before its time is up."""


@dataclass(frozen=True, slots=True)
class Comment:
    """Say something about it."""

    text: str

    def __post_init__(self) -> None:
        check_text(self.text, "comment, text")


@dataclass(frozen=True, slots=True)
class Assign:
    """Whose job it is; None: nobody's."""

    assignee: str | None

    def __post_init__(self) -> None:
        if self.assignee is not None and not 0 < len(self.assignee.strip()) <= MAX_NAME:
            raise ActionError(f"assign, assignee: expected 1 to {MAX_NAME} characters, got {len(self.assignee)}")


@dataclass(frozen=True, slots=True)
class Judge:
    """What it turned out to be: a fault (`true`), none (`false`), or that nobody can tell. `fault`: which one."""

    review: Review
    fault: str | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.review not in ("true", "false", "unsure"):
            raise ActionError(f"review: expected true, false or unsure, got {self.review!r}")
        if self.fault is not None and self.review != "true":
            raise ActionError(f"review, fault: only a true alarm has one, got {self.fault!r} with {self.review}")
        if self.fault is not None:
            check_text(self.fault, "review, fault", longest=MAX_NAME)
        check_text(self.text, "review, text", needed=False)


Action = Acknowledge | Shelve | Unshelve | Comment | Assign | Judge


def check_text(text: str, what: str, *, needed: bool = True, longest: int = MAX_TEXT) -> None:
    """Raises: ActionError: empty though it is needed, or too long."""
    if len(text) > longest or (needed and not text.strip()):
        raise ActionError(f"{what}: expected {1 if needed else 0} to {longest} characters, got {len(text)}")
