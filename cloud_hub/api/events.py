"""Server-sent events in the description: an answer of them, and what stands in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

LIFE_S = 900.0
"""After so long whoever follows a stream must ask again, and is asked again who it is."""


def stream_of(
    kinds: Mapping[str, Any], description: str, *, may_be_empty: bool = False
) -> dict[int | str, dict[str, Any]]:
    """The answer of a route that sends events. OpenAPI before 3.2, which has `itemSchema`, has no word for it: `schema`
    is that of one event, with the fields of the HTML standard, 9.2.6.

    Args: kinds: name of the event -> type of its data. may_be_empty: it may be `{}` instead.
    """
    empty = [{"type": "object", "maxProperties": 0}] if may_be_empty else []
    events = [
        {
            "type": "object",
            "properties": {
                "event": {"const": kind},
                "id": {"type": "string"},
                "retry": {"type": "integer"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"anyOf": [TypeAdapter(data).json_schema(), *empty]},
                },
            },
            "required": ["event", "data"],
        }
        for kind, data in kinds.items()
    ]
    schema = events[0] if len(events) == 1 else {"oneOf": events}
    return {200: {"content": {"text/event-stream": {"schema": schema}}, "description": description}}
