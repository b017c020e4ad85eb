"""All TUF metadata of a repository in one message: zlib over a MessagePack map, file name to content.

One retained message instead of many, so that a gateway always sees metadata that belong together. What comes from the
broker is untrusted: the compressed and the inflated size, the number of files and their names are bounded here, before
anything is interpreted. Whether the content is to be trusted is for TUF to say.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import msgspec

from models.contract.messages import MAX_METADATA_BYTES, MAX_METADATA_INFLATED_BYTES
from models.errors import MessageError

MAX_FILES = 256
# 3.root.json, timestamp.json, 12.targets.json: versions without leading zeros, nothing that could be a path.
NAME = re.compile(r"(?:[1-9][0-9]{0,8}\.)?[a-z][a-z0-9_-]{0,31}\.json")


def encode_metadata(files: Mapping[str, bytes]) -> bytes:
    """The message for these files; the same files always give the same bytes.

    Raises: MessageError: over a bound; the text says how much there is and how much may be.
    """
    for name in files:
        _check_name(name, "metadata")
    if len(files) > MAX_FILES:
        raise MessageError(f"metadata: expected at most {MAX_FILES} files, got {len(files)}")
    packed = msgspec.msgpack.encode({name: files[name] for name in sorted(files)})
    if len(packed) > MAX_METADATA_INFLATED_BYTES:
        raise MessageError(f"metadata: expected at most {MAX_METADATA_INFLATED_BYTES} bytes, got {len(packed)}")
    payload = zlib.compress(packed, 9)
    if len(payload) > MAX_METADATA_BYTES:
        raise MessageError(f"metadata: expected at most {MAX_METADATA_BYTES} compressed bytes, got {len(payload)}")
    return payload


def decode_metadata(payload: bytes, where: str) -> dict[str, bytes]:
    """The files in a message: the inverse of `encode_metadata`. Never inflates more than the bound.

    Raises: MessageError: not such a message, or over a bound.
    """
    if len(payload) > MAX_METADATA_BYTES:
        raise MessageError(f"{where}: expected at most {MAX_METADATA_BYTES} bytes of metadata, got {len(payload)}")
    inflater = zlib.decompressobj()
    try:
        packed = inflater.decompress(payload, MAX_METADATA_INFLATED_BYTES + 1)
    except zlib.error as error:
        raise MessageError(f"{where}: expected zlib data: {error}") from error
    if len(packed) > MAX_METADATA_INFLATED_BYTES:
        raise MessageError(f"{where}: inflates to more than {MAX_METADATA_INFLATED_BYTES} bytes of metadata")
    if not inflater.eof or inflater.unused_data:
        raise MessageError(f"{where}: expected one whole zlib stream, got {len(payload)} bytes that are not")
    try:
        files = msgspec.msgpack.decode(packed, type=dict[str, bytes])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"{where}: expected a MessagePack map of file names to bytes: {error}") from error
    if len(files) > MAX_FILES:
        raise MessageError(f"{where}: expected at most {MAX_FILES} files of metadata, got {len(files)}")
    for name in files:
        _check_name(name, where)
    return files


def _check_name(name: str, where: str) -> None:
    if NAME.fullmatch(name) is None:
        raise MessageError(f"{where}: expected a name such as 3.root.json, got {name[:80]!r}")
