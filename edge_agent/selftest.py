"""What is checked before an agent is trusted with a gateway: after an installation, before a restart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_agent.config import BrokerSettings, Config
from edge_agent.identity import Identity, check_valid
from edge_agent.install import check_fit, load_bundle_file, load_network, prove
from edge_agent.runtime import Runtime, find_runtime
from edge_agent.storage import load_document, prepare_folder
from edge_agent.transport import MqttTransport
from edge_agent.update import SlotRecord
from edge_agent.wire import Inbox
from models.bundle.archive import SUFFIX
from models.errors import MillwrightError

BROKER_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome, for people."""

    name: str
    passed: bool
    text: str


def run_selftest(config: Config) -> Iterator[Check]:
    """Run every check, also after one that failed; yields each as it is done."""
    yield _check("state folder", lambda: _state_folder(config))
    yield _check("root of trust", lambda: _root_of_trust(config))
    runtime: list[Runtime] = []
    yield _check("runtime", lambda: _runtime(config, runtime))
    for slot in config.slots:
        yield _check(f"slot {slot}", lambda slot=slot: _slot(config, slot, runtime))  # type: ignore[misc]
    if config.broker.identity_dir is not None:
        yield _check("certificate", lambda: _certificate(Identity(config.broker.identity_dir)))  # type: ignore[arg-type]
    yield _check("broker", lambda: _broker(config.broker))
    if (frames := config.frames) is not None:
        yield _check("broker of the frames", lambda: _broker(frames))


def _check(name: str, what: Callable[[], str]) -> Check:
    try:
        return Check(name, True, what())
    except MillwrightError as error:
        return Check(name, False, str(error))


class _UnmetError(MillwrightError):
    """A check that is not met."""


def _state_folder(config: Config) -> str:
    prepare_folder(config.gateway.state_dir)
    return f"{config.gateway.state_dir} can be written"


def _root_of_trust(config: Config) -> str:
    for path in (config.gateway.state_dir / "root.json", config.trust_root):
        if path is not None and path.is_file():
            return str(path)
    raise _UnmetError("no root.json in the state folder and none named by [trust] root: every want will be refused")


def _runtime(config: Config, found: list[Runtime]) -> str:
    found.append(find_runtime(config.runtime.kind, config.runtime.threads))
    return found[0].name


def _slot(config: Config, slot: str, runtime: list[Runtime]) -> str:
    folder = config.gateway.state_dir / "slots" / slot
    record = load_document(folder / "slot.json", SlotRecord) or SlotRecord()
    if record.active is None:
        return "no bundle is installed yet"
    if not runtime:
        raise _UnmetError("not tried: there is no runtime")
    bundle = load_bundle_file(folder / f"{record.active.sha256}{SUFFIX}", record.active.sha256)
    check_fit(bundle.manifest, slot, config.points_of(slot))
    report, _ = prove(bundle, load_network(bundle, runtime[0]), runtime[0])
    return (
        f"bundle {bundle.manifest.version}: golden scores differ by {report.max_difference:.2%} at most, "
        f"{report.window_us:.0f} us a window"
    )


def _certificate(identity: Identity) -> str:
    identity.must_exist()
    facts = identity.facts()
    if facts is None:
        raise _UnmetError(f"{identity.pem}: gone")
    check_valid(facts, time.time())
    return f"of {facts.gateway}, valid for {(facts.not_after_s - time.time()) / 86_400:.0f} days"


def _broker(settings: BrokerSettings) -> str:
    transport = MqttTransport(settings, f"mw-selftest-{os.getpid()}", Inbox("mw/"))
    transport.check(BROKER_WAIT_S)
    return f"{settings.host}:{settings.port} accepts us"
