"""Log-mel frames against the formulas written out with SciPy, and the statistics of clips against plain ones."""

import numpy as np
import pytest
from scipy import signal as sp
from scipy.fft import dct

from models.bundle.manifest import ClipStatistic, FeatureSpec, InputSpec, LogMel
from models.errors import SignalError
from models.signal.features import FeatureExtractor
from models.signal.mel import ClipStatistics, MelPlan, hz_to_mel, mel_filters, mel_to_hz

RATE_HZ, N_FFT, HOP, MELS, FRAMES = 16_000.0, 1024, 512, 128, 40
WINDOW = N_FFT + (FRAMES - 1) * HOP


def sound(k: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(WINDOW) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * rng.uniform(300, 3000, (k, 1)) * t)
    return (tone + 0.03 * rng.standard_normal((k, WINDOW))).astype(np.float32)


def slaney(hz: float) -> float:
    """The mel scale by cases, as Slaney's Auditory Toolbox has it."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def oracle(x: np.ndarray) -> np.ndarray:
    """Decibels (frames, mels) in double precision: SciPy's STFT, triangles by interpolation."""
    hz, _, spectrum = sp.stft(
        x.astype(np.float64),
        RATE_HZ,
        sp.windows.hann(N_FFT, sym=False),
        N_FFT,
        N_FFT - HOP,
        boundary=None,
        padded=False,
    )
    power = np.abs(spectrum * (N_FFT / 2)) ** 2  # stft divides by the window's sum
    grid = np.linspace(0, 8000, 200_001)
    mel_grid = np.array([slaney(f) for f in grid])
    corners = np.interp(np.linspace(0, mel_grid[-1], MELS + 2), mel_grid, grid)
    bank = np.stack(
        [
            np.interp(hz, corners[i : i + 3], [0, 1, 0], left=0, right=0) * 2 / (corners[i + 2] - corners[i])
            for i in range(MELS)
        ]
    )
    return 20.0 / 2.0 * np.log10(bank @ power + np.finfo(np.float64).eps).T


def test_frames_are_those_of_the_written_out_formulas() -> None:
    x = sound(3)
    got = MelPlan(WINDOW, RATE_HZ)(x)
    assert got.shape == (3, FRAMES, MELS)
    for one, row in zip(got, x, strict=True):
        np.testing.assert_allclose(one, oracle(row), atol=0.01)  # decibels


def test_silence_is_the_floor() -> None:
    got = MelPlan(WINDOW, RATE_HZ)(np.zeros((1, WINDOW), np.float32))
    np.testing.assert_allclose(got, 10 * np.log10(np.finfo(np.float64).eps), rtol=1e-5)


def test_mel_scale_is_linear_then_logarithmic_and_inverts() -> None:
    hz = np.array([0.0, 200.0, 999.0, 1000.0, 6400.0])
    np.testing.assert_allclose(hz_to_mel(hz), [slaney(f) for f in hz])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_triangles_have_unit_area() -> None:
    filters = mel_filters(RATE_HZ, 65_536, 40, 0.0, 8000.0)
    np.testing.assert_allclose(filters.sum(axis=0) * RATE_HZ / 65_536, 1.0, atol=1e-3)


def block(**changes: object) -> LogMel:
    statistics = [
        ClipStatistic(kind="mean", size=128),
        ClipStatistic(kind="high", size=16),
        ClipStatistic(kind="deviation", size=32),
        ClipStatistic(kind="change", size=16),
        ClipStatistic(kind="cepstral_deviation", size=12),
        ClipStatistic(kind="cepstral_change", size=12),
    ]
    return LogMel(**({"high_hz": 8000.0, "statistics": statistics} | changes))


def test_statistics_are_the_plain_ones() -> None:
    frames = np.random.default_rng(1).normal(-30, 4, (3, 50, MELS)).astype(np.float32)
    got = ClipStatistics(block().statistics, MELS)(frames)
    x = frames.astype(np.float64)
    cepstra = dct(x, axis=2, norm="ortho")[:, :, :12]

    def step(a: np.ndarray) -> np.ndarray:
        return np.sqrt((np.diff(a, axis=1) ** 2).mean(axis=1))

    want = [
        x.mean(axis=1),
        np.sort(x, axis=1)[:, -5:].mean(axis=1).reshape(3, 16, 8).mean(axis=2),
        20 * np.log10(x.std(axis=1)).reshape(3, 32, 4).mean(axis=2),
        20 * np.log10(step(x)).reshape(3, 16, 8).mean(axis=2),
        20 * np.log10(cepstra.std(axis=1)),
        20 * np.log10(step(cepstra)),
    ]
    np.testing.assert_allclose(got, np.concatenate(want, axis=1), atol=2e-3)


def extractor(window: int = WINDOW) -> FeatureExtractor:
    source = InputSpec(quantity="sound", units="FS", axes=["left", "right"], rate_hz=RATE_HZ, window=window, hop=512)
    return FeatureExtractor(FeatureSpec(detrend="none", blocks=[block()]), source)


def test_a_window_gives_the_same_in_any_batch_and_as_its_frames() -> None:
    extract = extractor()
    windows = np.stack([sound(5), sound(5, seed=1)], axis=2)
    together = extract(windows)
    for i in range(5):
        np.testing.assert_array_equal(extract(windows[i : i + 1])[0], together[i])
    left = ClipStatistics(block().statistics, MELS)(MelPlan(WINDOW, RATE_HZ)(windows[:, :, 0]))
    np.testing.assert_array_equal(together[:, : together.shape[1] // 2], left)


def test_features_say_which_band_they_are() -> None:
    infos = extractor().infos
    assert len(infos) == 2 * (128 + 16 + 32 + 16 + 12 + 12)
    assert (infos[0].low_hz, infos[0].kind, infos[0].power) == (0.0, "mel_mean", 20.0)
    assert infos[127].high_hz == pytest.approx(8000.0)
    assert infos[-1].low_hz is None
    assert infos[216].name.startswith("right")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: extractor(window=1024),
            "2 frames of 1024 samples, one every 512, take 1536 samples, the window has 1024",
        ),
        (lambda: mel_filters(RATE_HZ, 1024, 128, 0.0, 9000.0), "expected 0 <= low < high <= 8000 Hz"),
        (lambda: mel_filters(RATE_HZ, 128, 128, 0.0, 8000.0), "band 0 holds no bin of 125 Hz"),
        (lambda: ClipStatistics([ClipStatistic(kind="change", size=24)], 128), "a size that divides 128 bands, got 24"),
        (
            lambda: ClipStatistics([ClipStatistic(kind="cepstral_change", size=129)], 128),
            "129 coefficients of 128 bands",
        ),
        (lambda: ClipStatistics(block().statistics, 128)(np.zeros((1, 9, 64), np.float32)), r"got \(1, 9, 64\)"),
    ],
)
def test_specs_that_do_not_fit(make: object, text: str) -> None:
    with pytest.raises(SignalError, match=text):
        make()
