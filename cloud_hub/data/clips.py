"""Clips as the MLPerf Tiny anomaly-detection benchmark has them: log-mel frames instead of samples.

An npz file holds `X` (clips, frames, mels), and for scoring `y` (clips,), 0 healthy and 1 anomalous. The benchmark's
network sees every run of five consecutive frames, frame-major, and a clip's score is the mean of its windows' scores
(Banbury et al. 2021; windows as in the reference's `file_to_vector_array`).
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_hub.errors import DataError
from models.signal.arrays import F32, Ints

FRAMES_IN_WINDOW = 5
_MAX_VALUES = 400_000_000


@dataclass(frozen=True, slots=True)
class Clips:
    """`x`: (clips, frames, mels) float32, finite. `y`: (clips,) 0 or 1, None when the file has none."""

    x: F32
    y: Ints | None
    name: str
    sha256: str


def load_clips(path: Path, *, labels: bool) -> Clips:
    """Read clips. `labels`: they are needed, of both kinds.

    Raises: DataError: not such a file; the text names file and array, what was expected and what came.
    """
    arrays = read_arrays(path)
    if "X" not in arrays:
        raise DataError(f"{path}: expected an array X (clips, frames, mels), it has {', '.join(arrays) or 'none'}")
    x = arrays["X"]
    if x.ndim != 3 or x.dtype.kind not in "fiu" or not 0 < x.size <= _MAX_VALUES:
        raise DataError(f"{path}, X: expected numbers (clips, frames, mels), got {x.dtype} {x.shape}")
    if x.shape[1] < FRAMES_IN_WINDOW:
        raise DataError(f"{path}, X: a window has {FRAMES_IN_WINDOW} frames, the clips have {x.shape[1]}")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is refused with the rest
        clips = x.astype(np.float32, copy=False)
    # One clip at a time: a mask over all of them would take a quarter of their own size.
    bad = np.flatnonzero([not np.isfinite(clip).all() for clip in clips])
    if len(bad):
        which = ", ".join(map(str, bad[:5].tolist())) + (", ..." if len(bad) > 5 else "")
        raise DataError(
            f"{path}, X: expected finite numbers, {len(bad)} of {len(clips)} clips hold NaN, infinity or values beyond "
            f"float32: clips {which}"
        )
    y = _labels(path, arrays, len(clips)) if labels else None
    return Clips(clips, y, path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def read_arrays(path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """The arrays `X` and `y` of an npz file, those that it has. Raises: DataError: it cannot be read."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _array(path, name, archive) for name in archive.files if name in {"X", "y"}}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise DataError(f"{path}: not an npz file that can be read: {error}") from error


def _array(path: Path, name: str, archive: np.lib.npyio.NpzFile) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    try:
        array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = archive[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"{path}, {name}: expected one array of numbers, got an array of objects, as clips of different lengths "
            "make it: cut them to one length, or store each length in a file of its own"
        ) from error
    return array


def _labels(path: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], clips: int) -> Ints:
    y = arrays.get("y")
    if y is None or y.shape != (clips,):
        got = "none" if y is None else f"shape {y.shape}"
        raise DataError(f"{path}: expected labels y ({clips},), got {got}")
    values = set(np.unique(y).tolist())
    if values != {0, 1}:
        raise DataError(f"{path}, y: expected 0 (healthy) and 1 (anomalous), both, got {sorted(values)[:6]}")
    return y.astype(np.int64)


def clip_windows(x: F32) -> F32:
    """Windows of five consecutive frames, frame-major.

    Args:    x: (clips, frames, mels).
    Returns: (clips, frames - 4, 5 * mels), a copy.
    """
    view = np.lib.stride_tricks.sliding_window_view(x, FRAMES_IN_WINDOW, axis=1)  # (clips, windows, mels, 5)
    return np.ascontiguousarray(view.transpose(0, 1, 3, 2)).reshape(len(x), view.shape[1], -1)


def holds_clips(path: Path) -> bool:
    """Whether a file is an npz with an array `X` of three dimensions, which no recording has. Reads only its header."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive, archive.open("X.npy") as member:
            major, _ = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            return len(read(member)[0]) == 3
    except (KeyError, ValueError, OSError, zipfile.BadZipFile):
        return False  # whatever it is, the reader of recordings says what is wrong with it


def pool_clips(parts: list[Clips]) -> Clips:
    """Clips of several files as one; the digest is that of the only file, or of all digests in order.

    Raises: DataError: frames or bands differ.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.x.shape[1:] != first.x.shape[1:]:
            raise DataError(
                f"{part.name}, X: expected clips of {first.x.shape[1:]} as in {first.name}, got {part.x.shape[1:]}"
            )
    if len(parts) == 1:
        return first
    digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    name = "+".join(part.name for part in parts)[:200]
    return Clips(np.concatenate([part.x for part in parts]), None, name, digest)
