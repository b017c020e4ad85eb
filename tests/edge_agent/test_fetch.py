"""Fetching: only what is missing is asked for, whatever comes, and a cut costs nothing."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import StorageError
from edge_agent.fetch import AHEAD, ChunkFetcher
from models.contract.messages import CHUNK_BYTES, WantedBundle

DATA = random.Random(4).randbytes(7 * CHUNK_BYTES + 123)
CHUNKS = [DATA[at : at + CHUNK_BYTES] for at in range(0, len(DATA), CHUNK_BYTES)]


def wanted(length: int = len(DATA)) -> WantedBundle:
    return WantedBundle(slot="s", target="s/x.mwb", sha256=hashlib.sha256(DATA).hexdigest(), length=length, version="1")


def make(folder: Path, length: int = len(DATA)) -> ChunkFetcher:
    return ChunkFetcher(wanted(length), folder / "x.part", 10.0, 0.0)


def test_a_few_at_a_time_in_any_order(tmp_path: Path) -> None:
    fetcher = make(tmp_path)
    assert fetcher.missing() == {0, 1}
    assert fetcher.accept(1, CHUNKS[1], 1.0)
    assert fetcher.missing() == {0}, "no further until the first is there: memory stays bounded"
    assert fetcher.accept(0, CHUNKS[0], 1.0)
    assert fetcher.missing() == {2, 3}
    for at in (3, 7, 2, 5, 4, 6, 7):
        fetcher.accept(at, CHUNKS[at], 1.0)
    assert fetcher.complete
    assert fetcher.missing() == set()
    assert (tmp_path / "x.part").read_bytes() == DATA


def test_what_was_not_asked_for_is_not_taken(tmp_path: Path) -> None:
    fetcher = make(tmp_path)
    assert not fetcher.accept(5, CHUNKS[5], 1.0)
    assert fetcher.accept(0, CHUNKS[0], 1.0)
    assert not fetcher.accept(0, CHUNKS[0], 1.0)
    assert not fetcher.accept(1, CHUNKS[1][:-1], 1.0)
    assert not fetcher.accept(1, CHUNKS[1] + b"x", 1.0)
    assert fetcher.refused_chunks == 2
    assert 1 in fetcher.missing()


@pytest.mark.parametrize("kept", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 17, len(DATA)])
def test_a_cut_costs_at_most_one_chunk(tmp_path: Path, kept: int) -> None:
    (tmp_path / "x.part").write_bytes(DATA[:kept])
    fetcher = make(tmp_path)
    assert fetcher.fetched_bytes == (kept // CHUNK_BYTES * CHUNK_BYTES if kept < len(DATA) else kept)
    while not fetcher.complete:
        for at in fetcher.missing():
            fetcher.accept(at, CHUNKS[at], 1.0)
    assert (tmp_path / "x.part").read_bytes() == DATA


def test_a_part_that_is_too_long_is_cut(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(DATA + b"more")
    assert make(tmp_path).complete
    assert (tmp_path / "x.part").stat().st_size == len(DATA)


def test_silence_is_noticed_with_growing_patience(tmp_path: Path) -> None:
    fetcher = make(tmp_path)
    noticed = [t for t in range(100) if fetcher.stalled(float(t))]
    assert noticed == [10, 30, 70]
    assert fetcher.accept(0, CHUNKS[0], 100.0)
    assert [t for t in range(100, 112) if fetcher.stalled(float(t))] == [110]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        ChunkFetcher(wanted(), tmp_path / "file" / "x.part", 10.0, 0.0)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 5))
def test_the_file_is_always_a_beginning_of_the_data(tmp_path_factory, order: list[int], restart_every: int) -> None:
    folder = tmp_path_factory.mktemp("fetch")
    fetcher = make(folder)
    for step, at in enumerate(order):
        if restart_every and step % (restart_every + 3) == 0:
            fetcher = make(folder)
        fetcher.accept(at, CHUNKS[at % len(CHUNKS)], 1.0)
        assert DATA.startswith((folder / "x.part").read_bytes())
        assert len(fetcher.missing()) <= AHEAD
