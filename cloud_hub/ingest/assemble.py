"""Makes `<capture id>.npz` of a complete capture: whole and on disk under its name, or not there at all.

Keys: `data` (n, axes) float32, `rate_hz`, `axes`, `units`, `machine`, `point`, `gateway`, `time_s` (UTC seconds of the
first sample) and `gaps`, the indices of samples before which some were lost: no window may be cut across one.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from cloud_hub.store.capture_writer import StoredCapture, capture_data, finish_capture, load_capture
from cloud_hub.store.database import Database


def assemble_capture(database: Database, capture_id: str, folder: Path, now_s: float) -> Path:
    """Write the file of a complete capture, then let go of its chunks in the database.

    Raises: OSError: the file cannot be written; the chunks stay. StoreError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{capture_id}.npz"
    with database.read() as session:
        capture = load_capture(session, capture_id)
    partial = path.with_suffix(".npz.part")
    with partial.open("wb") as file:
        write_npz(file, capture, capture_data(database, capture_id))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(folder)
    with database.write() as session:
        finish_capture(session, capture_id, now_s)
    return path


def write_npz(file: IO[bytes], capture: StoredCapture, chunks: Iterable[bytes]) -> None:
    """Write a capture, its data chunk by chunk: numpy's own `savez` would want all of it in memory."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("data.npy", "w", force_zip64=True) as member:
            shape = (capture.samples, len(capture.axes))
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(member, header)
            for chunk in chunks:
                member.write(chunk)
        values: dict[str, Any] = {
            "rate_hz": np.float64(capture.rate_hz),
            "axes": np.array(capture.axes, dtype=np.str_),
            "units": np.str_(capture.units),
            "machine": np.str_(capture.machine),
            "point": np.str_(capture.point),
            "gateway": np.str_(capture.gateway),
            "time_s": np.float64(capture.time_s),
            "gaps": np.array(capture.gaps, dtype=np.int64),
        }
        for name, value in values.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def _sync_folder(folder: Path) -> None:
    """A rename is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
