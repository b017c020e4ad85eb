"""What came from the broker becomes a typed message, or a reason why not. Pure: bytes in, value out, no clock.

The contract's decoder checks types and bounds. This adds what it cannot see: that a gateway speaks for itself only,
that binary parts have the size which the fields beside them promise, and that no number is NaN or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from cloud_hub.store.writer import Message
from models.contract import topics
from models.contract.frames import MAX_RATE_HZ
from models.contract.messages import Ack, AgentState, AlarmEvent, CaptureChunk, Evidence, TrendBatch, decode
from models.errors import MessageError, SchemaError, TopicError

# `topics.Get` also comes up, but is for delivery, not for the store.
_KINDS: dict[type[topics.Address], type[Message]] = {
    topics.State: AgentState,
    topics.Ack: Ack,
    topics.Event: AlarmEvent,
    topics.Trend: TrendBatch,
    topics.Capture: CaptureChunk,
}


class RejectionError(Exception):
    """A message is not taken. `reason` is one of `topic`, `schema`, `message`, `gateway`, `bounds`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def parse(topic: str, payload: bytes) -> Message | None:
    """The message, or None for one that is none of ours to store.

    Raises: RejectionError: with the reason; the text says what was expected, what came and where.
    """
    try:
        address = _address_of(topic)
    except TopicError as error:
        raise RejectionError("topic", str(error)) from error
    kind = _KINDS.get(type(address))
    if kind is None:
        return None
    try:
        message = decode(kind, payload, topic)
    except SchemaError as error:
        raise RejectionError("schema", str(error)) from error
    except MessageError as error:
        raise RejectionError("message", str(error)) from error
    expected = getattr(address, "gateway", None)
    if message.gateway != expected:
        raise RejectionError("gateway", f"{topic}: expected a message of {expected}, got one of {message.gateway}")
    _check(message, topic)
    return message


@lru_cache(maxsize=65_536)
def _address_of(topic: str) -> topics.Address:
    """A gateway sends on the same few topics for ever: checking each once saves most of the time that parsing takes."""
    return topics.address_of(topic)


def _check(message: Message, topic: str) -> None:
    if isinstance(message, AlarmEvent):
        if message.evidence is not None:
            _check_evidence(message.evidence, f"{topic}, event {message.seq}, evidence")
    elif isinstance(message, TrendBatch):
        _check_trends(message, f"{topic}, batch {message.seq}")
    elif isinstance(message, CaptureChunk):
        _check_chunk(message, f"{topic}, capture {message.capture}, chunk {message.index}")


def _check_evidence(evidence: Evidence, where: str) -> None:
    _check_rate(evidence.rate_hz, where)
    expected = evidence.samples * len(evidence.axes) * 4
    if len(evidence.window) != expected:
        raise RejectionError(
            "bounds",
            f"{where}: {evidence.samples} samples of {len(evidence.axes)} axes need {expected} bytes, "
            f"got {len(evidence.window)}",
        )
    _check_finite_bytes(evidence.window, f"{where}, window")
    if len(evidence.shift) % 4:
        raise RejectionError("bounds", f"{where}, shift: expected a multiple of 4 bytes, got {len(evidence.shift)}")
    _check_finite_bytes(evidence.shift, f"{where}, shift")


def _check_trends(batch: TrendBatch, where: str) -> None:
    for i, row in enumerate(batch.rows):
        total = row.time_s + row.span_s + (row.score_mean or 0.0) + (row.score_max or 0.0) + sum(row.rms)
        if not math.isfinite(total):  # one look at the sum; the slow one says which number it is, or that none is
            _check_finite([row.time_s, row.span_s, row.score_mean, row.score_max, *row.rms], f"{where}, row {i}")
    if batch.health is not None:
        h = batch.health
        _check_finite([h.time_s, h.rss_mb, h.cpu_s, h.window_us], f"{where}, health")


def _check_chunk(chunk: CaptureChunk, where: str) -> None:
    _check_rate(chunk.rate_hz, where)
    _check_finite([chunk.time_s], where)
    if chunk.index >= chunk.total:
        raise RejectionError("bounds", f"{where}: expected an index below the total of {chunk.total}")
    step = 4 * len(chunk.axes)
    if not chunk.data or len(chunk.data) % step:
        raise RejectionError("bounds", f"{where}: expected a multiple of {step} bytes of data, got {len(chunk.data)}")
    _check_finite_bytes(chunk.data, f"{where}, data")


def _check_rate(rate_hz: float, where: str) -> None:
    if not 0.0 < rate_hz <= MAX_RATE_HZ:  # also false for NaN
        raise RejectionError("bounds", f"{where}, rate_hz: expected above 0 and at most {MAX_RATE_HZ:g}, got {rate_hz}")


def _check_finite(values: Iterable[float | None], where: str) -> None:
    """MessagePack, unlike JSON, can say NaN and infinity."""
    for value in values:
        if value is not None and not math.isfinite(value):
            raise RejectionError("bounds", f"{where}: expected finite numbers, got {value}")


def _check_finite_bytes(data: bytes, where: str) -> None:
    if not np.isfinite(np.frombuffer(data, "<f4")).all():
        raise RejectionError("bounds", f"{where}: expected finite samples, got NaN or infinity")
