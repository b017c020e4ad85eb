"""`edge-agent install FILE`: a package from a USB stick, whether the agent runs or not.

A running agent finds it in its drop folder. Without one, this process is the agent for as long as it takes, with no
network: the same code, the same checks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from edge_agent.agent import Agent
from edge_agent.config import Config
from edge_agent.errors import FolderClaimedError, StorageError, TrustError
from edge_agent.runtime import find_runtime
from edge_agent.stick import put_package, read_answer
from edge_agent.storage import lock_folder
from edge_agent.trust import TrustStore
from edge_agent.wire import Inbox
from edge_agent.worker import ThreadWorker
from models.bundle.package import MAX_PACKAGE_BYTES, decode_package

_LOOK_S = 0.2


class NoNetwork:
    """Implements `wire.Transport`: never connected."""

    connected = False
    connections = 0

    def __init__(self) -> None:
        self.inbox = Inbox("-")

    def start(self) -> None:
        """See `wire.Transport`, as the others."""

    def subscribe(self, filters: Iterable[str], qos: int = 1) -> None:
        """Nothing to subscribe to."""

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Nothing was."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:  # noqa: ARG002
        """Never taken."""
        return False

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Nothing to close."""


def install_package(config: Config, file: Path, timeout_s: float) -> str:
    """Install a package; the text says what became of it.

    Raises: TrustError: refused, for the reason and with the text that the hub would have got.
            StorageError: it cannot be read, or nothing came of it in time. BundleFormatError: not a package.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_PACKAGE_BYTES + 1)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror or error}") from error
    decode_package(data, file.name)
    state_dir = config.gateway.state_dir
    lock = _lock(state_dir)
    package = put_package(state_dir, file.name, data)
    deadline = time.monotonic() + timeout_s
    if lock is None:
        while read_answer(package) is None and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    else:
        _be_the_agent(config, package, deadline)
        os.close(lock)
    answer = read_answer(package)
    if answer is None:
        text = f"{file.name}: no answer within {timeout_s:g} s; it stays in {package.parent}, and is tried on"
        raise StorageError(text)
    if answer.reason is not None:
        raise TrustError(answer.reason, f"{file.name}: refused ({answer.reason}): {answer.text}")
    return answer.text


def _lock(state_dir: Path) -> int | None:
    """The folder's lock, None when an agent is running."""
    try:
        return lock_folder(state_dir)
    except FolderClaimedError:
        return None


def _be_the_agent(config: Config, package: Path, deadline: float) -> None:
    transport = NoNetwork()
    runtime = find_runtime(config.runtime.kind, config.runtime.threads)
    trust = TrustStore(config.gateway.state_dir)
    agent = Agent(config, transport, trust, runtime, ThreadWorker(transport.inbox.wake), boot_id=os.urandom(8).hex())
    agent.start()
    while read_answer(package) is None and time.monotonic() < deadline:
        agent.step()
    agent.close()
