"""The metadata message: round trip, bounds, nothing but MessageError for whatever may come."""

from __future__ import annotations

import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle.metadata import MAX_FILES, NAME, decode_metadata, encode_metadata
from models.contract.messages import MAX_METADATA_BYTES, MAX_METADATA_INFLATED_BYTES
from models.errors import MessageError

FILES = {"1.root.json": b"{}" * 400, "timestamp.json": b"{}", "12.targets.json": b'{"x": 1}'}


def pack(value: object) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(value))


def test_round_trip_and_same_bytes_in_any_order():
    payload = encode_metadata(FILES)
    assert decode_metadata(payload, "test") == FILES
    assert payload == encode_metadata(dict(reversed(FILES.items())))


def test_bomb_is_not_inflated():
    bomb = zlib.compress(bytes(30 * 2**20), 9)
    assert len(bomb) <= MAX_METADATA_BYTES
    with pytest.raises(MessageError, match=rf"test: inflates to more than {MAX_METADATA_INFLATED_BYTES} bytes"):
        decode_metadata(bomb, "test")


BAD = {
    "empty": (b"", "one whole zlib stream"),
    "not zlib": (b"hello", "expected zlib data"),
    "cut": (encode_metadata(FILES)[:-3], "one whole zlib stream"),
    "junk behind": (encode_metadata(FILES) + b"x", "one whole zlib stream"),
    "too long": (bytes(MAX_METADATA_BYTES + 1), "expected at most 32768 bytes"),
    "list": (pack([1, 2]), "expected a MessagePack map"),
    "text values": (pack({"root.json": 1}), "expected a MessagePack map"),
    "path": (pack({"../root.json": b""}), r"got '\.\./root\.json'"),
    "absolute": (pack({"/etc/passwd": b""}), "got '/etc/passwd'"),
    "leading zero": (pack({"01.root.json": b""}), "got '01"),
    "line feed": (pack({"root.json\n": b""}), "expected a name such as"),
    "many": (pack({f"{i + 1}.root.json": b"" for i in range(MAX_FILES + 1)}), "expected at most 256 files"),
    "deep": (zlib.compress(b"\x81" * 100_000), "MessagePack"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad(case: str):
    payload, text = BAD[case]
    with pytest.raises(MessageError, match=text):
        decode_metadata(payload, "test")


def test_encoder_keeps_the_bounds():
    with pytest.raises(MessageError, match="expected a name"):
        encode_metadata({"../x.json": b""})
    with pytest.raises(MessageError, match="at most 262144 bytes, got"):
        encode_metadata({"root.json": bytes(MAX_METADATA_INFLATED_BYTES)})
    with pytest.raises(MessageError, match="at most 32768 compressed bytes, got"):
        encode_metadata({"root.json": np.random.default_rng(1).bytes(40_000)})
    with pytest.raises(MessageError, match="at most 256 files, got 300"):
        encode_metadata({f"{i + 1}.root.json": b"" for i in range(300)})


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(zlib.compress)))
def test_fuzz(payload: bytes):
    try:
        files = decode_metadata(payload, "fuzz")
    except MessageError:
        return
    assert all(NAME.fullmatch(name) for name in files)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.from_regex(NAME, fullmatch=True), st.binary(max_size=300), max_size=10))
def test_round_trip_of_anything(files: dict[str, bytes]):
    assert decode_metadata(encode_metadata(files), "fuzz") == files
