"""A recording: contiguous samples of one point, with everything needed to know what they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloud_hub.errors import DataError
from models.signal.arrays import F32

MAX_SAMPLES = 200_000_000


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples (n, axes) float32, oldest first, finite, evenly spaced at `rate_hz`. `sha256`: of the file behind them.

    Recordings with the same `point` are of one sensor position and share its healthy level.
    """

    name: str
    point: str
    samples: F32
    rate_hz: float
    axes: tuple[str, ...]
    units: str
    sha256: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz

    def part(self, start: float, end: float) -> Recording:
        """The part between two fractions, 0 to 1, of the recording."""
        n = len(self.samples)
        return replace(self, samples=self.samples[round(start * n) : round(end * n)])


def check_alike(recordings: list[Recording]) -> Recording:
    """The first recording, when all have one rate, set of axes and unit.

    Raises: DataError: none at all, or a mixture; the text names the two files that differ.
    """
    if not recordings:
        raise DataError("data: no recordings")
    first = recordings[0]
    for other in recordings[1:]:
        if abs(other.rate_hz - first.rate_hz) > 0.005 * first.rate_hz:
            raise DataError(
                f"{other.name}: sampled at {other.rate_hz:g} Hz, but {first.name} at {first.rate_hz:g} Hz; a model "
                "that sees both learns the sampling rate: give files of one rate"
            )
        if other.axes != first.axes:
            raise DataError(f"{other.name}: axes {', '.join(other.axes)}, but {first.name} has {', '.join(first.axes)}")
        if other.units != first.units:
            raise DataError(f"{other.name}: in {other.units}, but {first.name} in {first.units}")
    return first
