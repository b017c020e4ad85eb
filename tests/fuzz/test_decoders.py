"""Each decoder with random bytes and with good messages changed here and there: only what it documents escapes, and
memory stays bounded. Deterministic and short; `MILLWRIGHT_FUZZ=N` runs N random examples of each instead.
"""

from __future__ import annotations

import os
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.contract.messages import MAX_METADATA_INFLATED_BYTES
from tests.fuzz.targets import TARGETS, Target

LONG = int(os.environ.get("MILLWRIGHT_FUZZ", "0"))
PROFILE = settings(
    max_examples=LONG or 60,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MAX_PEAK_BYTES = 16 * MAX_METADATA_INFLATED_BYTES
pytestmark = [pytest.mark.timeout(0)] if LONG else []


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A good message with bytes replaced, cut out, doubled or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["replace", "cut", "insert", "double", "end"])):
            case "replace":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "insert":
                data[at:at] = draw(
                    st.sampled_from([b"\xff\xff\xff\xff", b'"', b"[" * 2000, b"1e400", b"-1", b"\0" * 64])
                )
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 512))]
            case _:
                del data[at:]
    return bytes(data)


def held_to_its_word(target: Target, data: bytes) -> None:
    tracemalloc.start()
    try:
        target(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MAX_PEAK_BYTES + 8 * len(data), f"{peak} bytes for {len(data)} that came"


@pytest.mark.parametrize("name", TARGETS)
def test_good_ones_are_taken(name: str) -> None:
    assert all(TARGETS[name](seed) for seed in TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    @PROFILE
    @given(data=st.binary(max_size=400))
    def run(data: bytes) -> None:
        held_to_its_word(TARGETS[name], data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_changed_ones(name: str) -> None:
    @PROFILE
    @given(data=changed(TARGETS[name].seeds()))
    def run(data: bytes) -> None:
        held_to_its_word(TARGETS[name], data)

    run()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "data", [b"[" * 200_000, b"{" * 200_000, b"\x91" * 200_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_deep_and_huge(name: str, data: bytes) -> None:
    """Nesting without end, and lengths that are not there."""
    held_to_its_word(TARGETS[name], data)
