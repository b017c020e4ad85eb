import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.contract.frames import (
    MAX_AXES,
    MAX_FRAME_BYTES,
    MAX_SAMPLES,
    FrameFlag,
    decode_frame,
    encode_counts,
    encode_values,
)
from models.errors import FrameError

COUNTS = np.array([[1, -2], [300, -32768], [0, 32767]], np.int16)
HEAD = {"boot_id": 0xDEADBEEF, "seq": 41, "clock": 9_000_000_000, "rate_hz": 25_600.0, "time_us": 1_700_000_000_000_000}

# One frame, byte for byte, so that firmware in another language can be checked against it.
GOLDEN = bytes.fromhex(
    "4d46010005000302030000 00efbeadde2900000000 1a711802000000 00401e18240a0600 000000000000d940"
    "0000003f0000803e 0100feff2c01008000 00ff7f".replace(" ", "")
)


def good() -> bytes:
    return encode_counts(COUNTS, [0.5, 0.25], **HEAD, port=3, flags=FrameFlag.OVERRUN | FrameFlag.FIRST_AFTER_BOOT)


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def test_golden_bytes() -> None:
    assert good() == sealed(GOLDEN)
    frame = decode_frame(sealed(GOLDEN))
    assert (frame.boot_id, frame.seq, frame.port, frame.clock) == (0xDEADBEEF, 41, 3, 9_000_000_000)
    assert frame.flags == FrameFlag.OVERRUN | FrameFlag.FIRST_AFTER_BOOT
    assert frame.end_clock == 9_000_000_003
    np.testing.assert_array_equal(frame.samples, COUNTS * np.float32([0.5, 0.25]))
    assert frame.samples.dtype == np.float32


@given(
    hnp.arrays(np.int16, st.tuples(st.integers(1, 200), st.integers(1, MAX_AXES))),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**61),
    st.floats(0.001, 1e6),
    st.floats(2**-20, 1024, width=32),
)
def test_counts_survive_the_way(
    counts: np.ndarray, boot: int, seq: int, clock: int, rate_hz: float, scale: float
) -> None:
    frame = decode_frame(encode_counts(counts, scale, boot_id=boot, seq=seq, clock=clock, rate_hz=rate_hz))
    assert (frame.boot_id, frame.seq, frame.clock, frame.rate_hz) == (boot, seq, clock, rate_hz)
    np.testing.assert_array_equal(frame.samples, counts.astype(np.float32) * np.float32(scale))


@given(hnp.arrays(np.float32, (7, 3), elements=st.floats(-1e8, 1e8, width=32)))
def test_values_survive_the_way(values: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_frame(encode_values(values, **HEAD)).samples, values)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_error(data: bytes) -> None:
    for candidate in (data, b"MF\x01" + data, sealed(data)):
        with pytest.raises(FrameError):
            decode_frame(candidate)


@given(st.integers(0, len(GOLDEN) * 8 - 1))
def test_no_flipped_bit_goes_through(bit: int) -> None:
    damaged = bytearray(good())
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        decode_frame(bytes(damaged))


@given(st.integers(0, len(GOLDEN) + 3))
def test_no_cut_frame_goes_through(length: int) -> None:
    with pytest.raises(FrameError) as caught:
        decode_frame(good()[:length])
    assert caught.value.reason == "short"


def patched(offset: int, fmt: str, value: float) -> bytes:
    body = bytearray(good()[:-4])
    struct.pack_into(fmt, body, offset, value)
    return sealed(bytes(body))


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (patched(2, "<B", 2), "version", "expected version 1, got 2"),
        (patched(3, "<B", 7), "version", "sample format: expected 0 or 1, got 7"),
        (patched(7, "<B", 0), "size", "3 samples of 0 axes"),
        (patched(7, "<B", 200), "size", "of 200 axes"),
        (patched(8, "<H", 65_535), "size", "65535 samples"),
        (patched(8, "<H", 8000), "short", "8000 samples of 2 axes need"),
        (patched(8, "<H", 1), "long", "1 samples of 2 axes need"),
        (patched(20, "<Q", 2**63), "size", "out of bounds"),
        (patched(36, "<d", 0.0), "rate", "expected above 0"),
        (patched(36, "<d", float("nan")), "rate", "got nan"),
        (patched(36, "<d", float("inf")), "rate", "got inf"),
        (patched(44, "<f", float("nan")), "nan", "NaN or infinite"),
        (b"XX" + good()[2:], "magic", "expected it to begin with b'MF', got b'XX'"),
        (b"MF" * MAX_FRAME_BYTES, "long", "at most"),
        (b"", "short", "at least 48 bytes, got 0"),
    ],
)
def test_each_mistake_has_its_counter_and_says_what_came(data: bytes, reason: str, text: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_frame(data)
    assert caught.value.reason == reason
    assert text in str(caught.value)


def test_unknown_flags_are_kept() -> None:
    frame = decode_frame(patched(4, "<H", 0x8001))
    assert int(frame.flags) == 0x8001


@pytest.mark.parametrize("shape", [(0, 1), (MAX_SAMPLES + 1, 1), (1, MAX_AXES + 1), (1, 0)])
def test_frames_out_of_bounds_cannot_be_made(shape: tuple[int, int]) -> None:
    with pytest.raises(FrameError) as caught:
        encode_counts(np.zeros(shape, np.int16), 1.0, **HEAD)
    assert caught.value.reason == "size"
    with pytest.raises(FrameError):
        encode_values(np.zeros((1, 1), np.float32), **(HEAD | {"boot_id": 2**40}))
