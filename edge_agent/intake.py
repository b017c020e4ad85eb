"""From frames to the samples of points: who sent it, is it whole, is it next in line.

Everything dropped is counted by reason, per point where the point is known. A point's samples are contiguous in time
except where `Arrival.gap` says otherwise: after a lost frame, an overrun or a restart of the node, no window may span.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.config import PointSettings
from models.contract.frames import Frame, FrameFlag, decode_frame
from models.contract.ids import GatewayId
from models.contract.topics import Frames, topic_of
from models.errors import FrameError
from models.signal.arrays import F32

RATE_TOLERANCE = 0.005
_SEQ_MODULUS = 2**32
_OLD_BOOTS = 4
_LATE = frozenset({"out_of_order", "old_boot"})
RESTARTED_AFTER = 8
"""So many late frames in order, and none in turn between them: the board has started again with an old boot id."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Samples (n, axes) of one point, in order. `gap`: something is missing before them."""

    point: int
    samples: F32
    gap: bool


@dataclass(slots=True)
class Stream:
    """What came last on one (node, port). `late`: frames that came after their turn, in order and with none in turn
    between them; the last of them had `late_boot` and `late_seq`.
    """

    boot_id: int | None = None
    last_seq: int = 0
    next_clock: int = 0
    broken: bool = False
    late: int = 0
    late_boot: int = 0
    late_seq: int = 0
    old_boots: deque[int] = field(default_factory=lambda: deque(maxlen=_OLD_BOOTS))


class Intake:
    """Decodes and orders frames. `counters` is by reason, `point_counters[i]` the same for point i."""

    def __init__(self, gateway: GatewayId, points: Sequence[PointSettings]) -> None:
        self._points = points
        self._nodes = {topic_of(Frames(gateway, point.node)): point.node for point in points}
        self._by_source = {(point.node, point.port): at for at, point in enumerate(points)}
        self._streams = [Stream() for _ in points]
        self.counters: Counter[str] = Counter()
        self.point_counters: list[Counter[str]] = [Counter() for _ in points]
        self.lost_samples = [0] * len(points)
        self.last_frame_s: list[float | None] = [None] * len(points)

    def accept(self, topic: str, payload: bytes, now_s: float) -> Arrival | None:
        """Take one frame in. None: it was dropped, and counted."""
        node = self._nodes.get(topic)
        if node is None:
            self.counters["unknown_node"] += 1
            return None
        try:
            frame = decode_frame(payload)
        except FrameError as error:
            self._count_undecoded(node, error.reason)
            return None
        point = self._by_source.get((node, frame.port))
        if point is None:
            self.counters["unknown_port"] += 1
            return None
        return self._order(point, frame, now_s)

    def _count(self, point: int, reason: str, times: int = 1) -> None:
        self.counters[reason] += times
        self.point_counters[point][reason] += times

    def _count_undecoded(self, node: str, reason: str) -> None:
        """The port of a frame that cannot be read is not known; a node with one point leaves no doubt."""
        owners = [at for (name, _), at in self._by_source.items() if name == node]
        if len(owners) == 1:
            self._count(owners[0], reason)
        else:
            self.counters[reason] += 1

    def _order(self, point: int, frame: Frame, now_s: float) -> Arrival | None:
        stream = self._streams[point]
        reason = self._unfit(point, frame)
        again = False
        if reason is None:
            reason = _out_of_turn(stream, frame)
            if reason in _LATE and _started_again(stream, frame):
                reason, again = None, True
        if reason is not None:
            self._count(point, reason)
            stream.broken = stream.broken or (reason != "duplicate" and reason not in _LATE)
            return None
        self._count(point, "accepted")
        gap = self._gap(point, stream, frame, again=again)
        if frame.flags and frame.flags & FrameFlag.SATURATED:
            self._count(point, "saturated")
        stream.boot_id, stream.last_seq, stream.next_clock = frame.boot_id, frame.seq, frame.end_clock
        stream.broken = False
        stream.late = 0
        self.last_frame_s[point] = now_s
        return Arrival(point, frame.samples, gap)

    def _unfit(self, point: int, frame: Frame) -> str | None:
        """Why a whole frame is not one of this point, None when it is."""
        settings = self._points[point]
        if frame.samples.shape[1] != len(settings.axes):
            return "axes"
        if abs(frame.rate_hz - settings.rate_hz) > RATE_TOLERANCE * settings.rate_hz:
            return "rate"
        if frame.flags and frame.flags & FrameFlag.SENSOR_FAULT:
            return "sensor_fault"
        return None

    def _gap(self, point: int, stream: Stream, frame: Frame, *, again: bool) -> bool:
        """Whether samples are missing before this frame; counts why, and how many where the clock tells.

        `again`: the node has started with a boot id that it had before.
        """
        if stream.boot_id is None:
            return True
        if frame.boot_id != stream.boot_id or again:
            if frame.boot_id in stream.old_boots:
                stream.old_boots.remove(frame.boot_id)
            if frame.boot_id != stream.boot_id:
                stream.old_boots.append(stream.boot_id)
            self._count(point, "reboot")
            return True
        overrun = bool(frame.flags) and bool(frame.flags & FrameFlag.OVERRUN)  # operations on flags are slow
        if overrun:
            self._count(point, "overrun")
        if frame.clock < stream.next_clock:  # the node's clock was set back: go on from where it is now
            self._count(point, "clock_back")
            return True
        if frame.clock > stream.next_clock:
            self._count(point, "gap")
            self.lost_samples[point] += frame.clock - stream.next_clock
            return True
        return stream.broken or overrun


def _out_of_turn(stream: Stream, frame: Frame) -> str | None:
    """Why a frame is not the next of its stream, None when it is (with or without a gap before it)."""
    if frame.boot_id in stream.old_boots:
        return "old_boot"
    if stream.boot_id != frame.boot_id:
        return None
    ahead = (frame.seq - stream.last_seq) % _SEQ_MODULUS
    if ahead == 0:
        return "duplicate"
    if ahead >= _SEQ_MODULUS // 2:
        return "out_of_order"
    return None


def _started_again(stream: Stream, frame: Frame) -> bool:
    """Whether a late frame is one of a node that has started again with a boot id that it had before, as one without
    any source of randomness does; else it would be taken for late until it has sent as many frames as before.
    """
    ahead = (frame.seq - stream.late_seq) % _SEQ_MODULUS
    follows = stream.late and stream.late_boot == frame.boot_id and 0 < ahead < _SEQ_MODULUS // 2
    stream.late = stream.late + 1 if follows else 1
    stream.late_boot, stream.late_seq = frame.boot_id, frame.seq
    return stream.late >= RESTARTED_AFTER
