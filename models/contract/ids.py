"""Ids that stand in topics and messages: `[A-Za-z0-9_-]{1,64}`, so that none can carry `/`, `+` or `#`."""

from __future__ import annotations

import re
from typing import Annotated, NewType

import msgspec

from models.errors import TopicError

FleetId = NewType("FleetId", str)
GatewayId = NewType("GatewayId", str)
MachineId = NewType("MachineId", str)
PointId = NewType("PointId", str)
NodeId = NewType("NodeId", str)
SlotId = NewType("SlotId", str)

ID_PATTERN = r"[A-Za-z0-9_-]{1,64}"
SHA256_PATTERN = r"[0-9a-f]{64}"

# The same rules for message fields, checked by msgspec while it decodes.
Id = Annotated[str, msgspec.Meta(pattern=rf"^{ID_PATTERN}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=rf"^{SHA256_PATTERN}\Z")]

_ID = re.compile(ID_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)


def check_id(value: str, what: str) -> str:
    """Return `value` when it is a well-formed id.

    Raises: TopicError: any other text; the message names `what` and shows the text.
    """
    if _ID.fullmatch(value) is None:
        raise TopicError(f"{what}: expected 1 to 64 of A-Z a-z 0-9 _ -, got {value[:80]!r}")
    return value


def check_sha256(value: str, what: str) -> str:
    """Return `value` when it is 64 lower-case hexadecimal digits. Raises: TopicError."""
    if _SHA256.fullmatch(value) is None:
        raise TopicError(f"{what}: expected 64 lower-case hex digits, got {value[:80]!r}")
    return value
