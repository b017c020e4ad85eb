"""Labels painted over recordings, and the split in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.data.stretches import Run, Said, Stretch, paint, split, usable

RUNS = [Run(0, 100, 1000.0), Run(100, 150, 2000.0)]  # 10 Hz: 10 s, then 5 s after a gap


def test_the_last_word_counts_where_labels_overlap() -> None:
    said = [Said(1002.0, 1008.0, "fault", "belt"), Said(1004.0, 1006.0, "healthy"), Said(999.0, 1001.0, "exclude")]
    assert paint(RUNS, 10.0, said) == [
        Stretch(0, 10, "exclude"),
        Stretch(10, 20),
        Stretch(20, 40, "fault", "belt"),
        Stretch(40, 60, "healthy"),
        Stretch(60, 80, "fault", "belt"),
        Stretch(80, 100),
        Stretch(100, 150),
    ]


def test_the_same_said_twice_is_one_stretch() -> None:
    assert paint(RUNS[:1], 10.0, [Said(0, 1005, "healthy"), Said(1005, 2000, "healthy")]) == [
        Stretch(0, 100, "healthy")
    ]


@pytest.mark.parametrize(
    ("role", "fault", "kept"),
    [
        ("healthy", None, ["a", "none"]),
        ("fault", None, ["b", "c", "none"]),
        ("fault", "belt", ["b", "none"]),
    ],
)
def test_what_fits_a_role(role, fault, kept) -> None:
    stretches = {
        "a": Stretch(0, 1, "healthy"),
        "b": Stretch(1, 2, "fault", "belt"),
        "c": Stretch(2, 3, "fault", "bearing"),
        "x": Stretch(3, 4, "exclude"),
        "none": Stretch(4, 5),
    }
    assert usable(stretches.values(), role, fault) == [stretches[name] for name in kept]


def test_the_split_is_in_time() -> None:
    train, test = split([Stretch(0, 60), Stretch(80, 120)], 0.3)
    assert train == [Stretch(0, 60), Stretch(80, 90)]
    assert test == [Stretch(90, 120)]
    assert split([Stretch(0, 10)], 0.0) == ([Stretch(0, 10)], [])


SPAN = st.tuples(st.floats(990, 2010), st.floats(990, 2010)).map(sorted)
SAID = st.builds(lambda s, v: Said(*s, v), SPAN, st.sampled_from(["healthy", "fault", "exclude"]))


@given(said=st.lists(SAID, max_size=8), share=st.floats(0, 0.9))
def test_no_row_is_lost_or_used_twice(said, share) -> None:
    stretches = paint(RUNS, 10.0, said)
    rows = [row for one in stretches for row in range(one.start, one.stop)]
    assert rows == list(range(150))
    train, test = split(stretches, share)
    parts = [row for one in (*train, *test) for row in range(one.start, one.stop)]
    assert parts == rows
    assert all(one.stop <= 100 or one.start >= 100 for one in (*train, *test))  # none spans the gap
    assert sum(one.stop - one.start for one in test) == round(150 * share)
