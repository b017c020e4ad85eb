"""kill -9 at random moments of a real agent, on a real Mosquitto, while bundle after bundle is wanted of it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.storage import load_document
from edge_agent.update import SlotRecord, State
from models.contract.messages import CHUNK_BYTES, AgentState
from tests.edge_agent.kit import SLOT, WINDOW, Node, bundle_bytes, config_toml, healthy
from tests.edge_agent.live import LiveSite, live_site
from tests.simulators.brokers import KINDS, running_broker

pytestmark = [*KINDS[0].marks, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 200
MAX_BYTES_S = 500_000  # so that kills come while it is fetching, too
WITH_WORKER = 20
SEED = 77
VERSIONS = 4
LIVES_A_WANT = 3
LONGEST_LIFE_S = 0.8  # grows by a quarter while LIVES_A_WANT lives in a row came to nothing: machines differ


class Forks:
    """Agents started by `tests.edge_agent.fork_server`."""

    def __init__(self, site: LiveSite) -> None:
        self._log = (site.folder / "agent.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.edge_agent.fork_server", str(site.config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip

    def start(self, trust: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{trust}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


class Sensor(threading.Thread):
    """Windows of healthy signal, one after the other, until it is told to stop."""

    def __init__(self, site: LiveSite) -> None:
        super().__init__(daemon=True)
        self._site, self._node, self._stop_it = site, Node(), threading.Event()

    def run(self) -> None:
        while not self._stop_it.is_set():
            self._site.feed(5, healthy, self._node, pace_s=WINDOW / 12_000.0)

    def stop(self) -> None:
        self._stop_it.set()
        self.join(10)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_broker("mosquitto", tmp_path_factory.mktemp("broker")) as port:
        yield port


def look(folder: Path, known: set[str], *, ran: bool) -> SlotRecord:
    """What is on the disk right after a kill: a whole record, whole files, and something to run."""
    record = load_document(folder / "slot.json", SlotRecord)
    if record is None:
        assert not ran
        return SlotRecord()
    named = [one.sha256 for one in (record.active, record.previous) if one is not None]
    assert record.active is not None or not ran, "neither the old model nor the new one"
    assert set(named) <= known
    for sha256 in named:
        assert (folder / f"{sha256}.mwb").exists(), f"{record.state}: {sha256} is named and not there"
    for path in folder.glob("*.mwb"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem, "a half file under a final name"
    return record


def test_it_always_comes_back_with_a_whole_model_and_goes_on(tmp_path: Path, port: int) -> None:
    rng = random.Random(SEED)
    with live_site(tmp_path, port) as site:
        site.config.write_text(
            config_toml(site.state_dir, port, root=site.fleet.hub / "root.json").replace(
                "[update]", f"[update]\nmax_starts = {10 * KILLS}\nmax_bytes_s = {MAX_BYTES_S}"
            )
        )
        bundles = [bundle_bytes(f"{v}.0.0", padding=7 * CHUNK_BYTES + v) for v in range(1, VERSIONS + 1)]
        offered = [site.publish_bundle(data) for data in bundles]
        known = {wanted.sha256 for wanted in offered}
        folder = site.state_dir / "slots" / SLOT
        forks, sensor = Forks(site), Sensor(site)
        sensor.start()
        killed, ran, found, active, wants, lives, longest_s = 0, False, Counter(), Counter(), 0, 0, LONGEST_LIFE_S
        record = SlotRecord()
        try:
            for life in range(KILLS):
                settled = record.state is State.CONFIRMED and lives >= LIVES_A_WANT
                if wants == 0 or settled or lives >= 5 * LIVES_A_WANT:
                    site.want(offered[wants % VERSIONS])
                    site.forget()
                    wants, lives = wants + 1, 0
                pid = forks.start("worker" if life % (KILLS // WITH_WORKER) == 9 else "within")
                time.sleep(rng.uniform(0.0, longest_s))
                os.kill(pid, signal.SIGKILL)
                killed += 1
                lives += 1
                before, record = record, look(folder, known, ran=ran)
                if lives % LIVES_A_WANT == 0:
                    stuck = record.state is before.state and record.state is not State.CONFIRMED
                    longest_s = longest_s * 1.25 if stuck else LONGEST_LIFE_S
                ran = record.active is not None
                found[record.state] += 1
                active[record.active.version if record.active is not None else None] += 1
            last = offered[2]
            site.want(last)
            site.forget()
            pid = forks.start("worker")
            state = site.await_(
                AgentState,
                lambda s: s.online and bool(s.slots) and s.slots[0].phase == "confirmed"
                and s.slots[0].active_sha256 == last.sha256,
                timeout_s=120.0,
            )  # fmt: skip
            os.kill(pid, signal.SIGTERM)
        finally:
            sensor.stop()
            forks.close()
        told = (
            f"seed {SEED}: {killed} kills, {wants} wants, found in {dict(sorted((s.value, n) for s, n in found.items()))}, "
            f"running {dict(sorted((str(v), n) for v, n in active.items()))}"
        )
        sys.stdout.write(f"{told}\n")
        assert killed >= 200
        assert len(found) >= 5, f"the kills came in too few states: {told}"
        assert len(active) >= 3, f"too few updates came to their end: {told}"
        assert state.points[0].warmup_left == 0
        assert look(folder, known, ran=True).state is State.CONFIRMED
        assert not list(folder.glob("*.part"))
        assert "Traceback" not in site.said(), site.said()[-3000:]
