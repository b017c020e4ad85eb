"""A rollout's state while a step or a command changes it: what both of them write with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cloud_hub.rollout.state import Cause, Fact, Member, Note, Outcome, Send, State
from cloud_hub.rollout.states import Event, next_status

replace = msgspec.structs.replace


class Work:
    """A state while it changes."""

    def __init__(self, state: State, facts: Mapping[str, Fact], now_s: float) -> None:
        self.rollout = state.rollout
        self.before = state.members
        self.facts = facts
        self.now_s = now_s
        self.changed: dict[str, Member] = {}
        self.notes: list[Note] = []

    def members(self) -> Iterable[Member]:
        """All of them as they are by now."""
        return (self.changed.get(g, m) for g, m in self.before.items())

    def put(self, member: Member) -> None:
        """Take the member as it is now."""
        if self.before[member.gateway] is not member:
            self.changed[member.gateway] = member

    def note(self, event: Event, text: str, by: str = "hub") -> None:
        """Say so in the log."""
        self.notes.append(Note(time_s=self.now_s, event=event, text=text, by=by))

    def go(self, event: Event, text: str, by: str = "hub", **changes: Any) -> None:  # noqa: ANN401 - fields of Rollout
        """Change the status by an event, and other fields. Raises: RolloutError: it has no place here."""
        self.rollout = replace(self.rollout, status=next_status(self.rollout.status, event), **changes)
        self.note(event, text, by)

    def stop(self, cause: Cause, text: str, by: str = "hub") -> None:
        """Pause it, so that it can go on where it is."""
        resumes = self.rollout.position
        self.go(Event.STOPPED, text, by, resumes=resumes, paused_s=self.now_s, cause=cause, detail=text, waits="")

    def outcome(self) -> Outcome:
        """What has come of it."""
        members = {**self.before, **self.changed} if self.changed else self.before
        sends = tuple(Send(gateway=m.gateway, due=m.due) for m in self.changed.values() if m.due is not None)
        return Outcome(
            state=State(rollout=self.rollout, members=members),
            changed=self.changed,
            actions=sends,
            notes=tuple(self.notes),
        )
