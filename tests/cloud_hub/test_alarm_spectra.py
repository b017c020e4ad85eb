"""The spectra of an alarm's window: the fault's lines stand where its order says, on the axis where they are plainest."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud_hub.alarms.spectra import Spectra, spectra
from cloud_hub.api.pages.evidence_charts import evidence_charts, shown_marks
from cloud_hub.api.routes.machines import SpectrumBody, WaveformBody
from cloud_hub.errors import NotFoundError
from cloud_hub.store.database import Database
from cloud_hub.store.views import EvidenceSummary, EvidenceWindow
from models.contract.messages import Diagnosis, Evidence, OrderMatch
from models.signal.orders import deepest_envelope, modulation_depths
from tests.cloud_hub.test_api import Hub
from tests.simulators import plant_data
from tests.simulators.callers import VIEWER
from tests.simulators.hub import ApiClient, event

LINE_HZ = plant_data.OUTER * plant_data.SHAFT_HZ
RATE_HZ = plant_data.RATE_HZ


def window(samples: np.ndarray, axes: tuple[str, ...] = ("x", "y", "z")) -> EvidenceWindow:
    summary = EvidenceSummary(RATE_HZ, axes, "m/s2", len(samples), 7.0, 3.0, None, None)
    return EvidenceWindow("gw-1.a1", 1, "P-101", "de", "gw-1", "ab" * 32, 1.0, summary, samples.astype("<f4").tobytes())


def match(fault: str, order: float, confidence: float) -> OrderMatch:
    hz = order * plant_data.SHAFT_HZ
    return OrderMatch(fault=fault, order=order, frequency_hz=hz, harmonics=[], prominence=3.0, confidence=confidence)


DIAGNOSIS = Diagnosis(
    summary="",
    fault="BPFO",
    orders=[match("BPFO", plant_data.OUTER, 0.9), match("BPFI", 5.415, 0.02), match("FTF", 0.398, 0.01)],
)


@pytest.fixture(scope="module")
def found() -> Spectra:
    samples = plant_data.bearing_window(1, samples=16_384)
    return spectra(window(samples[:, ::-1]), DIAGNOSIS)  # the plainest axis comes last


def test_the_faults_lines_stand_where_they_are_marked(found: Spectra) -> None:
    assert found.axis == "z"
    assert found.shaft_hz == pytest.approx(plant_data.SHAFT_HZ)
    mark = found.marks[0]
    assert (mark.fault, mark.named) == ("BPFO", True)
    assert mark.lines_hz == pytest.approx([k * LINE_HZ for k in (1, 2, 3, 4)])
    assert len(mark.found_hz) >= 2
    assert mark.found_hz[0] == pytest.approx(LINE_HZ, rel=0.012)
    around = np.abs(found.envelope_hz - LINE_HZ) < 3.0
    elsewhere = (found.envelope_hz > 40.0) & (found.envelope_hz < 0.9 * LINE_HZ)
    assert found.envelope[around].max() > 4 * found.envelope[elsewhere].max()
    assert found.carrier_hz is not None


def test_the_amplitudes_are_those_of_the_signal() -> None:
    t = np.arange(12_000) / RATE_HZ
    tone = np.stack([3.0 * np.sin(2 * np.pi * 1000.0 * t), 0.0 * t], axis=1)
    found = spectra(window(tone, ("x", "y")), None)
    assert (found.axis, found.shaft_hz, found.marks) == ("x", None, ())
    assert found.hz[np.argmax(found.amplitude)] == pytest.approx(1000.0)
    assert np.sqrt(np.sum(found.amplitude**2)) == pytest.approx(3.0 / np.sqrt(2), rel=1e-3)


def test_a_window_too_short_for_orders_shows_what_the_gateway_said() -> None:
    found = spectra(window(plant_data.bearing_window(1, samples=200)), DIAGNOSIS)
    assert found.marks[0].found_hz == ()
    assert found.marks[0].frequency_hz == pytest.approx(LINE_HZ)
    with pytest.raises(NotFoundError, match="has the axes x, y, z, not 'w'"):
        spectra(window(plant_data.bearing_window(1)), DIAGNOSIS, "w")


def test_the_pictures_mark_what_is_likely(found: Spectra) -> None:
    assert [mark.fault for mark in shown_marks(found.marks)] == ["BPFO"]
    assert [mark.fault for mark in shown_marks(found.marks[1:])] == ["BPFI"]  # none is likely: the first one
    charts = evidence_charts(window(plant_data.bearing_window(1, samples=16_384)), found)
    assert charts.envelope is not None
    assert f"BPFO: order {plant_data.OUTER:.3g}, {LINE_HZ:.1f} Hz" in charts.envelope
    assert "RMS of a line (m/s²)" in charts.amplitude


def test_the_envelope_shown_is_the_one_that_was_judged() -> None:
    x = np.ascontiguousarray(plant_data.bearing_window(1)[:, 0])
    carrier, hz, lines = deepest_envelope(x, RATE_HZ, LINE_HZ)
    near = np.abs(hz - LINE_HZ) < 1.6 * hz[1]
    assert lines[near].max() == pytest.approx(modulation_depths(x, RATE_HZ, [LINE_HZ])[0])
    assert carrier[0] < carrier[1] <= RATE_HZ / 2


def test_over_http(database: Database, tmp_path: Path) -> None:
    hub = Hub(database, tmp_path)
    samples = plant_data.bearing_window(1)
    evidence = Evidence(
        rate_hz=RATE_HZ, axes=["x", "y", "z"], units="m/s2", samples=len(samples), window=samples.tobytes(), shift=b"",
        raw_score=7.0, raw_limit=3.0,
    )  # fmt: skip
    hub.store(event(1, diagnosis=DIAGNOSIS))
    assert hub.problem("/api/v1/alarms/gw-1.a1/spectrum", 404).detail.startswith("alarm gw-1.a1: no evidence")
    told = event(5, alarm="a5", diagnosis=DIAGNOSIS)
    hub.store(msgspec.structs.replace(told, evidence=evidence))
    got = msgspec.convert(hub.get("/api/v1/alarms/gw-1.a5/spectrum"), SpectrumBody)
    assert (got.axis, got.marks[0].fault, got.marks[0].named) == ("x", "BPFO", True)
    assert len(got.hz) == len(got.amplitude) == len(samples) // 2 + 1
    wave = msgspec.convert(hub.get("/api/v1/alarms/gw-1.a5/waveform", columns=100), WaveformBody)
    assert [curve.axis for curve in wave.curves] == ["x", "y", "z"]
    assert max(wave.curves[0].value) == pytest.approx(float(samples[:, 0].max()))
    assert len(wave.curves[0].value) <= 400
    hub.problem("/api/v1/alarms/gw-1.a5/spectrum", 404, axis="w")
    hub.api = ApiClient(hub.app, VIEWER)
    hub.problem("/api/v1/alarms/gw-1.a5/spectrum", 403)
