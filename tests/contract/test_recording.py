from __future__ import annotations

import contextlib
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.frames import MAX_FRAME_BYTES
from models.contract.recording import MAGIC, read_records, write_header, write_record
from models.errors import ContractError


def recorded(records: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    write_header(file)
    for topic, payload in records:
        write_record(file, topic, payload)
    return file.getvalue()


def error_of(data: bytes) -> str:
    with pytest.raises(ContractError) as error:
        list(read_records(io.BytesIO(data), "a.mwrec"))
    return str(error.value)


@given(st.lists(st.tuples(st.text(max_size=60), st.binary(max_size=300)), max_size=20))
def test_what_is_written_is_read(records):
    assert list(read_records(io.BytesIO(recorded(records)), "a.mwrec")) == records


def test_golden_bytes():
    assert recorded([("a/b", b"xyz")]) == b"MWREC\x01\n" + b"\x03\x00" + b"\x03\x00\x00\x00" + b"a/b" + b"xyz"


def test_not_a_recording():
    expected = "a.mwrec: not a recording of frames (expected it to begin with b'MWREC\\x01\\n')"
    assert error_of(b"") == expected
    assert error_of(b"MWREC\x02\nabc") == expected


def test_every_cut_is_noticed_or_falls_between_records():
    whole = recorded([("a/b", b"xyz"), ("c", b"")])
    ends = {len(MAGIC): 0, len(MAGIC) + 12: 1, len(whole): 2}
    for cut in range(len(MAGIC), len(whole) + 1):
        if cut in ends:
            assert len(list(read_records(io.BytesIO(whole[:cut]), "a.mwrec"))) == ends[cut]
        else:
            assert "cut short within a record" in error_of(whole[:cut])


def test_what_came_before_a_cut_is_read():
    reader = read_records(io.BytesIO(recorded([("a", b"x"), ("b", b"y")])[:-1]), "a.mwrec")
    assert next(reader) == ("a", b"x")
    with pytest.raises(ContractError, match=r"^a\.mwrec, byte 15: cut short within a record$"):
        next(reader)


@pytest.mark.parametrize("sizes", [(257, 0), (1, MAX_FRAME_BYTES + 1), (65535, 2**32 - 1)])
def test_absurd_lengths_are_refused_before_anything_is_read(sizes):
    assert (
        error_of(MAGIC + struct.pack("<HI", *sizes))
        == f"a.mwrec, byte 7: a record of {sizes[0]} + {sizes[1]} bytes is too long"
    )


def test_a_topic_that_is_not_text():
    assert error_of(MAGIC + struct.pack("<HI", 1, 0) + b"\xff") == "a.mwrec, byte 7: the topic is not UTF-8"


@given(st.binary(max_size=200))
def test_junk_never_raises_anything_else(junk):
    for data in (junk, MAGIC + junk):
        with contextlib.suppress(ContractError):
            list(read_records(io.BytesIO(data), "a.mwrec"))


@pytest.mark.parametrize("record", [("t" * 257, b""), ("t", bytes(MAX_FRAME_BYTES + 1))])
def test_nothing_is_written_that_would_not_be_read(record):
    file = io.BytesIO()
    with pytest.raises(ContractError, match=r"is too long$"):
        write_record(file, *record)
    assert file.getvalue() == b""
