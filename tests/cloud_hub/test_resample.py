import numpy as np
import pytest

from cloud_hub.data.recording import Recording
from cloud_hub.data.resample import carried_to_hz, resample
from cloud_hub.errors import DataError


def tone(hz: float, rate_hz: float, seconds: float = 1.0) -> Recording:
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return Recording("r", "p", np.sin(2 * np.pi * hz * t).astype(np.float32)[:, None], rate_hz, ("x",), "g", "")


@pytest.mark.parametrize("rate_hz", [12_000.0, 48_000.0, 25_600.0, 10_000.0])
@pytest.mark.parametrize("hz", [200.0, 3000.0, 4400.0])
def test_a_tone_within_the_band_comes_through_alike_from_any_rate(rate_hz: float, hz: float) -> None:
    out = resample(tone(hz, rate_hz), 10_000.0)
    assert out.rate_hz == 10_000.0
    assert float(out.samples.std()) == pytest.approx(2**-0.5, rel=2e-3)
    spectrum = np.abs(np.fft.rfft(out.samples[:, 0] * np.hanning(len(out.samples))))
    assert np.argmax(spectrum) * 10_000 / len(out.samples) == pytest.approx(hz, abs=2)


@pytest.mark.parametrize("hz", [5100.0, 5900.0])
def test_nothing_from_beyond_folds_back(hz: float) -> None:
    for rate_hz in (12_000.0, 48_000.0):
        assert float(np.abs(resample(tone(hz, rate_hz), 10_000.0).samples).max()) < 1e-3


def test_played_faster_all_frequencies_rise() -> None:
    out = resample(tone(1000.0, 48_000.0), 10_000.0, speed=1.03)
    spectrum = np.abs(np.fft.rfft(out.samples[:, 0] * np.hanning(len(out.samples))))
    assert np.argmax(spectrum) * 10_000 / len(out.samples) == pytest.approx(1030.0, abs=2)


def test_refusals_say_why() -> None:
    with pytest.raises(DataError, match="sampled at 8000 Hz, below the 10000 Hz asked for"):
        resample(tone(100.0, 8000.0), 10_000.0)
    with pytest.raises(DataError, match="too short"):
        resample(tone(100.0, 48_000.0, 0.005), 10_000.0)
    with pytest.raises(DataError, match="no recordings"):
        carried_to_hz([])
    assert carried_to_hz([48_000.0, 12_000.0]) == pytest.approx(5100.0)
