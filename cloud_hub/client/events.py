"""Server-sent events (HTML standard, 9.2.6) of a hub: read, bounded, taken up again where a stream ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from cloud_hub.client.errors import AnswerError, UnavailableError, UnreachableError
from cloud_hub.client.wire import Wire
from cloud_hub.live.changes import WHAT, Change, Kind

MAX_EVENT_CHARS = 2**20
QUIET_S = 45.0
"""The hub says every 15 seconds that it is still there."""
_PAUSE_S = 2.0
_MAX_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something has changed. `change`: how it is now; None: any of its kind may be otherwise."""

    kind: Kind
    id: str | None
    change: Change | None


def follow(
    wire: Wire,
    kinds: Collection[Kind] = (),
    machines: Collection[str] = (),
    *,
    since: str | None = None,
    for_ever: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Events as they come. Args: kinds, machines: empty: all. since: the id of the last event that was seen. for_ever:
    come back when a stream ends, with the id of what was seen last, so that nothing is missed.
    """
    query = {"kind": sorted(kinds), "machine": sorted(machines)}
    pause_s = _PAUSE_S
    while True:
        try:
            headers = {"last-event-id": since} if since is not None else {}
            with wire.stream("/stream", query, headers, QUIET_S) as answer:
                for fields in parse(answer.iter_lines()):
                    since = fields.get("id", since)
                    pause_s = _PAUSE_S
                    event = _event(fields)
                    if event is not None:
                        yield event
        except (UnreachableError, UnavailableError):
            if not for_ever:
                raise
        if not for_ever:
            return
        sleep(pause_s)
        pause_s = min(_MAX_PAUSE_S, 2 * pause_s)


def _event(fields: dict[str, str]) -> Event | None:
    """None for a kind that this client does not know: a hub may be newer."""
    kind: Any = fields.get("event", "message")
    if kind not in WHAT:
        return None
    try:
        data = msgspec.json.decode(fields["data"])
        change = msgspec.convert(data, WHAT[kind]) if data else None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise AnswerError(f"stream: event {kind}: not of this version of the API: {error}") from error
    return Event(kind, fields.get("id"), change)


def parse(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The fields of each event that has data. Raises: AnswerError: one is too long."""
    fields: dict[str, str] = {}
    size = 0
    for line in lines:
        if not line:
            if "data" in fields:
                yield fields
            fields, size = {}, 0
            continue
        size += len(line)
        if size > MAX_EVENT_CHARS:
            raise AnswerError(f"stream: expected events of at most {MAX_EVENT_CHARS:,} characters")
        name, _, value = line.partition(":")
        if name:  # a line that begins with a colon is a comment
            value = value.removeprefix(" ")
            fields[name] = f"{fields['data']}\n{value}" if name == "data" and "data" in fields else value
