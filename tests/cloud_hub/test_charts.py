"""Charts: from data to places in the plot; what is said to those who cannot see them; what must never be lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from cloud_hub.charts import (
    Curve,
    FaultLines,
    Mark,
    Svg,
    curve_chart,
    histogram_pair,
    roc_chart,
    score_split,
    sparkline,
    spectrum_chart,
    trend_chart,
    waveform_chart,
)
from cloud_hub.charts.markup import element, number
from cloud_hub.charts.scale import Scale, span_of, ticks, time_ticks
from cloud_hub.charts.thin import envelope, m4, runs

T0 = 1_750_000_000.0


def tree(svg: str) -> ET.Element:
    """The markup, which must be well-formed XML without a style attribute or a script."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    for one in root.iter():
        assert "style" not in one.attrib
        assert one.tag not in {"style", "script"}
        assert not any(name.startswith("on") for name in one.attrib)
    return root


def by_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in root.iter() if name in e.get("class", "").split()]


def text_of(root: ET.Element, tag: str) -> str:
    return next("".join(e.itertext()) for e in root.iter() if e.tag == tag)


def points(path: ET.Element) -> list[list[tuple[float, float]]]:
    """The corners of a path, one list for each unbroken stretch, in 0..1000 with y downwards."""
    stretches = [s for s in path.get("d", "").split("M") if s]
    return [[(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", s)] for s in stretches]


# ------------------------------------------------------------------------------------------------ markup


def test_markup_is_escaped_once() -> None:
    made = element("text", text='<b> & "x"', class_="a", data_utc='"><script>')
    assert made == '<text class="a" data-utc="&quot;&gt;&lt;script&gt;">&lt;b&gt; &amp; &quot;x&quot;</text>'
    assert Environment(autoescape=True).from_string("{{ chart }}{{ text }}").render(chart=made, text="<i>") == (
        f"{made}&lt;i&gt;"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(12.0, "12"), (12.34, "12.3"), (-0.01, "0"), (1e6, "1000000"), (0.06, "0.1"), (100.0, "100")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_hostile_names_stay_text() -> None:
    name = '"><script>alert(1)</script>'
    charts = [
        trend_chart(name, name, [0, 1], [1, 2], label=name, limit_text=name, limit=1, marks=[Mark(0.5, name, name)]),
        spectrum_chart(name, name, [0, 1], [1, 2], label=name, faults=[FaultLines(name, 1.0, [0.5])]),
        waveform_chart(name, name, [[1.0], [2.0]], 10.0, axes=[name], label=name),
        histogram_pair(name, name, [0, 1], [1], [1], names=(name, name), x_label=name),
        roc_chart(name, name, [(name, [0, 1], [0, 1], 0.5)]),
        sparkline([1, 2], name),
    ]
    for chart in charts:
        tree(chart)
        assert "<script" not in chart


# ------------------------------------------------------------------------------------------------ scales


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0, 1.72, ["0", "0.5", "1", "1.5"]),
        (-3, 12, ["0", "5", "10"]),
        (0, 0.004, ["0", "0.001", "0.002", "0.003", "0.004"]),
        (0, 60_000, ["0", "20,000", "40,000", "60,000"]),
    ],
)
def test_ticks_are_round(low: float, high: float, texts: list[str]) -> None:
    found = ticks(Scale(low, high))
    assert [t.text for t in found] == texts
    assert [t.at for t in found] == pytest.approx(
        [(float(t.text.replace(",", "")) - low) / (high - low) for t in found]
    )


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_lie_in_the_plot_and_are_few(low: float, width: float) -> None:
    if low + width == low or width < 1e-9 * abs(low):
        return
    found = ticks(Scale(low, low + width))
    assert 1 <= len(found) <= 11
    assert all(-1e-6 <= t.at <= 1 + 1e-6 for t in found)


@pytest.mark.parametrize(
    ("span_s", "step_s", "local"),
    [(60, 10, "tick-second"), (600, 120, "tick-time"), (6 * 3600, 3600, "tick-time"), (86_400, 6 * 3600, "tick-time"),
     (7 * 86_400, 86_400, "tick-date"), (90 * 86_400, 14 * 86_400, "tick-date"), (9 * 365 * 86_400, None, "tick-month")],
)  # fmt: skip
def test_time_ticks_are_at_round_utc_times(span_s: float, step_s: float | None, local: str) -> None:
    found = time_ticks(Scale(T0, T0 + span_s))
    assert 2 <= len(found) <= 8
    times = [datetime.fromisoformat(t.utc or "").timestamp() for t in found]
    steps = set(np.diff(times))
    assert len(steps) == 1
    if step_s is not None:
        assert steps == {step_s}
    assert all(time_s % next(iter(steps)) == 0 for time_s in times)
    assert {t.local for t in found} - {"tick-midnight"} <= {local}
    assert [t.at for t in found] == pytest.approx([(s - T0) / span_s for s in times])
    assert [t.extra for t in found][:3] == [False, True, False][: len(found)]


def test_a_scale_over_nothing_or_one_value() -> None:
    assert span_of(np.array([])) == Scale(0.0, 1.08)
    assert span_of([np.nan, 0.0]) == Scale(-1.16, 1.16)
    one = span_of([5.0])
    assert one.low == 0.0
    assert 0 < one.at(5.0) < 1


# ------------------------------------------------------------------------------------------------ thinning


@given(st.integers(0, 2**32 - 1), st.integers(2, 30_000), st.integers(2, 300))
def test_m4_keeps_every_peak_of_every_column(seed: int, n: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.random(n)) + T0
    y = rng.standard_normal(n)
    keep = m4(x, y, columns)
    assert len(keep) <= max(4 * columns, n if n <= 4 * columns else 0)
    assert np.all(np.diff(keep) > 0)
    assert keep[0] == 0
    assert keep[-1] == n - 1
    column = np.minimum(((x - x[0]) * (columns / (x[-1] - x[0]))).astype(int), columns - 1)
    for c in np.unique(column):
        assert y[keep][column[keep] == c].max() == y[column == c].max()
        assert y[keep][column[keep] == c].min() == y[column == c].min()


def test_a_single_spike_among_a_million_survives() -> None:
    y = np.zeros(1_000_000)
    y[654_321] = 9.0
    chart = tree(trend_chart("k", "Score", T0 + np.arange(1_000_000.0), y, label="Score", limit=1.0))
    line = next(e for e in by_class(chart, "stretched")[0] if "line" in e.get("class", ""))
    corners = points(line)[0]
    assert len(corners) <= 2000
    top = min(corners, key=lambda p: p[1])
    assert top[0] == pytest.approx(654.3, abs=0.1)


def test_a_band_covers_all_that_it_stands_for() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1, 10_000)
    low, high = -rng.random(10_000), rng.random(10_000)
    xs, lows, highs = envelope(x, low, high, 100)
    assert len(xs) == 100
    assert (xs[0], xs[-1]) == (0, 1)
    assert lows.min() == low.min()
    assert highs.max() == high.max()


def test_a_run_ends_at_a_hole_and_at_a_long_step() -> None:
    x = np.array([0, 1, 2, 3, 4, 20, 21, 22.0])
    y = np.array([1, 1, np.nan, 1, 1, 1, 1, 1.0])
    assert [(r.start, r.stop) for r in runs(x, y)] == [(0, 2), (3, 5), (5, 8)]
    assert [(r.start, r.stop) for r in runs(x, y, gap=np.inf)] == [(0, 2), (3, 8)]
    assert runs(x, np.full(8, np.nan)) == []


# ------------------------------------------------------------------------------------------------ charts


def test_a_trend_is_where_its_values_are() -> None:
    chart = tree(
        trend_chart(
            "s", "Score", [T0, T0 + 50, T0 + 100], [0.0, 0.5, 1.0], label="Score", limit=1.0, high=[0.2, 0.7, 1.2]
        )
    )
    line = next(e for e in by_class(chart, "stretched")[0] if "line" in e.get("class", ""))
    high = 1.2 + 0.08 * 1.2
    assert points(line) == [[(0, 1000), (500, pytest.approx(1000 * (1 - 0.5 / high), abs=0.06)),
                             (1000, pytest.approx(1000 * (1 - 1 / high), abs=0.06))]]  # fmt: skip
    limit = next(e for e in by_class(chart, "limit-line") if e.get("x2") == "100%")
    assert float(limit.get("y1", "").rstrip("%")) == pytest.approx(100 * (1 - 1 / high), abs=0.01)
    band = points(next(e for e in by_class(chart, "band") if e.tag == "path"))[0]
    assert len(band) == 6
    assert text_of(chart, "desc") == (
        "Score: from 0 to 1, last 1, highest 1.2; 33% of the time at or over the limit of 1."
    )
    assert [e.text for e in by_class(chart, "axis-y")] == ["Score"]


def test_a_gap_breaks_the_line_and_the_band() -> None:
    t = T0 + np.array([0, 10, 20, 500, 510.0])
    chart = tree(trend_chart("s", "Score", t, np.ones(5), high=np.ones(5) * 2, label="Score"))
    line = next(e for e in by_class(chart, "stretched")[0] if "line" in e.get("class", ""))
    assert [len(stretch) for stretch in points(line)] == [3, 2]
    assert [len(stretch) for stretch in points(next(e for e in by_class(chart, "band") if e.tag == "path"))] == [6, 4]


def test_an_axis_of_time_carries_utc_for_the_browser() -> None:
    chart = tree(trend_chart("s", "Score", [T0, T0 + 7 * 86_400], [0, 1], label="Score", gap_s=1e9))
    ticks_ = [e for e in by_class(chart, "tick-x") if e.get("data-utc")]
    assert ticks_[0].get("data-utc") == "2025-06-16T00:00:00Z"
    assert ticks_[0].get("data-local") == "tick-date"
    assert ticks_[0].text == "16 Jun"
    assert [e.text for e in chart.iter() if "data-zone" in e.attrib] == ["UTC"]


def test_marks_outside_are_left_out() -> None:
    marks = [Mark(T0 + 5, "bundle 3", "bundle 3 installed"), Mark(T0 - 5, "early", "before")]
    chart = tree(trend_chart("s", "Score", [T0, T0 + 10], [0, 1], label="Score", marks=marks))
    (line,) = by_class(chart, "mark-line")
    assert line.get("x1") == "50%"
    assert [e.text for e in by_class(chart, "mark-text")] == ["bundle 3"]


def test_an_empty_trend_says_so() -> None:
    chart = tree(trend_chart("s", "Score", [], [], label="Score", limit=1.0))
    assert "nothing has been measured" in text_of(chart, "desc")


def test_a_trend_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"high: expected one value for each of 2 times, got \(3,\)"):
        trend_chart("s", "Score", [0, 1], [0, 1], high=[1, 2, 3], label="Score")
    with pytest.raises(ValueError, match="ascending"):
        trend_chart("s", "Score", [1, 0], [0, 1], label="Score")


def test_a_spectrum_names_its_fault_lines_where_they_are() -> None:
    f = np.linspace(0, 500, 501)
    a = np.exp(-(((f - 105.9) / 2) ** 2))
    faults = [FaultLines("BPFO", 3.585, [105.9, 211.8, 317.7, 900.0]), FaultLines("BPFI", 5.415, [160.0], found=False)]
    chart = tree(spectrum_chart("e", "Envelope", f, a, label="Envelope (m/s²)", faults=faults))
    lines = [float(e.get("x1", "").rstrip("%")) for e in by_class(chart, "fault-0") if e.tag == "line"]
    assert lines == pytest.approx([21.18, 42.36, 63.54])
    assert [e.text for e in by_class(chart, "fault-text") if "fault-0" in e.get("class", "")] == [
        "BPFO",
        "2\N{MULTIPLICATION SIGN}",
        "3\N{MULTIPLICATION SIGN}",
    ]
    legend = ["".join(e.itertext()) for e in chart.iter("li")]
    assert legend == ["BPFO: order 3.58, 105.9 Hz", "BPFI: order 5.42, 160.0 Hz, not found"]
    said = text_of(chart, "desc")
    assert "is at 106.0 Hz" in said
    assert "BPFO (order 3.58) shows at 105.9, 211.8, 317.7, 900.0 Hz" in said
    assert "BPFI (order 5.42) would show at" in said
    top = next(e for e in by_class(chart, "stretched")[0])
    peak = min(points(top)[0], key=lambda p: p[1])
    assert peak[0] == pytest.approx(212, abs=0.1)


def test_a_wide_spectrum_is_in_kilohertz() -> None:
    f = np.linspace(0, 6000, 601)
    chart = tree(spectrum_chart("e", "Spectrum", f, np.ones(601), label="Amplitude (m/s²)"))
    assert [e.text for e in by_class(chart, "axis-x")] == ["Frequency (kHz)"]
    assert [e.text for e in by_class(chart, "tick-x")] == ["0", "1", "2", "3", "4", "5", "6"]
    assert by_class(chart, "tick-x")[3].get("x") == "50%"
    with pytest.raises(ValueError, match="at most 4"):
        spectrum_chart("e", "x", f, f, label="x", faults=[FaultLines("a", 1, [1])] * 5)


def test_two_histograms_are_shares_of_their_own() -> None:
    chart = tree(histogram_pair("h", "Scores", [0, 1, 2], [30, 10], [1, 3], names=("champion", "candidate"), limit=1.0))
    assert [e.text for e in by_class(chart, "legend")[0].iter("span")] == [
        "champion (40 windows)",
        "candidate (4 windows)",
    ]
    high = 75 * 1.08
    bar = next(e for e in by_class(chart, "bar") if e.tag == "path")
    assert (
        bar.get("d")
        == f"M0 1000V{number(1000 * (1 - 75 / high))}H500V1000ZM500 1000V{number(1000 * (1 - 25 / high))}H1000V1000Z"
    )
    assert [e.get("x1") for e in by_class(chart, "limit-line")] == ["50%"]
    assert "candidate: 4 windows, most of them around 1.5" in text_of(chart, "desc")
    empty = tree(histogram_pair("h", "Scores", [0, 1], [0], [0], names=("a", "b")))
    assert "a: no windows. b: no windows." in text_of(empty, "desc")
    with pytest.raises(ValueError, match="expected 2 each for 3 edges"):
        histogram_pair("h", "Scores", [0, 1, 2], [1], [1, 2], names=("a", "b"))


def test_split_scores_stand_on_both_sides_of_the_limit() -> None:
    chart = tree(score_split("s", "Scores", [0.3, 0.4, 0.5], [2.0, 30.0, 100.0]))
    place = float(by_class(chart, "limit-line")[0].get("x1", "").rstrip("%"))
    assert place == pytest.approx(100 * (0 - (np.log10(0.3) - 0.02)) / (np.log10(100 / 0.3) + 0.04), abs=0.01)


def test_a_roc_begins_and_ends_in_its_corners() -> None:
    chart = tree(roc_chart("r", "ROC", [("int8", [0, 0, 1], [0, 1, 1], 1.0)]))
    line = next(
        e for e in by_class(chart, "series-1") if "line" in e.get("class", "").split() and len(points(e)[0]) == 3
    )
    assert points(line) == [[(0, 1000), (0, 0), (1000, 0)]]
    assert text_of(chart, "desc") == "int8: area under the curve 1.0000."


def test_curves_and_waveforms_say_what_they_show() -> None:
    chart = tree(
        curve_chart("c", "Loss", [Curve("train", [1, 2, 3], [3, 2, 1])], x_label="Epoch", y_label="Loss (nats)")
    )
    assert text_of(chart, "desc") == "train: from 3 to 1, between 1 and 3 (Loss (nats) over Epoch)."
    wave = tree(waveform_chart("w", "Window", [[0.0, 1], [1, 2], [0, 3]], 1000.0, axes=["x", "y"], label="m/s²"))
    assert [e.text for e in by_class(wave, "axis-x")] == ["Time (ms)"]
    assert text_of(wave, "desc").startswith("x: from 0 to 1, rms 0.577; y: from 1 to 3")
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        waveform_chart("w", "Window", [[1.0], [2.0]], 10.0, axes=["x", "y"], label="m/s²")


def test_a_sparkline_has_a_name_and_a_limit() -> None:
    spark = sparkline([0.0, 1.0, np.nan, 2.0], "score of the last day", limit=1.0)
    assert isinstance(spark, Svg)
    root = tree(spark)
    assert text_of(root, "title") == "score of the last day"
    assert by_class(root, "limit-line")[0].get("d") == f"M0 {number(1000 * (1 - 1 / 2.16))}H1000"
    assert tree(sparkline([], "nothing")).get("role") == "img"


def test_times_of_the_charts_are_utc() -> None:
    assert datetime.fromtimestamp(T0, UTC).isoformat() == "2025-06-15T15:06:40+00:00"
