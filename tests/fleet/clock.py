"""Time that passes on the machines alone: `clock.c`, loaded into every process but their init.

What it does: whoever asks for the time of day (services, logins, Ansible's modules, OpenSSL when it verifies a
certificate) hears a later one, from one moment to the next, also processes that run already. What it does not do: the
kernel's own clock stays, so durations are real, files and the journal bear real time, and systemd's calendar timers do
not fire.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from tests.fleet.floor import Floor

_SOURCE = Path(__file__).with_name("clock.c")
_FILE = "/etc/clock-ahead"
_LIBRARY = "/usr/local/lib/clock.so"
_PREPARE = f"""
set -eu
install -m 0644 /tmp/clock.so {_LIBRARY}
install -m 0644 /tmp/clock-ahead {_FILE}
echo {_LIBRARY} > /etc/ld.so.preload
systemctl restart ssh $(systemctl list-units --plain --no-legend --type=service --state=running \\
  'millwright-*' nginx.service | cut -d' ' -f1)
"""


def prepare(floor: Floor, *names: str) -> None:
    """Processes that begin from now on hear our clock, which still tells the right time; services begin anew."""
    library, ahead = floor.folder / "clock.so", floor.folder / "clock-ahead"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(_SOURCE)], check=True
    )  # fmt: skip
    ahead.write_bytes(_seconds(0))
    for name in names:
        floor.copy(name, library, "/tmp/clock.so")  # noqa: S108 - on a machine that lives for one test
        floor.copy(name, ahead, "/tmp/clock-ahead")  # noqa: S108
        floor.machines[name].inside("sh", "-c", _PREPARE)
        floor.hang_up(name)


def pass_days(floor: Floor, days: float, *names: str) -> None:
    """So many days are gone since the beginning. Written over in place: the file is mapped."""
    octal = "".join(f"\\{byte:03o}" for byte in _seconds(round(days * 86_400)))
    for name in names:
        floor.machines[name].inside("sh", "-c", f"printf '{octal}' | dd of={_FILE} conv=notrunc status=none")


def _seconds(ahead: int) -> bytes:
    return struct.pack("=q", ahead)
