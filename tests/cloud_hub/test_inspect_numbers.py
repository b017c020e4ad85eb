"""The numbers behind an inspection: windows, guesses, chance, steps, prints; each against what it must mean."""

import numpy as np
import pytest
from hypothesis import given as any_of
from hypothesis import settings
from hypothesis import strategies as st

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.inspecting.channels import longest_run, look_at, quantisation_step
from cloud_hub.inspecting.duplicates import STRETCH, equal_columns, fingerprints, shared_stretches
from cloud_hub.inspecting.inspect import MIN_HELD_OUT, MIN_TRAIN, enough
from cloud_hub.inspecting.names import guess_from_name
from cloud_hub.training.prepare import prepare
from models.families import family_named

RNG = np.random.default_rng(0)
RATE_HZ = 8192.0


@any_of(st.integers(0, 40), st.sampled_from(["spectral", "process"]))
@settings(max_examples=30)
def test_enough_means_what_training_means(extra: int, name: str) -> None:
    """The inspection's count of windows and the one that training refuses below agree around the border."""
    family = family_named(name)
    window, hop = family.window_for(RATE_HZ)
    samples = window * 6 + hop * extra
    x = np.random.default_rng(extra).standard_normal((samples, 1)).astype(np.float32)
    recording = Recording("r", "p", x, RATE_HZ, ("a",), "unknown", "0" * 64)
    if enough([recording], window, hop):
        (point,) = prepare([recording], family, "unknown").points
        assert len(point.train) >= MIN_TRAIN
        assert len(point.held_out) >= MIN_HELD_OUT
    else:
        with pytest.raises(DataError, match="windows to train on"):
            prepare([recording], family, "unknown")


@pytest.mark.parametrize(
    ("name", "quantity", "unit"),
    [
        ("Temp [degC]", "temperature", "degC"), ("acc_x_g", "acceleration", "g"), ("current_A", "current", "A"),
        ("phase_a", None, None), ("Accelerometer1RMS", "acceleration", None), ("DE", "acceleration", None),
        ("p_bar", "pressure", "bar"), ("Volume Flow RateRMS", "flow", None), ("motor temp (°C)", "temperature", "degC"),
        ("T1_c", None, None), ("value", None, None), ("Vibration (mm/s)", "acceleration", "mm/s"),
    ],
)  # fmt: skip
def test_guesses_from_names(name: str, quantity: str | None, unit: str | None) -> None:
    guess = guess_from_name(name)
    assert (guess.quantity, guess.unit) == (quantity, unit)


def test_a_run_of_chance_is_not_stuck_and_a_frozen_sensor_is() -> None:
    coarse = np.round(RNG.standard_normal(20_000) * 0.4)  # most neighbours are equal
    assert longest_run(coarse) == (0, 0)
    frozen = coarse.copy()
    frozen[5000:5200] = 1.0
    length, at = longest_run(frozen)
    assert at in range(4990, 5001)
    assert length >= 200


def test_quantisation_steps() -> None:
    x = np.unique(np.round(RNG.standard_normal(5000) / 0.125) * 0.125)
    assert quantisation_step(x) == pytest.approx(0.125)
    assert quantisation_step(np.unique(RNG.standard_normal(5000))) is None


def test_a_switch_and_a_smooth_signal_are_not_clipped() -> None:
    switch = look_at((RNG.random(5000) > 0.5) * 1.0)
    smooth = look_at(np.sin(np.arange(50_000) * 0.01))  # rests at its ends, but is not cut off there
    assert switch is not None
    assert smooth is not None
    for numbers in (switch, smooth):
        assert numbers.clipped_low == numbers.clipped_high == 0.0


def test_prints_of_flat_or_holey_stretches_are_left_out() -> None:
    flat = np.zeros(4000)
    holey = RNG.standard_normal(4000)
    holey[:: STRETCH - 1] = np.nan
    assert len(fingerprints(flat).hashes) == len(fingerprints(holey).hashes) == 0
    assert (
        shared_stretches("x", {0: fingerprints(RNG.standard_normal(9000)), 1: fingerprints(RNG.standard_normal(9000))})
        == []
    )


def test_equal_columns_but_for_sign_factor_offset() -> None:
    x = RNG.standard_normal((3, 5000))
    assert equal_columns({"a": x[0], "b": x[1], "c": 5 - 2 * x[0], "d": x[2]}) == [("a", "c")]
    assert equal_columns({"a": x[0], "b": x[0] + 1e-3 * x[1]}) == []
