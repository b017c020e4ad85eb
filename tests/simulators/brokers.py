"""Real brokers on loopback, started by the same command a user would start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud_hub.broker.loopback import find_mosquitto

KINDS = [
    pytest.param(
        "mosquitto",
        marks=[
            pytest.mark.broker,
            pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
        ],
    ),
    pytest.param("amqtt", marks=pytest.mark.broker),
]
START_S = 180.0


@contextmanager
def running_broker(kind: str, folder: Path, *more: str) -> Iterator[int]:
    """A broker for as long as the block lasts. Yields its port."""
    ready = folder / f"{kind}.json"
    command = [sys.executable, "-m", "cloud_hub", "broker", "--kind", kind, "--ready-file", str(ready), *more]
    with (folder / f"{kind}.log").open("w+b") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield int(await_file(ready, process)["port"])
        finally:
            process.terminate()
            code = process.wait(START_S)
        log.seek(0)
        said = log.read().decode(errors="replace")
    assert code == 0, said
    assert not ready.exists()
    assert len(said.splitlines()) == 1, f"expected one line of JSON and nothing else, got {said}"


def await_file(path: Path, process: subprocess.Popen[bytes]) -> dict:
    """What a process writes when it is ready."""
    deadline = time.monotonic() + START_S
    while not path.exists():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.02)
    return json.loads(path.read_text())
