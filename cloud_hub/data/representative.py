"""Rows that stand for what a network will see: plain rows, or clips of log-mel frames cut into windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloud_hub.data.clips import FRAMES_IN_WINDOW, clip_windows, load_clips, read_arrays
from cloud_hub.errors import DataError
from models.signal.arrays import F32

MIN_ROWS = 64
_ROWS_IN_UNIT = 6
_MAX_GROUPED = 6000
_MAX_CLIPS = 800
_MAX_WINDOWS = 48  # of one clip: neighbours share four of their five frames


def load_representative(path: Path, inputs: int, seed: int) -> tuple[F32, int]:
    """Read `X`: (n, inputs), or clips (clips, frames, mels) that are cut into windows.

    Returns: units (units, windows, inputs) of rows whose scores are averaged, and the period of the inputs' meaning.
             Of clips a unit is a clip and the period the mels; plain rows are joined with the rows nearest to them.
    Raises:  DataError: not such a file, the wrong width, values that are no numbers, or too few rows to judge anything.
    """
    arrays = read_arrays(path)
    if "X" not in arrays:
        raise DataError(f"{path}: expected an array X (n, {inputs}) or (clips, frames, mels), it has no X")
    x = arrays["X"]
    if x.ndim == 3:
        clips = load_clips(path, labels=False).x
        check_width(path, clips, inputs)
        units = _sampled_windows(clips)
        _check_rows(path, units.reshape(-1, inputs))
        return units, clips.shape[2]
    if x.ndim != 2 or x.dtype.kind not in "fiu":
        raise DataError(f"{path}, X: expected numbers (n, {inputs}) or (clips, frames, mels), got {x.dtype} {x.shape}")
    if x.shape[1] != inputs:
        raise DataError(f"{path}, X: the network has {inputs} inputs, the rows have {x.shape[1]}")
    rows = x.astype(np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise DataError(f"{path}, X: {int(bad.sum())} rows hold values that are no numbers, first row {bad.argmax()}")
    _check_rows(path, rows)
    return grouped(rows, np.random.default_rng(seed)), inputs


def _sampled_windows(clips: F32) -> F32:
    """Windows of clips, of very many clips an even selection: (clips, windows, inputs)."""
    chosen = clips[np.unique(np.linspace(0, len(clips) - 1, min(len(clips), _MAX_CLIPS)).astype(int))]
    step = -(-(clips.shape[1] - FRAMES_IN_WINDOW + 1) // _MAX_WINDOWS)
    return np.concatenate([clip_windows(chosen[i : i + 1])[:, ::step] for i in range(len(chosen))])


def check_width(path: Path, clips: F32, inputs: int) -> None:
    """Raises: DataError: windows of these clips do not fit the network."""
    width = FRAMES_IN_WINDOW * clips.shape[2]
    if width != inputs:
        raise DataError(
            f"{path}, X: windows of {FRAMES_IN_WINDOW} frames of {clips.shape[2]} mels are {width} inputs, the network "
            f"has {inputs}"
        )


def _check_rows(path: Path, rows: F32) -> None:
    if len(rows) < MIN_ROWS:
        raise DataError(f"{path}, X: expected at least {MIN_ROWS} rows that stand for the data, got {len(rows)}")
    if (rows == rows[0]).all():
        raise DataError(f"{path}, X: all {len(rows)} rows are the same, they stand for nothing")


def grouped(rows: F32, rng: np.random.Generator) -> F32:
    """Rows joined with those nearest to them, each in one group: what a clip's windows are to each other.

    A score is mostly averaged over windows of one state of the machine, where rounding is averaged away and what the
    state itself does to the score stays; rows alone, or drawn at random, would hide that.

    Returns: (groups, rows in a group, inputs), of at most `_MAX_GROUPED` rows; a rest shorter than a group is left out.
    """
    rows = rows[rng.permutation(len(rows))[:_MAX_GROUPED]]
    centred = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-12)
    squares = np.square(centred).sum(axis=1)
    free = np.ones(len(rows), bool)
    groups = []
    for seed_row in range(len(rows)):
        if not free[seed_row]:
            continue
        left = np.flatnonzero(free)
        if len(left) < _ROWS_IN_UNIT:
            break
        distance = squares[left] - 2 * (centred[left] @ centred[seed_row])
        nearest = left[np.argpartition(distance, _ROWS_IN_UNIT - 1)[:_ROWS_IN_UNIT]]
        free[nearest] = False
        groups.append(nearest)
    return rows[np.array(groups)]
