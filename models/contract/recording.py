r"""Recordings of frames: what a link would have published, in a file.

Layout: magic b"MWREC\x01\n", then records, each: topic length (uint16, little-endian), payload length (uint32), topic
(UTF-8), payload. Nothing else: a file that was cut off is good up to its last whole record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from models.contract.frames import MAX_FRAME_BYTES
from models.errors import ContractError

MAGIC = b"MWREC\x01\n"
_HEAD = struct.Struct("<HI")
_MAX_TOPIC_BYTES = 256


def write_header(file: BinaryIO) -> None:
    """Begin a recording."""
    file.write(MAGIC)


def write_record(file: BinaryIO, topic: str, payload: bytes) -> None:
    """Append one message. Raises: ContractError: one that `read_records` would refuse."""
    encoded = topic.encode()
    if len(encoded) > _MAX_TOPIC_BYTES or len(payload) > MAX_FRAME_BYTES:
        raise ContractError(f"recording: a record of {len(encoded)} + {len(payload)} bytes is too long")
    file.write(_HEAD.pack(len(encoded), len(payload)) + encoded + payload)


def read_records(file: BinaryIO, where: str) -> Iterator[tuple[str, bytes]]:
    """The messages of a recording, in order.

    Raises: ContractError: not a recording, cut short, or with an absurd length; the text gives the byte offset.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise ContractError(f"{where}: not a recording of frames (expected it to begin with {MAGIC!r})")
    while head := file.read(_HEAD.size):
        at = file.tell() - len(head)
        if len(head) < _HEAD.size:
            raise ContractError(f"{where}, byte {at}: cut short within a record's head")
        topic_bytes, payload_bytes = _HEAD.unpack(head)
        if topic_bytes > _MAX_TOPIC_BYTES or payload_bytes > MAX_FRAME_BYTES:
            raise ContractError(f"{where}, byte {at}: a record of {topic_bytes} + {payload_bytes} bytes is too long")
        body = file.read(topic_bytes + payload_bytes)
        if len(body) < topic_bytes + payload_bytes:
            raise ContractError(f"{where}, byte {at}: cut short within a record")
        try:
            topic = body[:topic_bytes].decode()
        except UnicodeDecodeError as error:
            raise ContractError(f"{where}, byte {at}: the topic is not UTF-8") from error
        yield topic, body[topic_bytes:]
