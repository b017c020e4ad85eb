"""The floor's network: a namespace with one bridge, no other interface and no route, so no way out."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_BRIDGE = "floor"
SUBNET = "10.231.0"
CONTROLLER = f"{SUBNET}.1"
_NAMESPACES = Path("/run/netns")


def address_of(index: int) -> str:
    """The address of the machine that was added as number `index`, from 0."""
    return f"{SUBNET}.{10 + index}"


class Network:
    """One namespace. Several may exist beside each other with the same addresses: they do not see one another."""

    bridge = _BRIDGE

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = _NAMESPACES / name

    def create(self) -> None:
        _run("ip", "netns", "add", self.name)
        for command in (
            f"link add {_BRIDGE} type bridge", f"address add {CONTROLLER}/24 dev {_BRIDGE}",
            "link set lo up", f"link set {_BRIDGE} up",
        ):  # fmt: skip
            _run(*self.enter(), "ip", *command.split())

    def remove(self) -> None:
        """Let go of it; what was in it must have ended."""
        if self._path.exists():
            _run("ip", "netns", "delete", self.name)

    def enter(self) -> list[str]:
        """What stands before a command that shall run in this network."""
        return ["nsenter", f"--net={self._path}", "--"]

    def plug(self, machine: str, *, into: bool) -> None:
        """Pull a machine's cable, or put it back."""
        _run(*self.enter(), "ip", "link", "set", f"vb-{machine}", "up" if into else "down")

    def connect(self, address: str, port: int, timeout_s: float = 10.0) -> socket.socket:
        """A connection from the controller. A socket belongs to the network in which it was made, whoever uses it
        afterwards; only a thread of its own enters, and ends.
        """
        with ThreadPoolExecutor(1, "floor") as pool:
            connection = pool.submit(self._socket).result()
        connection.settimeout(timeout_s)
        try:
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def _socket(self) -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with self._path.open("rb") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self._path))
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
