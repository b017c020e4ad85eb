"""Charts as SVG, drawn on the server: pure functions from numpy arrays to markup, without a library.

    trend_chart       a figure over time with its band (min to max) and its limit
    spectrum_chart    amplitude over frequency, with the lines of fault orders marked
    waveform_chart    the axes of a raw window over time
    histogram_pair    two distributions on the same edges, champion and candidate
    score_split       scores of healthy and of faulty windows, with the limit between
    roc_chart         hits over false alarms
    curve_chart       any other line over any other axis
    sparkline         a small line without axes, for a cell of a table

The plot itself is stretched to the width it is given; texts are not: a phone shows them as large as a desk does.
Colours are classes of `static/css/charts.css`: light, dark and print are the style sheet's. Times on axes are UTC and
carry `data-utc`, from which the browser writes them in the viewer's zone. Long series are thinned so that every peak
stays (`thin.m4`). Every axis has its unit, every chart a title and a description for who cannot see it.
"""

from cloud_hub.charts.curves import Curve, curve_chart, roc_chart
from cloud_hub.charts.distributions import histogram_pair, score_split
from cloud_hub.charts.markup import Svg
from cloud_hub.charts.spectrum import FaultLines, spectrum_chart
from cloud_hub.charts.trend import Mark, sparkline, trend_chart
from cloud_hub.charts.waveform import waveform_chart

__all__ = [
    "Curve",
    "FaultLines",
    "Mark",
    "Svg",
    "curve_chart",
    "histogram_pair",
    "roc_chart",
    "score_split",
    "sparkline",
    "spectrum_chart",
    "trend_chart",
    "waveform_chart",
]
