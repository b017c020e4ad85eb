"""What the service manager hears from us: systemd's notifications (sd_notify(3)), as datagrams to the socket it names.

A unit with `Type=notify` counts as started when the loop turns, not when the process exists; one with `WatchdogSec=` is
started anew when the loop no longer turns.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from edge_agent.errors import ConfigError

log = logging.getLogger(__name__)


class ServiceManager:
    """Says how we are, when somebody wants to know; without a service manager every call does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises: ConfigError: the manager's own variables make no sense."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address and self._address[0] not in "/@":
            raise ConfigError([f"NOTIFY_SOCKET: expected a path or an abstract name (@...), got {self._address!r}"])
        self._every_s = _watchdog_s(environ) / 2  # the manager's advice: twice as often as it asks for
        self._due_s = float("-inf")

    def ready(self) -> None:
        """The loop turns."""
        self._say("READY=1")

    def alive(self, now_s: float) -> None:
        """The loop still turns; said only as often as the manager needs it."""
        if now_s >= self._due_s and self._every_s > 0:
            self._due_s = now_s + self._every_s
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """We have been told to end, and do so in good order."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        name = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
                ours.sendto(text.encode(), name)
        except OSError as error:
            # The machines are watched all the same; a manager that waits for this word acts by itself.
            log.warning("%s: the service manager could not be told %s: %s", self._address, text, error)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """The longest silence that the manager allows us; 0: it does not watch."""
    text, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text or (whose and whose != str(os.getpid())):  # meant for the process that started us
        return 0.0
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError([f"WATCHDOG_USEC: expected microseconds, got {text!r}"])
    return int(text) / 1e6
