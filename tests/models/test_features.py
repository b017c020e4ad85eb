"""Every numpy signal function against SciPy, which shares no code with it."""

import itertools

import numpy as np
import pytest
from scipy import signal as sp
from scipy import stats

from models.bundle.manifest import EnvelopeBands, FeatureSpec, InputSpec, LogBands, Moments, Shape
from models.errors import SignalError
from models.signal.envelope import EnvelopePlan, envelope_spectrum
from models.signal.features import FeatureExtractor
from models.signal.spectrum import amplitude_spectrum, hann, log_band_edges

RATE_HZ = 8192.0
N = 4096


def source(axes: int = 1, window: int = N) -> InputSpec:
    names = [f"a{i}" for i in range(axes)]
    return InputSpec(quantity="acceleration", units="g", axes=names, rate_hz=RATE_HZ, window=window, hop=window)


def noise(k: int, axes: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((k, N, axes)) * 0.3 + 2.0).astype(np.float32)


def test_hann_is_scipys_periodic_window() -> None:
    np.testing.assert_allclose(hann(256), sp.windows.hann(256, sym=False), atol=1e-7)


def test_amplitude_spectrum_is_scipys_periodogram() -> None:
    x = noise(1)[0, :, 0]
    hz, power = amplitude_spectrum(x, RATE_HZ)
    want_hz, want = sp.periodogram(x, RATE_HZ, "hann", detrend="constant", scaling="density")
    np.testing.assert_allclose(hz, want_hz)
    np.testing.assert_allclose(power[1:-1], want[1:-1] * RATE_HZ / N, rtol=1e-5)


def test_log_bands_are_sums_of_scipys_periodogram() -> None:
    block = LogBands(bands=24, low_hz=20.0, high_hz=4000.0)
    windows = noise(3, axes=2)
    got = FeatureExtractor(FeatureSpec(blocks=[block]), source(2))(windows)
    edges = log_band_edges(20.0, 4000.0, 24, RATE_HZ, N)
    _, density = sp.periodogram(
        windows.astype(np.float64), RATE_HZ, "hann", detrend="constant", scaling="density", axis=1
    )
    for axis in range(2):
        for band, (low, high) in enumerate(itertools.pairwise(edges)):
            want = np.log10(density[:, low:high, axis].sum(axis=1) * RATE_HZ / N)
            np.testing.assert_allclose(got[:, axis * 24 + band], want, atol=2e-4)


def test_linear_detrend_is_scipys() -> None:
    ramp = np.linspace(0, 50, N, dtype=np.float32)[None, :, None]
    windows = noise(2) + ramp
    block = Shape()
    got = FeatureExtractor(FeatureSpec(detrend="linear", blocks=[block]), source())(windows)
    want = sp.detrend(windows[:, :, 0].astype(np.float64), axis=1)
    np.testing.assert_allclose(got[:, 0], np.log10(np.square(want).mean(axis=1)), atol=2e-4)


def test_shape_is_rms_crest_and_scipys_kurtosis() -> None:
    windows = noise(4, seed=3)
    windows[0, 100, 0] += 20.0
    got = FeatureExtractor(FeatureSpec(blocks=[Shape()]), source())(windows)
    x = windows[:, :, 0].astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    rms = np.sqrt(np.square(x).mean(axis=1))
    np.testing.assert_allclose(got[:, 0], 2 * np.log10(rms), atol=1e-4)
    np.testing.assert_allclose(got[:, 1], np.log10(np.abs(x).max(axis=1) / rms), atol=1e-4)
    np.testing.assert_allclose(got[:, 2], np.log10(stats.kurtosis(x, axis=1, fisher=False)), atol=1e-4)


def test_moments_are_scipys_line_fit() -> None:
    rng = np.random.default_rng(5)
    windows = (rng.standard_normal((3, 32, 1)) + np.linspace(0, 4, 32)[None, :, None]).astype(np.float32)
    spec = FeatureSpec(detrend="none", blocks=[Moments()])
    got = FeatureExtractor(spec, source(window=32))(windows)
    for row, window in zip(got, windows[:, :, 0].astype(np.float64), strict=True):
        fit = stats.linregress(np.arange(32), window)
        residual = window - (fit.intercept + fit.slope * np.arange(32))
        np.testing.assert_allclose(row, [window.mean(), fit.slope * 32, residual.std()], rtol=1e-4)


def modulated(carrier_hz: float, modulation_hz: float, depth: float) -> np.ndarray:
    t = np.arange(N) / RATE_HZ
    return ((1 + depth * np.cos(2 * np.pi * modulation_hz * t)) * np.sin(2 * np.pi * carrier_hz * t)).astype(np.float32)


def test_squared_envelope_is_that_of_scipys_hilbert() -> None:
    x = modulated(1800.0, 64.0, 0.5)
    plan = EnvelopePlan((1000.0, 3000.0), RATE_HZ, N)
    got = plan.squared_envelope(np.fft.rfft(x)[None].astype(np.complex64))[0]
    want = np.abs(sp.hilbert(x.astype(np.float64))) ** 2  # all of the signal lies within the carrier band
    step = N / plan.points
    at = np.arange(0, plan.points, 7)
    exact = np.interp(at * step, np.arange(N), want)
    np.testing.assert_allclose(got[at], exact, rtol=0.02, atol=0.02)


def test_envelope_leaves_other_bands_out() -> None:
    x = modulated(1800.0, 64.0, 0.5) + 3.0 * modulated(300.0, 20.0, 0.9)
    hz, lines = envelope_spectrum(x, RATE_HZ, (1000.0, 3000.0))
    peak = hz[1:][np.argmax(lines[1:])]
    assert peak == pytest.approx(64.0, abs=hz[1])
    # (1 + d cos)^2 = 1 + d^2/2 + 2 d cos + ...: relative amplitude of the line is 2 d / (1 + d^2 / 2).
    assert lines[np.argmin(np.abs(hz - 64.0))] == pytest.approx(2 * 0.5 / (1 + 0.125), rel=0.02)
    assert lines[np.argmin(np.abs(hz - 20.0))] < 0.02


def test_envelope_bands_see_modulation_and_not_level() -> None:
    block = EnvelopeBands(carrier_low_hz=1000.0, carrier_high_hz=3000.0, bands=10, low_hz=8.0, high_hz=400.0)
    extract = FeatureExtractor(FeatureSpec(blocks=[block]), source())
    quiet = modulated(1800.0, 64.0, 0.5)[None, :, None]
    loud = quiet * 30.0
    deep = modulated(1800.0, 64.0, 0.9)[None, :, None]
    np.testing.assert_allclose(extract(quiet), extract(loud), atol=1e-3)
    change = extract(deep) - extract(quiet)
    band = next(i for i, info in enumerate(extract.infos) if info.low_hz <= 64.0 < info.high_hz)
    assert change[0, band] > 0.2


def test_batches_give_what_single_windows_give() -> None:
    spec = FeatureSpec(
        blocks=[
            LogBands(bands=16, low_hz=20.0, high_hz=3600.0),
            EnvelopeBands(carrier_low_hz=1024.0, carrier_high_hz=3072.0, bands=8, low_hz=4.0, high_hz=400.0),
            Shape(),
            Moments(),
        ]
    )
    windows = noise(150, axes=2, seed=7)  # more rows than one block of the extractor
    extract = FeatureExtractor(spec, source(2))
    together = extract(windows)
    alone = np.concatenate([extract(w[None]) for w in windows])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert together.shape == (150, len(extract.names)) == (150, 2 * (16 + 8 + 3 + 3))
    assert together.dtype == np.float32


def test_input_is_left_as_it_was() -> None:
    windows = noise(2)
    before = windows.copy()
    FeatureExtractor(FeatureSpec(blocks=[LogBands(bands=4, low_hz=20.0, high_hz=3000.0), Shape()]), source())(windows)
    np.testing.assert_array_equal(windows, before)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (LogBands(bands=4, low_hz=20.0, high_hz=9000.0), "expected 0 < low < high <= 4096 Hz"),
        (LogBands(bands=500, low_hz=4000.0, high_hz=4096.0), "do not fit 4096 samples at 8192 Hz"),
        (
            EnvelopeBands(carrier_low_hz=3000.0, carrier_high_hz=2000.0, bands=4, low_hz=4.0, high_hz=100.0),
            "expected low < high",
        ),
    ],
)
def test_specs_that_do_not_fit_say_why(block: LogBands | EnvelopeBands, text: str) -> None:
    with pytest.raises(SignalError, match=text):
        FeatureExtractor(FeatureSpec(blocks=[block]), source())


def test_windows_of_another_shape_are_refused() -> None:
    extract = FeatureExtractor(FeatureSpec(blocks=[Shape()]), source(2))
    with pytest.raises(SignalError, match=r"expected \(k, 4096, 2\), got \(1, 4096, 1\)"):
        extract(noise(1))


def test_band_edges_are_strictly_increasing_and_widen_narrow_bands() -> None:
    edges = log_band_edges(2.0, 4000.0, 64, RATE_HZ, N)
    assert (np.diff(edges) >= 1).all()
    assert len(edges) == 65
    assert edges[0] == 1
