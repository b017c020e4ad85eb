"""The status file: what the running agent says of itself, for `edge-agent status` and for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edge_agent.errors import StorageError
from edge_agent.storage import is_claimed
from models.contract.messages import AgentState

STATUS_FILE = "status.json"
MAX_COUNTERS = 200
MAX_COUNT = 2**62  # as the contract has it: one number over it, and the hub could read nothing of the state
_QUIET = frozenset({"accepted"})


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`frames`: counters of frames by point name. `running`: whether an agent is there when this is read; one that
    was killed has left no word.
    """

    state: AgentState
    connected: bool
    frames: dict[str, dict[str, int]]
    outbox_in_flight: int
    running: bool = True

    def to_bytes(self) -> bytes:
        """As JSON for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def read_status(state_dir: Path) -> Status:
    """What the agent wrote last. Raises: StorageError: nothing there, or damaged."""
    path = state_dir / STATUS_FILE
    try:
        status = msgspec.json.decode(path.read_bytes(), type=Status)
    except OSError as error:
        raise StorageError(f"{path}: no status: {error.strerror or error}; has the agent run?") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: damaged: {error}") from error
    running = is_claimed(state_dir)
    return msgspec.structs.replace(status, running=running, connected=status.connected and running)


def bounded_counters(totals: Mapping[str, int], points: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """The counters for the reported state, which holds a bounded number: totals first, then what was dropped at single
    points, the largest first.
    """
    kept = dict(sorted((name, n) for name, n in totals.items() if n)[:MAX_COUNTERS])
    single = [
        (n, f"frames.{reason}:{point}")
        for point, counters in points.items()
        for reason, n in counters.items()
        if n and reason not in _QUIET
    ]
    for n, name in sorted(single, key=lambda item: (-item[0], item[1])):
        if len(kept) >= MAX_COUNTERS:
            break
        kept[name] = n
    return {name: min(n, MAX_COUNT) for name, n in kept.items()}


def render_status(status: Status, now_s: float) -> str:
    """A table for people."""
    state = status.state
    age_s = max(0.0, now_s - state.time_s)
    if status.running:
        running = f"running, {age_s:.0f} s ago"
    else:
        running = f"{'stopped' if not state.online else 'NOT running, ended without a word'}, {age_s:.0f} s ago"
    broker = "connected" if status.connected else "NOT connected"
    memory = f"{state.rss_mb:.0f} MB, outbox {state.outbox_bytes} bytes, want {state.want_seq}"
    lines = [
        f"gateway {state.gateway}   {running}   broker {broker}",
        f"agent {state.agent_version}, {state.runtime}, {memory}",
        "",
        *_table(
            ("slot", "phase", "runs", "candidate", "note"),
            [
                (
                    slot.slot,
                    slot.phase,
                    f"{slot.active_version} ({slot.active_sha256[:12]})" if slot.active_sha256 else "-",
                    slot.candidate_sha256[:12] if slot.candidate_sha256 else "-",
                    slot.error or "",
                )
                for slot in state.slots
            ],
        ),
        "",
        *_table(
            ("point", "slot", "verdict", "score", "windows", "to calibrate", "frames", "dropped or odd"),
            [
                (
                    f"{point.machine}/{point.point}",
                    point.slot,
                    point.verdict,
                    f"{point.score:.2f}" if point.score is not None else "-",
                    str(point.windows),
                    str(point.warmup_left),
                    str(status.frames.get(f"{point.machine}/{point.point}", {}).get("accepted", 0)),
                    _odd(status.frames.get(f"{point.machine}/{point.point}", {})),
                )
                for point in state.points
            ],
        ),
        "",
        *_table(
            ("counter", "count"), [(name, str(n)) for name, n in sorted(state.counters.items()) if ":" not in name]
        ),
    ]
    return "\n".join(lines)


def _odd(counters: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in sorted(counters.items()) if reason not in _QUIET) or "-"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
