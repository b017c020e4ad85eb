from __future__ import annotations

import itertools

import numpy as np
import pytest

from firmware_sim.flaws import Flaws, Outgoing, RoughPath
from firmware_sim.node import Node, NodeSpec, PortSpec
from models.contract.frames import decode_frame, encode_counts
from models.errors import FrameError
from tests.firmware_sim.builders import everything

PAYLOADS = [
    encode_counts(np.full((8, 1), k, np.int16), 1.0, boot_id=1, seq=k, clock=8 * k, rate_hz=100.0) for k in range(1000)
]


def carried(**flaws: float) -> tuple[list[Outgoing], RoughPath]:
    path = RoughPath(Flaws(**flaws), np.random.default_rng(1))
    return [outgoing for payload in PAYLOADS for outgoing in path.carry(payload)], path


def seqs(outgoing: list[Outgoing]) -> list[int]:
    return [decode_frame(o.payload).seq for o in outgoing]


def test_without_flaws_all_arrives_as_it_was():
    got, path = carried()
    assert [o.payload for o in got] == PAYLOADS
    assert not any(o.stray for o in got)
    assert not path.counts


def test_dropped_frames_never_arrive():
    got, path = carried(drop=0.1)
    assert len(got) == 1000 - path.counts["drop"]
    assert 60 < path.counts["drop"] < 140
    assert seqs(got) == sorted(seqs(got))


def test_duplicates_arrive_twice_in_a_row():
    got, path = carried(duplicate=0.1)
    numbers = seqs(got)
    assert len(numbers) == 1000 + path.counts["duplicate"]
    assert sum(a == b for a, b in itertools.pairwise(numbers)) == path.counts["duplicate"] > 50


def test_reordered_frames_arrive_after_their_successor():
    got, path = carried(reorder=0.1)
    numbers = seqs(got)
    swaps = sum(b == a - 1 for a, b in itertools.pairwise(numbers))
    assert path.counts["reorder"] > 50
    assert swaps in (path.counts["reorder"], path.counts["reorder"] - 1)
    assert sorted(numbers) == list(range(len(numbers)))


def test_corrupted_frames_differ_in_one_bit_and_are_found_out():
    got, path = carried(corrupt=1.0)
    assert path.counts["corrupt"] == 1000
    for sent, arrived in zip(PAYLOADS, got, strict=True):
        assert (int.from_bytes(sent) ^ int.from_bytes(arrived.payload)).bit_count() == 1
        with pytest.raises(FrameError):
            decode_frame(arrived.payload)


def test_cut_frames_are_shorter_and_are_found_out():
    got, _ = carried(cut_short=1.0)
    for sent, arrived in zip(PAYLOADS, got, strict=True):
        assert len(arrived.payload) < len(sent)
        with pytest.raises(FrameError) as error:
            decode_frame(arrived.payload)
        assert error.value.reason == "short"


def test_strays_are_copies_under_another_name():
    got, path = carried(stray=0.1)
    assert [o.payload for o in got if not o.stray] == PAYLOADS
    assert sum(o.stray for o in got) == path.counts["stray"] > 50


@pytest.mark.parametrize("quantity", ["acceleration", "process"])
def test_nan_frames_are_whole_but_for_a_nan(quantity):
    port = (
        PortSpec(machine="M-1", point="p")
        if quantity == "acceleration"
        else PortSpec(
            machine="M-1", point="p", quantity="process", axes=("flow_m3_h",), units="mixed", rate_hz=1.0, frame=1
        )
    )
    node = Node(NodeSpec(id="n", gateway="g", port=(port,), flaws=Flaws(nan=1.0)), {"M-1": everything()}, 1, 0)
    for outgoing in node.ports[0].frames():
        with pytest.raises(FrameError) as error:
            decode_frame(outgoing.payload)
        assert error.value.reason == "nan"
    assert node.ports[0].path.counts["nan"] == 1


def test_flaws_leave_the_signal_alone():
    """What arrives intact is the same whatever happens to the rest."""

    def stream(flaws: Flaws) -> dict[int, np.ndarray]:
        spec = NodeSpec(id="n", gateway="g", port=(PortSpec(machine="M-1", point="p"),), flaws=flaws)
        port = Node(spec, {"M-1": everything()}, 1, 0).ports[0]
        got = {}
        for _ in range(100):
            for outgoing in port.frames():
                try:
                    frame = decode_frame(outgoing.payload)
                except FrameError:
                    continue
                got[frame.seq] = frame.samples
        return got

    perfect = stream(Flaws())
    rough = stream(Flaws(drop=0.1, corrupt=0.1, reorder=0.1, duplicate=0.1, cut_short=0.1, nan=0.1))
    assert 30 < len(rough) < 100
    assert all(np.array_equal(samples, perfect[seq]) for seq, samples in rough.items())
