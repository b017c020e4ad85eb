"""Sensor frames: what a node sends, many times a second, so they are binary and decode without a Python loop.

Layout, little-endian, fixed header then one entry per axis then samples then checksum:

    offset size field
     0     2    magic, b"MF"
     2     1    version, 1
     3     1    sample format: 0 = int16 counts, 1 = float32 physical units
     4     2    flags (`FrameFlag`)
     6     1    port: which of the node's sensor positions
     7     1    axes, 1 to 8
     8     2    samples per axis, 1 to 8192
    10     2    reserved, 0
    12     4    boot id: a random number drawn at each start of the node
    16     4    sequence number of the frame within (boot, port), wraps at 2^32
    20     8    sample clock: index of the first sample since boot; a gap here is lost samples, whatever was lost
    28     8    node's UTC clock at the first sample, microseconds since 1970 (may drift, may be 0 = unknown)
    36     8    sampling rate, Hz, float64
    44     4*a  scale of each axis, float32: physical unit per count (1.0 in format 1)
     ...        samples, sample-major (all axes of sample 0, then of sample 1), int16 or float32; once scaled, none
                is larger than 1e8
    end-4  4    CRC-32 (as in zlib) of all bytes before it: nodes also sit behind serial lines and UDP bridges
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import FrameError

F32 = npt.NDArray[np.float32]
I16 = npt.NDArray[np.int16]

MAGIC = b"MF"
VERSION = 1
MAX_AXES = 32
MAX_SAMPLES = 8192
MAX_RATE_HZ = 1_000_000.0
MAX_VALUE = 1e8
"""No sample is larger: float32 has no whole numbers left there, and the fourth power still has room for a sum."""
_HEADER = struct.Struct("<2sBBHBBHHIIQQd")
_CRC = struct.Struct("<I")
MAX_FRAME_BYTES = _HEADER.size + MAX_AXES * 4 + MAX_SAMPLES * MAX_AXES * 4 + _CRC.size
_CLOCK_LIMIT = 2**62  # keeps sums of clocks within int64


class SampleFormat(enum.IntEnum):
    """How samples are stored."""

    INT16 = 0
    FLOAT32 = 1


class FrameFlag(enum.IntFlag):
    """What the node knows to be special about a frame. Unknown bits are kept, not refused."""

    NONE = 0
    OVERRUN = 1  # the board lost samples before this frame
    SATURATED = 2  # at least one sample is at the end of the converter's range
    FIRST_AFTER_BOOT = 4
    SENSOR_FAULT = 8  # the board's own check of its sensor failed


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame. `samples`: (n_samples, n_axes) float32, physical units, oldest first."""

    boot_id: int
    seq: int
    port: int
    flags: FrameFlag
    rate_hz: float
    clock: int
    time_us: int
    samples: F32

    @property
    def end_clock(self) -> int:
        """The sample clock that the next frame should begin with."""
        return self.clock + len(self.samples)


def encode_counts(
    counts: I16,
    scale: npt.ArrayLike,
    *,
    boot_id: int,
    seq: int,
    clock: int,
    rate_hz: float,
    time_us: int = 0,
    port: int = 0,
    flags: FrameFlag = FrameFlag.NONE,
) -> bytes:
    """A frame of converter counts.

    Args:   counts: (n_samples, n_axes) int16. scale: (n_axes,), physical unit per count.
    Raises: FrameError: a size or number outside the format's bounds.
    """
    header = _pack_header(counts.shape, SampleFormat.INT16, boot_id, seq, clock, rate_hz, time_us, port, flags)
    scales = np.broadcast_to(np.asarray(scale, "<f4"), (counts.shape[1],))
    return _seal(header, scales.tobytes(), np.ascontiguousarray(counts, "<i2").tobytes())


def encode_values(
    values: F32,
    *,
    boot_id: int,
    seq: int,
    clock: int,
    rate_hz: float,
    time_us: int = 0,
    port: int = 0,
    flags: FrameFlag = FrameFlag.NONE,
) -> bytes:
    """A frame of physical values, for slow signals. `values`: (n_samples, n_axes). Raises: FrameError."""
    header = _pack_header(values.shape, SampleFormat.FLOAT32, boot_id, seq, clock, rate_hz, time_us, port, flags)
    scales = np.ones(values.shape[1], "<f4")
    return _seal(header, scales.tobytes(), np.ascontiguousarray(values, "<f4").tobytes())


def _pack_header(
    shape: tuple[int, ...],
    fmt: SampleFormat,
    boot_id: int,
    seq: int,
    clock: int,
    rate_hz: float,
    time_us: int,
    port: int,
    flags: FrameFlag,
) -> bytes:
    if len(shape) != 2 or not (1 <= shape[0] <= MAX_SAMPLES and 1 <= shape[1] <= MAX_AXES):
        raise FrameError("size", f"frame: expected (1..{MAX_SAMPLES}, 1..{MAX_AXES}) samples, got {shape}")
    try:
        return _HEADER.pack(
            MAGIC, VERSION, fmt, flags, port, shape[1], shape[0], 0, boot_id, seq & 0xFFFFFFFF, clock, time_us, rate_hz
        )
    except struct.error as error:
        raise FrameError("size", f"frame: a header field is out of range: {error}") from error


def _seal(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return body + _CRC.pack(zlib.crc32(body))


def decode_frame(data: bytes) -> Frame:
    """Decode and check one frame.

    Returns: a `Frame`; its samples are a fresh array.
    Raises:  FrameError with `reason` one of `short`, `long`, `magic`, `version`, `size`, `rate`, `crc`, `nan`,
             `range`.
    """
    if len(data) < _HEADER.size + _CRC.size:
        raise FrameError("short", f"frame: expected at least {_HEADER.size + _CRC.size} bytes, got {len(data)}")
    if len(data) > MAX_FRAME_BYTES:
        raise FrameError("long", f"frame: expected at most {MAX_FRAME_BYTES} bytes, got {len(data)}")
    magic, version, fmt, flags, port, axes, count, _, boot_id, seq, clock, time_us, rate_hz = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FrameError("magic", f"frame: expected it to begin with {MAGIC!r}, got {magic!r}")
    if version != VERSION:
        raise FrameError("version", f"frame: expected version {VERSION}, got {version}")
    if fmt not in (SampleFormat.INT16, SampleFormat.FLOAT32):
        raise FrameError("version", f"frame, sample format: expected 0 or 1, got {fmt}")
    if not (1 <= axes <= MAX_AXES and 1 <= count <= MAX_SAMPLES and clock < _CLOCK_LIMIT and time_us < _CLOCK_LIMIT):
        raise FrameError("size", f"frame: {count} samples of {axes} axes at clock {clock} are out of bounds")
    if not 0.0 < rate_hz <= MAX_RATE_HZ:  # also false for NaN
        raise FrameError("rate", f"frame, rate_hz: expected above 0 and at most {MAX_RATE_HZ:g}, got {rate_hz}")
    width = 2 if fmt == SampleFormat.INT16 else 4
    expected = _HEADER.size + axes * 4 + count * axes * width + _CRC.size
    if len(data) != expected:
        reason = "short" if len(data) < expected else "long"
        raise FrameError(reason, f"frame: {count} samples of {axes} axes need {expected} bytes, got {len(data)}")
    (crc,) = _CRC.unpack_from(data, expected - _CRC.size)
    if crc != zlib.crc32(memoryview(data)[: expected - _CRC.size]):
        raise FrameError("crc", f"frame {seq} of boot {boot_id:08x}: checksum differs")
    scale = np.frombuffer(data, "<f4", axes, _HEADER.size)
    raw = np.frombuffer(data, "<i2" if width == 2 else "<f4", count * axes, _HEADER.size + axes * 4)
    samples = raw.reshape(count, axes).astype(np.float32) * scale
    # Counts cannot leave what their scale allows, so that most samples need not be looked at.
    bounded = width == 2 and all(abs(one) <= MAX_VALUE / 2**15 for one in scale.tolist())
    if not bounded and not (float(samples.min()) >= -MAX_VALUE and float(samples.max()) <= MAX_VALUE):
        if not np.isfinite(samples).all():
            raise FrameError("nan", f"frame {seq} of boot {boot_id:08x}: NaN or infinite samples")
        raise FrameError("range", f"frame {seq} of boot {boot_id:08x}: samples beyond +-{MAX_VALUE:g}")
    return Frame(boot_id, seq, port, FrameFlag(flags), rate_hz, clock, time_us, samples)
