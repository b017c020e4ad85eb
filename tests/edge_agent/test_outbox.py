"""The outbox: never over its bound, dear things last, nothing leaves without a receipt, nothing is lost by kill -9."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import outbox as module
from edge_agent.errors import StorageError
from edge_agent.outbox import MAX_IN_FLIGHT, RESEND_S, Outbox
from edge_agent.outbox_rules import Held, Rank, plan_drop, plan_merge
from models.contract.messages import MAX_ROW_SPAN_S, Health, TrendBatch, TrendRow, decode

BOOT = "00000000000000aa"
LIMIT = 65_536


def row(point: str = "de", time_s: float = 1.0, **changes: object) -> TrendRow:
    fields = {"machine": "P-101", "point": point, "time_s": time_s, "span_s": 1.0, "windows": 10, "rms": [1.0]}
    return TrendRow(**fields | changes)  # type: ignore[arg-type]


def make(folder: Path, limit: int = LIMIT, boot: str = BOOT) -> Outbox:
    return Outbox(folder / "outbox.sqlite3", limit, "gw-1", boot)


def event(outbox: Outbox, size: int = 100, *, update: bool = False) -> None:
    outbox.add_event(lambda seq: f"{seq:08d}".encode() + b"e" * (size - 8), update=update)


def send(outbox: Outbox, now_s: float, **options: object) -> list[tuple[str, int]]:
    """Publish all that is due; returns (kind, seq)."""
    sent = []
    for key, item in outbox.due(now_s, **options):  # type: ignore[arg-type]
        outbox.mark_sent(key, now_s, len(item.payload))
        sent.append((item.kind, item.seq))
    return sent


class TestDelivery:
    def test_an_item_is_due_until_its_receipt(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        event(outbox)
        event(outbox)
        assert send(outbox, 0.0) == [("event", 0), ("event", 1)]
        assert send(outbox, 1.0) == []
        assert outbox.receipt([(BOOT, 0), (BOOT, 77), ("f" * 16, 1)]) == 1
        assert send(outbox, RESEND_S) == [("event", 1)]
        assert outbox.receipt([(BOOT, 1)]) == 1
        assert outbox.held_bytes == 0
        assert send(outbox, 1e6) == []

    def test_the_pause_before_resending_grows_until_a_receipt_comes(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        event(outbox)
        event(outbox)
        send(outbox, 0.0)
        assert len(send(outbox, RESEND_S)) == 2
        assert send(outbox, 2 * RESEND_S + 1) == []
        assert len(send(outbox, 3 * RESEND_S)) == 2
        outbox.receipt([(BOOT, 0)])
        assert len(send(outbox, 4 * RESEND_S)) == 1
        assert outbox.counters["outbox.resent"] == 5

    def test_a_reconnection_makes_everything_due_again(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        event(outbox)
        send(outbox, 0.0)
        outbox.forget_in_flight()
        assert send(outbox, 0.1) == [("event", 0)]

    def test_a_bounded_number_is_in_flight(self, tmp_path: Path) -> None:
        outbox = make(tmp_path, 2**20)
        for _ in range(2 * MAX_IN_FLIGHT):
            event(outbox)
        assert len(send(outbox, 0.0)) == MAX_IN_FLIGHT
        assert send(outbox, 0.0) == []
        outbox.receipt([(BOOT, 3), (BOOT, 5)])
        assert send(outbox, 0.0) == [("event", MAX_IN_FLIGHT), ("event", MAX_IN_FLIGHT + 1)]

    def test_bytes_in_flight_are_bounded_but_one_large_item_goes(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(module, "MAX_IN_FLIGHT_BYTES", 1000)
        outbox = make(tmp_path)
        for _ in range(3):
            event(outbox, 2000)
        assert send(outbox, 0.0) == [("event", 0)]

    def test_rows_become_one_batch_with_health_and_events_go_first(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        outbox.add_rows([row(time_s=t) for t in (1.0, 2.0)])
        assert send(outbox, 0.0, gather=False) == []
        event(outbox)
        health = Health(time_s=1.0, rss_mb=50.0, cpu_s=1.0, windows=5, window_us=10.0, outbox_bytes=0)
        due = outbox.due(0.0, health)
        assert [item.kind for _, item in due] == ["event", "trend"]
        batch = decode(TrendBatch, due[1][1].payload, "test")
        assert [r.time_s for r in batch.rows] == [1.0, 2.0]
        assert batch.health == health
        assert (batch.boot_id, batch.seq, due[1][1].seq) == (BOOT, 1, 1)

    def test_items_of_an_earlier_run_keep_their_name(self, tmp_path: Path) -> None:
        first = make(tmp_path)
        event(first)
        first.close()
        second = make(tmp_path, boot="b" * 16)
        event(second)
        assert [(item.boot_id, item.seq) for _, item in second.due(0.0)] == [(BOOT, 0), ("b" * 16, 0)]


class TestBound:
    def test_trends_thin_out_before_anything_is_lost(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        for at in range(400):
            outbox.add_rows([row(time_s=float(at), score_mean=float(at % 2), score_max=1.0)])
        assert outbox.held_bytes <= LIMIT
        assert outbox.counters["outbox.merged"] > 0
        assert outbox.counters["outbox.dropped_trends"] == 0
        rows = [r for _, item in outbox.due(0.0) for r in decode(TrendBatch, item.payload, "test").rows]
        assert all(r.windows == 10 * r.span_s for r in rows)
        assert any(r.windows > 10 for r in rows)

    def test_alarms_outlive_trends_and_updates(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        for _ in range(5):
            event(outbox, 5000)
        for at in range(200):
            outbox.add_rows([row(f"p{at}")])
        for _ in range(10):
            event(outbox, 5000, update=True)
        assert outbox.held_bytes <= LIMIT
        kept = [item.seq for _, item in outbox.due(0.0, gather=False)]
        assert kept[:5] == [0, 1, 2, 3, 4]
        assert outbox.counters["outbox.dropped_trends"] > 0

    def test_a_trend_never_pushes_out_an_alarm(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        for _ in range(13):
            event(outbox, 4900)
        before = len(outbox)
        outbox.add_rows([row(f"p{at}") for at in range(50)])
        assert [item.kind for _, item in outbox.due(0.0)][:13] == ["event"] * 13
        assert len(outbox) >= before
        assert outbox.counters["outbox.dropped_events"] == 0
        assert outbox.counters["outbox.dropped_trends"] > 0

    def test_rows_are_not_merged_to_more_time_than_the_hub_takes(self, tmp_path: Path) -> None:
        """A gateway that was offline for months; the hub refuses a whole batch for one row over the contract's bound."""
        outbox = make(tmp_path)
        for at in range(3000):
            outbox.add_rows([row(time_s=at * 1e5, span_s=1e5)])
        assert outbox.held_bytes <= LIMIT
        assert outbox.counters["outbox.merged"] > 0
        rows = []
        for key, item in [due for at in range(20) for due in outbox.due(float(at))]:
            outbox.mark_sent(key, 0.0, len(item.payload))
            rows += decode(TrendBatch, item.payload, "trend").rows
        assert max(row.span_s for row in rows) <= MAX_ROW_SPAN_S
        assert len(rows) > 100

    def test_one_item_over_the_bound_is_dropped_and_counted(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        event(outbox, LIMIT + 1)
        assert len(outbox) == 0
        assert outbox.counters["outbox.dropped_events"] == 1

    def test_a_smaller_bound_after_a_restart_is_kept_at_once(self, tmp_path: Path) -> None:
        outbox = make(tmp_path, 4 * LIMIT)
        for _ in range(40):
            event(outbox, 5000)
        outbox.close()
        assert make(tmp_path).held_bytes <= LIMIT

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["event", "update", "rows", "send", "receipt", "reconnect", "restart"]),
                st.integers(1, 30_000),
            ),
            max_size=60,
        )
    )
    def test_never_more_than_its_bound_whatever_happens(self, tmp_path_factory, steps: list[tuple[str, int]]) -> None:
        folder = tmp_path_factory.mktemp("outbox")
        outbox = make(folder)
        now_s, boots, sent = 0.0, 0, []
        for what, size in steps:
            now_s += 1.0
            match what:
                case "event" | "update":
                    event(outbox, max(8, size), update=what == "update")
                case "rows":
                    outbox.add_rows([row(f"p{at % 7}", now_s) for at in range(size % 500)])
                case "send":
                    for key, item in outbox.due(now_s):
                        outbox.mark_sent(key, now_s, len(item.payload))
                        sent.append((item.boot_id, item.seq))
                case "receipt":
                    outbox.receipt(sent[: size % 20])
                    del sent[: size % 20]
                case "reconnect":
                    outbox.forget_in_flight()
                case "restart":
                    outbox.close()
                    boots += 1
                    outbox = make(folder, boot=f"{boots:016x}")
            assert outbox.held_bytes <= LIMIT
            assert outbox.held_bytes == outbox._measure()
            assert outbox.in_flight <= MAX_IN_FLIGHT
        outbox.close()


class TestRules:
    @given(
        st.lists(st.tuples(st.sampled_from(Rank), st.integers(1, 1000), st.sampled_from(["", "a", "b"])), max_size=50),
        st.integers(1, 20_000),
    )
    def test_what_goes_is_enough_and_nothing_dearer_goes_before_something_cheaper(
        self, drawn: list[tuple[Rank, int, str]], excess: int
    ) -> None:
        items = [Held(key, rank, size, group) for key, (rank, size, group) in enumerate(drawn)]
        plan = plan_drop(items, excess)
        gone = [items[key] for key in plan.drop]
        kept = [item for item in items if item.key not in plan.drop]
        assert sum(item.size for item in gone) >= excess or not kept
        assert sum(item.size for item in gone[:-1]) < excess, "and no more than needed"
        if gone and kept:
            assert max(item.rank for item in gone) <= min(item.rank for item in kept)
        merged = plan_merge(items, excess)
        assert len({key for keys in merged.merge for key in keys}) == sum(len(keys) for keys in merged.merge)
        assert all(items[a].group == items[b].group != "" and a < b for a, b in merged.merge)


class TestDisk:
    def test_events_survive_kill_9(self, tmp_path: Path) -> None:
        program = (
            "import sys, os, signal\n"
            "from pathlib import Path\n"
            "from edge_agent.outbox import Outbox\n"
            f"outbox = Outbox(Path({str(tmp_path)!r}) / 'outbox.sqlite3', 1 << 20, 'gw-1', {BOOT!r})\n"
            "for n in range(25):\n"
            "    outbox.add_event(lambda seq: b'event %d' % seq)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
        outbox = make(tmp_path, boot="b" * 16)
        assert [item.payload for _, item in outbox.due(0.0)] == [b"event %d" % n for n in range(25)]

    def test_events_survive_a_power_cut_in_the_next_commit(self, tmp_path: Path) -> None:
        """By SQLite's own rule (a commit has flushed its write-ahead log): up to the last commit the log is as it was,
        what the next one appends may be there in part, as zeros, or as what lay there before. The database file itself
        is written by checkpoints only, of which there is none here.
        """
        rng = random.Random(5)
        live, cut = tmp_path / "live", tmp_path / "cut"
        live.mkdir()
        outbox = make(live, limit=1 << 20)
        names = ("outbox.sqlite3", "outbox.sqlite3-wal")
        before, cuts = [(live / name).read_bytes() for name in names], 0
        for n in range(30):
            event(outbox, rng.choice([60, 3000, 9000]))
            after = [(live / name).read_bytes() for name in names]
            assert after[0] == before[0]
            assert len(after[1]) > len(before[1])
            assert after[1].startswith(before[1])
            tail = after[1][len(before[1]) :]
            for _ in range(8):
                at = rng.randrange(len(tail) + 1)
                sector = at // 512 * 512
                lost = rng.choice([b"", bytes(len(tail) - at), rng.randbytes(len(tail) - at)])
                torn = rng.choice(
                    [tail[:at] + lost, tail[:sector] + bytes(len(tail[sector : sector + 512])) + tail[sector + 512 :]]
                )
                shutil.rmtree(cut, ignore_errors=True)
                cut.mkdir()
                for name, data in zip(names, (after[0], before[1] + torn), strict=True):
                    (cut / name).write_bytes(data)
                again = make(cut, limit=1 << 20, boot="b" * 16)
                seqs = [seq for (seq,) in again._db.execute("SELECT seq FROM item ORDER BY key")]
                again.close()
                assert seqs in (list(range(n)), list(range(n + 1))), f"cut at {at} of {len(tail)} bytes of commit {n}"
                assert "outbox.damaged" not in again.counters
                cuts += 1
            before = after
        outbox.close()
        assert cuts == 240

    def test_a_damaged_file_is_put_aside(self, tmp_path: Path) -> None:
        (tmp_path / "outbox.sqlite3").write_bytes(b"this is not a database" * 500)
        outbox = make(tmp_path)
        event(outbox)
        assert outbox.counters["outbox.damaged"] == 1
        assert (tmp_path / "outbox.damaged").exists()

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"outbox\.sqlite3: unable to open database file"):
            make(tmp_path / "none")

    def test_the_file_stays_near_its_bound(self, tmp_path: Path) -> None:
        outbox = make(tmp_path)
        for _ in range(300):
            event(outbox, 3000)
        outbox.close()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * LIMIT + 2**19
