"""How many failed sign-ins are looked at: token buckets by account, by browser and by address.

An account that is locked after failures could be locked by anybody, for ever. So nothing here ever locks: a bucket
refills at a steady pace, whatever happens meanwhile, and a browser from which the account was signed in to before has a
bucket of its own, which strangers cannot empty (a "device cookie"). The command line asks no bucket at all.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

_MAX_KEYS = 65_536


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` failures at once, then one more every `each_s`."""

    burst: int
    each_s: float


# At one a minute, the 10,000 most common passwords (none of which passes `check_password`) would take a week.
ACCOUNT = Pace(8, 60.0)
DEVICE = Pace(8, 60.0)
ADDRESS = Pace(40, 10.0)
Key = tuple[str, Pace]


class Throttle:
    """Buckets in memory: they are full again after a restart, and one hub process serves all logins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, keys: Sequence[Key], now_s: float) -> float:
        """Take one from each bucket; 0.0. If one is empty, nothing is taken: seconds until there would be one."""
        with self._lock:
            levels = [self._level(key, now_s) for key in keys]
            wait_s = max(
                (max(0.0, (1.0 - level) * pace.each_s) for level, (_, pace) in zip(levels, keys, strict=True)),
                default=0.0,
            )
            if wait_s > 0.0:
                return wait_s
            for (name, _), level in zip(keys, levels, strict=True):
                self._keep(name, level - 1.0, now_s)
            return 0.0

    def give_back(self, keys: Sequence[Key], now_s: float) -> None:
        """What was taken for a try that turned out well."""
        with self._lock:
            for key in keys:
                self._keep(key[0], min(float(key[1].burst), self._level(key, now_s) + 1.0), now_s)

    def _level(self, key: Key, now_s: float) -> float:
        name, pace = key
        level, at_s = self._levels.get(name, (math.inf, now_s))
        return min(float(pace.burst), level + max(0.0, now_s - at_s) / pace.each_s)

    def _keep(self, name: str, level: float, now_s: float) -> None:
        self._levels[name] = (level, now_s)
        self._levels.move_to_end(name)
        while len(self._levels) > _MAX_KEYS:
            self._levels.popitem(last=False)


def keys_for(account: str, address: str, device: str | None) -> list[Key]:
    """The buckets of one try. `device`: of a browser from which this account was signed in to before, else None."""
    who = (f"device {device}", DEVICE) if device is not None else (f"account {account}", ACCOUNT)
    return [who, (f"address {network_of(address)}", ADDRESS)]


def network_of(address: str) -> str:
    """Who is behind an address: one IPv4 address, or the /64 that every IPv6 customer has at least."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]  # a socket's path, or a test
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
