"""What a hub issues wants with, in tests: a signature that can be read, and a line to the broker that may be cut."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec

from cloud_hub.errors import LinkError
from cloud_hub.services.wants import Issue, issuer
from cloud_hub.settings import load_settings
from cloud_hub.store.database import Database
from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.contract.messages import WantBody


class PlainRepository:
    """Signs nothing: what is sent can be read as it is."""

    def sign_want(self, body: WantBody) -> bytes:
        return msgspec.json.encode(body)


class Line:
    """What is sent is kept, in order; `retained` as a broker keeps it."""

    def __init__(self) -> None:
        self.sent: list[WantBody] = []
        self.topics: list[str] = []
        self.cut = False

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        assert retain  # for gateways that are away
        if self.cut:
            raise LinkError("broker: no answer")
        self.topics.append(topic)
        self.sent.append(msgspec.json.decode(payload, type=WantBody))


def plain_issuer(database: Database, home: Path, line: Line | None = None) -> Issue:
    """What issues wants."""
    return issuer(load_settings(home), database, cast(Repository, PlainRepository()), cast(Link, line or Line()))
