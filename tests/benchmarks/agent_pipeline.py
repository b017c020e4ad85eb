"""Times the agent's own classes on one bundle, in a process without TensorFlow; prints figures as JSON."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import edge_agent.agent
from edge_agent.config import PointSettings
from edge_agent.install import load_network
from edge_agent.intake import Intake
from edge_agent.runtime import find_runtime
from edge_agent.slot import Slot
from edge_agent.watch import Loaded, Watch
from models.bundle.archive import read_bundle
from models.contract.frames import encode_counts
from models.contract.ids import GatewayId, MachineId, NodeId, PointId, SlotId
from models.contract.topics import Frames, topic_of

POINTS = 8
ROUNDS = 7
WINDOWS_A_ROUND = 256
GATEWAY = GatewayId("bench")


def main() -> None:
    """Measure and print."""
    bundle = read_bundle(Path(sys.argv[1]).read_bytes(), sys.argv[1])
    loaded = load_network(bundle, find_runtime())
    spec = bundle.manifest.input
    memory = _memory_mb(loaded)
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((64, spec.window, len(spec.axes))).astype(np.float32)
    figures = {
        "window": spec.window,
        "hop": spec.hop,
        "axes": len(spec.axes),
        "features": bundle.manifest.network.input.size,
        "points": POINTS,
        **memory,
    }
    bare = bare_loop(loaded)
    watch = Watch(loaded, ["p"])
    _warm(watch, windows)
    for size in (1, 64):
        batch = windows[:size]
        owners = [0] * size
        timed = _interleaved(
            {
                "bare": (lambda b=batch: bare(b), size),
                "watch": (lambda b=batch, o=owners: watch.monitor.process(b, o), size),
                "frames": _frames_work(loaded, size),
            }
        )
        figures |= {f"{name}_{size}": value for name, value in timed.items()}
    json.dump(figures, sys.stdout)


def bare_loop(loaded: Loaded) -> Callable[[np.ndarray], np.ndarray]:
    """What one would write by hand for the same features and score: numpy in batches, LiteRT, nothing else."""
    manifest, spec = loaded.manifest, loaded.manifest.input
    from models.signal.features import FeatureExtractor

    extract = FeatureExtractor(manifest.features, spec)
    edges = [(round(i.low_hz * spec.window / spec.rate_hz), round(i.high_hz * spec.window / spec.rate_hz))
             for i in extract.infos if i.axis == 0 and i.kind == "log_bands"]  # fmt: skip
    starts = np.array([low for low, _ in edges] + [edges[-1][1]])
    block = next(b for b in manifest.features.blocks if type(b).__name__ == "EnvelopeBands")
    low, high = (round(hz / spec.rate_hz * spec.window) for hz in (block.carrier_low_hz, block.carrier_high_hz))
    lines = np.unique(np.geomspace(2, block.high_hz / spec.rate_hz * spec.window, block.bands + 1).astype(int))
    taper = np.hanning(spec.window + 1)[:-1].astype(np.float32)
    mean = np.asarray(manifest.normalisation.mean, np.float32)
    scale = np.asarray(manifest.normalisation.scale, np.float32)

    def run(windows: np.ndarray) -> np.ndarray:
        x = windows.transpose(0, 2, 1)
        x = x - x.mean(axis=-1, keepdims=True)
        bands = np.add.reduceat(np.abs(np.fft.rfft(x * taper)) ** 2, starts, axis=-1)[..., :-1]
        plain = np.fft.rfft(x)
        shifted = np.zeros((*x.shape[:2], 2 * (high - low)), np.complex64)
        shifted[..., : high - low] = plain[..., low:high]
        envelope = np.abs(np.fft.ifft(shifted)) ** 2
        envelope /= envelope.mean(axis=-1, keepdims=True)
        modulation = np.add.reduceat(np.abs(np.fft.rfft(envelope - 1)) ** 2, lines, axis=-1)[..., :-1]
        square = x**2
        power = square.mean(axis=-1)
        shape = [power, square.max(axis=-1) / power, (square**2).mean(axis=-1) / power**2]
        parts = [bands, modulation, np.stack(shape, axis=-1)]
        features = np.log10(np.concatenate(parts, axis=-1) + 1e-12).reshape(len(windows), -1)
        z = (_fit(features, len(mean)) - mean) / scale
        residual = z - loaded.network(np.clip(z, -6, 6).astype(np.float32))
        return np.sqrt((residual**2).mean(axis=1))

    return run


def _fit(features: np.ndarray, size: int) -> np.ndarray:
    """The hand-written bands may be a few fewer: fill up, the time is what counts here."""
    return np.pad(features, ((0, 0), (0, size - features.shape[1]))) if features.shape[1] < size else features[:, :size]


def _warm(watch: Watch, windows: np.ndarray) -> None:
    """Calibrate, so that what is timed is a live point."""
    while watch.monitor.warmup_left(0):
        watch.monitor.process(windows, [0] * len(windows))


def _frames_work(loaded: Loaded, size: int) -> tuple[Callable[[], object], int]:
    """Frames of one point for `size` windows: decoded, ordered, cut, judged, added to trends."""
    spec = loaded.manifest.input
    point = PointSettings(
        machine=MachineId("M"), point=PointId("p"), slot=SlotId(loaded.manifest.slot), node=NodeId("n"),
        axes=tuple(spec.axes), units=spec.units, quantity=spec.quantity, rate_hz=spec.rate_hz,
    )  # fmt: skip
    slot = Slot(point.slot, [point], 10.0, lambda: "id")
    slot.install(loaded)
    intake = Intake(GATEWAY, [point])
    topic = topic_of(Frames(GATEWAY, point.node))
    rng = np.random.default_rng(1)
    counts = (rng.standard_normal((spec.hop, len(spec.axes))) * 1000).astype(np.int16)
    # Encoded beforehand: that is the sensor node's work.
    payloads = iter(
        [
            encode_counts(counts, 1e-3, boot_id=1, seq=i, clock=i * spec.hop, rate_hz=spec.rate_hz)
            for i in range(ROUNDS * WINDOWS_A_ROUND + 200)
        ]
    )
    now_s = 0.0

    def push(windows: int) -> None:
        nonlocal now_s
        for _ in range(windows):
            arrival = intake.accept(topic, next(payloads), now_s)
            if arrival is None:
                raise RuntimeError(f"a frame was dropped: {intake.counters}")
            slot.push(arrival.point, arrival.samples, now_s, gap=arrival.gap)
            now_s += spec.hop / spec.rate_hz

    while slot.champion is None or slot.champion.monitor.warmup_left(0):
        push(4)
        slot.tick(now_s)

    def work() -> None:
        for _ in range(max(1, size // 4)):  # a ring holds a few windows: 4 frames a tick, as at 10 ticks a second
            push(min(size, 4))
            slot.tick(now_s)

    return work, size


def _interleaved(work: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Windows a second of each, medians over rounds in which all take turns, so that noise hits all alike."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (run, size) in work.items():
            repeats = max(1, WINDOWS_A_ROUND // size)
            began = time.perf_counter()
            for _ in range(repeats):
                run()
            rates[name].append(repeats * size / (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in rates.items()}


def _memory_mb(loaded: Loaded) -> dict[str, float]:
    """Resident and proportional memory with everything loaded that a running agent has."""
    import paho.mqtt.client

    watch = Watch(loaded, [f"p{i}" for i in range(POINTS)])
    spec = loaded.manifest.input
    watch.monitor.process(np.zeros((POINTS, spec.window, len(spec.axes)), np.float32), range(POINTS))
    kept = (edge_agent.agent, paho.mqtt.client, watch)
    smaps = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", smaps, re.MULTILINE))
    del kept
    return {"rss_mb": int(found["Rss"]) / 1024, "pss_mb": int(found["Pss"]) / 1024}


if __name__ == "__main__":
    main()
