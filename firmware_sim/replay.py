"""Replaying real recordings as frames, so that a gateway cannot tell them from a live sensor.

A file may carry a part, `FILE@0.6-1.0` (fractions). Every file is a new boot of the node: recordings do not join.
"""

from __future__ import annotations

import re
import threading
import time
import wave
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware_sim.board import Board, Converter, Flaws
from firmware_sim.errors import SimError
from firmware_sim.events import EventLog
from firmware_sim.link import Link
from firmware_sim.machines.running import F64
from firmware_sim.runner import Pace
from models.contract.ids import GatewayId, NodeId
from models.contract.topics import Frames, topic_of

_PART = re.compile(r"(?P<path>.+)@(?P<start>[0-9.]+)-(?P<end>[0-9.]+)")
_FRAME_S = 0.02
_RATE_KEYS = ("fs_hz", "rate_hz", "fs")


@dataclass(frozen=True, slots=True)
class Tape:
    """One file to replay. `samples`: (n, channels), in the recording's own unit."""

    name: str
    samples: F64
    rate_hz: float


def read_tape(source: str, channels: Sequence[str], rate_hz: float | None) -> Tape:
    """Read a file or a part of one.

    Raises: SimError: no such file or channel, values missing, or no sampling rate; names the file and what it has.
    """
    match = _PART.fullmatch(source)
    path = Path(match["path"] if match else source)
    if not path.is_file():
        raise SimError(f"{path}: no such file")
    columns, found_hz = _READERS.get(path.suffix.lower(), _unknown)(path)
    missing = [name for name in channels if name not in columns]
    if missing:
        raise SimError(f"{path}: no channel {', '.join(missing)}; it has {', '.join(columns)}")
    rate = found_hz if found_hz is not None else rate_hz
    if rate is None:
        raise SimError(f"{path}: its sampling rate is not in the file; give it with --rate")
    picked = [columns[name] for name in (channels or columns)]
    if len({len(c) for c in picked}) != 1:
        raise SimError(f"{path}: channels {', '.join(channels or columns)} are of different lengths")
    samples = np.stack(picked, axis=1).astype(np.float64)
    if not np.isfinite(samples).all():
        row = int(np.argwhere(~np.isfinite(samples))[0, 0])
        raise SimError(f"{path}: a value is missing or not a number in row {row + 1}")
    if match:
        samples = _part(samples, match["start"], match["end"], source)
    return Tape(Path(source).name, samples, rate)


def _part(samples: F64, start: str, end: str, source: str) -> F64:
    try:
        low, high = float(start), float(end)
    except ValueError as error:
        raise SimError(f"{source}: the part after @ should be START-END, such as @0.6-1.0") from error
    if not 0.0 <= low < high <= 1.0:
        raise SimError(f"{source}: expected 0 <= start < end <= 1 after @, got {start}-{end}")
    return samples[round(low * len(samples)) : round(high * len(samples))]


def _read_npz(path: Path) -> tuple[dict[str, F64], float | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise SimError(f"{path}: not an npz file that can be read: {error}") from error
    rate = next((float(arrays[key]) for key in _RATE_KEYS if key in arrays and arrays[key].ndim == 0), None)
    columns = {name: array for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "fiu"}
    if "data" in arrays and arrays["data"].ndim == 2:
        names = (
            [str(a) for a in arrays["axes"]] if "axes" in arrays else [f"ch{i}" for i in range(arrays["data"].shape[1])]
        )
        columns.update({name: arrays["data"][:, i] for i, name in enumerate(names)})
    return columns, rate


def _read_csv(path: Path) -> tuple[dict[str, F64], float | None]:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.readline().strip()
    delimiter = max(",;\t", key=head.count)
    names = head.split(delimiter)
    try:
        data = np.genfromtxt(path, delimiter=delimiter, skip_header=1, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise SimError(f"{path}: {error}") from error
    return {name: data[:, i] for i, name in enumerate(names)}, None


def _read_wav(path: Path) -> tuple[dict[str, F64], float | None]:
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise SimError(f"{path}: not a WAV file that can be read: {error}") from error
    if width not in {2, 4}:
        raise SimError(f"{path}: expected 16 or 32 bits a sample, got {8 * width}")
    data = np.frombuffer(raw, f"<i{width}").reshape(-1, channels) / float(2 ** (8 * width - 1))
    return {f"ch{i}": data[:, i] for i in range(channels)}, float(rate)


def _unknown(path: Path) -> tuple[dict[str, F64], float | None]:
    raise SimError(f"{path}: expected one of {', '.join(_READERS)}, got {path.suffix!r}")


_READERS = {".npz": _read_npz, ".csv": _read_csv, ".wav": _read_wav}


def replay(
    tapes: Sequence[Tape],
    *,
    gateway: GatewayId,
    node: NodeId,
    one_port: bool,
    link: Link,
    events: EventLog,
    speed: float,
    pause_s: float,
    stop: threading.Event,
    seed: int,
) -> int:
    """Send the tapes one after the other, with a pause of wall time between them.

    `one_port`: the channels are axes of one sensor position; else each channel has a port of its own.
    Returns: frames sent.
    """
    sent = 0
    topic = topic_of(Frames(gateway, node))
    for number, tape in enumerate(tapes):
        if stop.is_set():
            break
        ports = [tape.samples] if one_port else [tape.samples[:, [i]] for i in range(tape.samples.shape[1])]
        boards = []
        for port, samples in enumerate(ports):
            # The converter's range is the recording's own, so that replay adds no noise worth speaking of.
            converter = Converter(full_scale=float(np.abs(samples).max()) * 1.01 or 1.0, noise=0.0)
            rng = np.random.default_rng([seed, number, port])
            boards.append(Board(tape.rate_hz, rng, converter, Flaws(), int(time.time() * 1e6), port))
        details = {"name": tape.name, "samples": len(tape.samples), "rate_hz": tape.rate_hz}
        events.write("recording_started", time.time(), 0.0, **details)
        frame = max(1, min(4096, round(_FRAME_S * tape.rate_hz)))
        pace = Pace(speed)
        for start in range(0, len(tape.samples), frame):
            pace.wait_until((start + frame) / tape.rate_hz, stop)
            if stop.is_set():
                break
            for board, samples in zip(boards, ports, strict=True):
                for outgoing in board.frames(samples[start : start + frame], start):
                    link.send(topic, outgoing.payload)
                    sent += 1
        events.write("recording_ended", time.time(), len(tape.samples) / tape.rate_hz, **details)
        stop.wait(pause_s)
    return sent
