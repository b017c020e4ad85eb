"""Chunks of captures through the ingest worker, up to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import select

from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.store import history_queries
from cloud_hub.store import tables as t
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.ingest_kit import NOW_S, Bench, eventually
from tests.simulators.hub import chunks


@pytest.fixture
def capture_file(bench: Bench) -> Path:
    return bench.captures_dir / "cap-1.npz"


def test_a_capture_becomes_a_file_in_whatever_order_it_comes(bench: Bench, capture_file: Path) -> None:
    first, second, third = chunks()
    bench.take(third)
    bench.take(first, third)
    assert not capture_file.exists()
    bench.take(second)
    with np.load(capture_file, allow_pickle=False) as loaded:
        assert sorted(loaded) == ["axes", "data", "gaps", "gateway", "machine", "point", "rate_hz", "time_s", "units"]
        assert loaded["data"].dtype == np.float32
        np.testing.assert_array_equal(loaded["data"], np.arange(600, dtype=np.float32).reshape(300, 2))
        assert loaded["axes"].tolist() == ["x", "y"]
        assert (float(loaded["rate_hz"]), float(loaded["time_s"])) == (12_000.0, 5000.0)
        assert (str(loaded["units"]), str(loaded["machine"]), str(loaded["point"])) == ("m/s2", "P-101", "de")
        assert str(loaded["gateway"]) == "gw-1"
        assert loaded["gaps"].tolist() == [200]
    assert list(bench.captures_dir.iterdir()) == [capture_file]
    with bench.database.read() as session:
        assert history_queries.get_capture(session, "cap-1").status == "stored"
        assert session.scalars(select(t.CaptureChunk.data)).all() == [None] * 3
    assert bench.counters["stored.capture"] == 1


def test_a_late_duplicate_after_the_file_is_only_receipted(bench: Bench, capture_file: Path) -> None:
    bench.take(*chunks())
    made = capture_file.stat().st_mtime_ns
    bench.broker.published.clear()
    bench.take(chunks()[1])
    assert capture_file.stat().st_mtime_ns == made
    assert bench.broker.receipts() == (set(), {("cap-1", 1)})


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"gateway": "gw-2"}, "capture_owner", "belongs to gw-1, got a chunk of gw-2"),
        ({"rate_hz": 6000.0}, "capture_differs", "rate_hz: expected 12000.0 as before, got 6000.0"),
        ({"axes": ["x", "z"]}, "capture_differs", "axes: expected ['x', 'y'] as before, got ['x', 'z']"),
        ({"total": 4}, "capture_differs", "total: expected 3 as before, got 4"),
        ({"point": "nde"}, "capture_differs", "point: expected 'de' as before, got 'nde'"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(bench: Bench, changes: dict[str, Any], reason: str, text: str) -> None:
    bench.take(chunks()[0])
    bench.take(msgspec.structs.replace(chunks()[1], **changes))
    (rejection,) = bench.worker.status.view().rejections
    assert rejection.reason == reason
    assert text in rejection.text
    assert bench.count(t.CaptureChunk) == 1
    assert bench.broker.receipts("gw-2") == (set(), set())
    assert bench.broker.receipts() == (set(), {("cap-1", 0)})


def test_a_capture_has_a_largest_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.store.capture_writer.MAX_CAPTURE_BYTES", 1000)
    bench.take(chunks()[0])
    bench.take(chunks()[1])
    (rejection,) = bench.worker.status.view().rejections
    assert rejection.reason == "capture_size"
    assert "expected at most 1000 bytes, got 1600" in rejection.text


def test_a_file_that_could_not_be_written_is_tried_again(bench: Bench, capture_file: Path) -> None:
    bench.captures_dir.write_text("in the way of the folder")
    bench.take(*chunks())
    assert bench.counters["capture_failures"] == 1
    assert bench.broker.receipts()[1] == {("cap-1", i) for i in range(3)}
    bench.captures_dir.unlink()
    bench.worker._captures_due["cap-1"] = 0.0
    bench.worker._assemble_due()
    assert capture_file.exists()


def test_a_capture_left_without_a_file_gets_it_at_the_next_start(bench: Bench, capture_file: Path) -> None:
    Writer(bench.database, lambda: NOW_S).store([Received(c) for c in chunks()])
    bench.worker.start()
    eventually(capture_file.exists)
    bench.worker.stop()


def test_a_torn_file_of_an_earlier_run_is_replaced(bench: Bench, capture_file: Path) -> None:
    Writer(bench.database, lambda: NOW_S).store([Received(c) for c in chunks()])
    bench.captures_dir.mkdir()
    (bench.captures_dir / "cap-1.npz.part").write_bytes(b"half")
    assemble_capture(bench.database, "cap-1", bench.captures_dir, NOW_S)
    with np.load(capture_file) as loaded:
        assert len(loaded["data"]) == 300
