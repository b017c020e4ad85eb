"""`edge-agent`. argparse, because a gateway pays for every import."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import AgentError, ConfigError, StorageError
from models.errors import BundleError, MillwrightError

if TYPE_CHECKING:
    from edge_agent.config import Config

EXIT_CODES = "exit codes: 0 done, 1 could not be done, 2 wrong usage, 3 wrong settings, 4 bundle refused"
DEFAULT_CONFIG = "/etc/millwright/agent.toml"


def build_parser() -> argparse.ArgumentParser:
    """The command line. `--config` may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE",
        help=f"settings (default: $MILLWRIGHT_AGENT_CONFIG, else {DEFAULT_CONFIG})",
    )  # fmt: skip
    common.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log every decision")
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Runs the models that the hub ships on this gateway's sensors.",
        epilog=EXIT_CODES, parents=[common],
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES, parents=[common])

    add("run", "run the agent until SIGTERM or SIGINT")
    add("check-config", "check the settings, tell every problem, and do nothing else")
    add("selftest", "check state folder, runtime, installed bundles and broker")
    status = add("status", "show what the running agent says of itself")
    status.add_argument("--json", action="store_true", help="as JSON, for programs")
    enrol = add("enrol", "get this gateway's certificate, and the root of trust with it, for a single-use token")
    token = enrol.add_mutually_exclusive_group(required=True)
    token.add_argument("--token-file", type=Path, metavar="FILE", help="the token from `cloud-hub identity token`")
    token.add_argument("--token", metavar="TOKEN", help="the same on the command line, where others may see it")
    way = enrol.add_mutually_exclusive_group(required=True)
    way.add_argument("--mqtt", metavar="HOST:PORT", help="over the broker's listener for enrolment")
    way.add_argument("--url", metavar="URL", help="over the hub's API, https://HOST:PORT")
    enrol.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="verify the connection with this authority (without it: HTTPS with the one that the token names)",
    )
    enrol.add_argument("--no-tls", action="store_true", help="--mqtt without TLS; the token protects what is said")
    enrol.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="for an answer (default: 30)")
    install = add("install", "install a bundle from a package file (USB stick), whether the agent runs or not")
    install.add_argument("file", type=Path, metavar="FILE", help="a package (.mwx) made by cloud-hub export")
    install.add_argument("--timeout", type=float, default=120.0, metavar="S", help="how long to wait (default: 120 s)")
    replay = add("replay", "run a bundle over a recording and print its verdicts")
    replay.add_argument("file", type=Path, metavar="FILE", help="recorded frames, or samples as .npz or .csv")
    replay.add_argument("--bundle", type=Path, metavar="FILE", help="a bundle file (default: the active one)")
    replay.add_argument("--slot", metavar="SLOT", help="whose active bundle, when the gateway has several slots")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; errors about the outside world become one line and an exit code."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if getattr(options, "verbose", False) else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    commands = {
        "run": _run, "check-config": _check_config, "selftest": _selftest, "status": _status, "replay": _replay,
        "enrol": _enrol_gateway,
        "install": _install,
    }  # fmt: skip
    try:
        sys.exit(commands[options.command](options))
    except ConfigError as error:
        for problem in error.problems:
            print(f"edge-agent: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except MillwrightError as error:
        print(f"edge-agent: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(4 if isinstance(error, BundleError) else error.exit_code if isinstance(error, AgentError) else 1)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _config(options: argparse.Namespace) -> Config:
    from edge_agent.config import load_config

    named = getattr(options, "config", None) or Path(os.environ.get("MILLWRIGHT_AGENT_CONFIG", DEFAULT_CONFIG))
    return load_config(named, os.environ)


def _check_config(options: argparse.Namespace) -> int:
    from edge_agent.config import describe_config

    for what, value in describe_config(_config(options)):
        _say(f"{what:<20} {value}")
    return 0


def _run(options: argparse.Namespace) -> int:
    import time

    from edge_agent.agent import Agent
    from edge_agent.identity import Identity
    from edge_agent.renewal import Renewal
    from edge_agent.runtime import find_runtime
    from edge_agent.service import ServiceManager
    from edge_agent.storage import lock_folder, prepare_folder
    from edge_agent.transport import MqttTransport
    from edge_agent.trust import TrustStore
    from edge_agent.wire import Inbox
    from edge_agent.worker import ThreadWorker
    from models.contract import topics
    from models.contract.messages import AgentState, encode

    config, manager = _config(options), ServiceManager(os.environ)
    gateway, state_dir = config.gateway.id, config.gateway.state_dir
    prepare_folder(state_dir)
    lock_folder(state_dir)
    _enrol(config)
    boot_id = os.urandom(8).hex()
    frames_prefix = topics.frames_filter(gateway).partition("+")[0]
    inbox = Inbox(frames_prefix)
    will = AgentState(gateway=gateway, boot_id=boot_id, online=False, time_s=0.0)
    transport = MqttTransport(
        config.broker, f"mw-{gateway}", inbox, will=(topics.topic_of(topics.State(gateway)), encode(will))
    )
    runtime = find_runtime(config.runtime.kind, config.runtime.threads)
    worker = ThreadWorker(inbox.wake)
    renewal = None
    if config.broker.identity_dir is not None:
        identity = Identity(config.broker.identity_dir)
        renewal = Renewal(identity, gateway, transport, worker, transport.reconnect)
    frames = MqttTransport(config.frames, f"mw-{gateway}-frames", inbox) if config.frames is not None else None
    agent = Agent(
        config, transport, TrustStore(state_dir), runtime, worker, boot_id=boot_id, renewal=renewal, frames=frames
    )
    stopping = False

    def stop(signum: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        logging.getLogger(__name__).info("%s: stopping", signal.Signals(signum).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    agent.start()
    agent.step()
    manager.ready()
    while not stopping:
        agent.step()
        manager.alive(time.monotonic())
    manager.stopping()
    agent.close()
    return 0


def _enrol(config: Config) -> None:
    """Put the root of trust from enrolment where the trust store keeps it, on first start.

    Raises: StorageError: it is named and cannot be read, or none is there at all.
    """
    from edge_agent.storage import write_atomically

    kept = config.gateway.state_dir / "root.json"
    if kept.exists() or config.trust_root is None:
        return
    try:
        root = config.trust_root.read_bytes()
    except OSError as error:
        raise StorageError(f"{config.trust_root}: the root of trust cannot be read: {error.strerror}") from error
    write_atomically(kept, root)  # half a root would be kept for ever, and every want refused


def _enrol_gateway(options: argparse.Namespace) -> int:
    from edge_agent.enrol import ask_over_https, ask_over_mqtt, context_for, enrol, pinned_context
    from edge_agent.identity import Identity
    from models.contract.identity import parse_token

    config = _config(options)
    if config.broker.identity_dir is None:
        raise ConfigError(["broker.identity_dir: missing: where shall key and certificate be kept?"])
    try:
        text = options.token if options.token is not None else options.token_file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{options.token_file}: the token cannot be read: {error}") from error
    token = parse_token(text)
    if options.url is not None:
        pinned = options.url.startswith("https://") and options.ca is None
        context = pinned_context(options.url, token.root_sha256, options.wait) if pinned else context_for(options.ca)
        ask = ask_over_https(options.url, context, options.wait)
    else:
        host, _, port = options.mqtt.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65_535:
            raise ConfigError([f"--mqtt: expected HOST:PORT, got {options.mqtt!r}"])
        ask = ask_over_mqtt(
            host.strip("[]"), int(port), None if options.no_tls else context_for(options.ca), options.wait
        )
    gateway = config.gateway
    identity = Identity(config.broker.identity_dir)
    facts = enrol(identity, gateway.state_dir, gateway.id, gateway.fleet, token, ask)
    until = datetime.fromtimestamp(facts.not_after_s, UTC)
    _say(f"gateway {facts.gateway} of fleet {facts.fleet}: certificate valid until {until:%Y-%m-%d %H:%M} UTC")
    return 0


def _selftest(options: argparse.Namespace) -> int:
    from edge_agent.selftest import run_selftest

    config = _config(options)
    failed = 0
    for check in run_selftest(config):
        _say(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.text}")
        failed += not check.passed
    return 1 if failed else 0


def _status(options: argparse.Namespace) -> int:
    import time

    from edge_agent.status import read_status, render_status

    status = read_status(_config(options).gateway.state_dir)
    _say(status.to_bytes().decode().rstrip() if options.json else render_status(status, time.time()))
    return 0


def _install(options: argparse.Namespace) -> int:
    from edge_agent.hand_install import install_package
    from edge_agent.storage import prepare_folder

    config = _config(options)
    prepare_folder(config.gateway.state_dir)
    _enrol(config)
    _say(install_package(config, options.file, options.timeout))
    return 0


def _replay(options: argparse.Namespace) -> int:
    from edge_agent.offline import replay_file

    for line in replay_file(_config(options), options.file, options.bundle, options.slot):
        _say(line)
    return 0
