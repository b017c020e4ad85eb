"""Time that passes on the machines alone: libfaketime in every process but their init.

What it does: whoever asks for the time of day (services, logins, Ansible's modules, OpenSSL when it verifies a
certificate) hears a later one, from one second to the next, also processes that run already. What it does not do:
the kernel's own clock stays, so durations are real, files and the journal bear real time, and systemd's calendar timers
do not fire. A hundred days of them are a matter for a hundred days.
"""

from __future__ import annotations

from tests.fleet.floor import Floor

_PREPARE = r"""
set -eu
echo '+0' > /etc/faketimerc
chmod 0644 /etc/faketimerc
# Only the time of day: who waits for half a second waits that long.
printf 'FAKETIME_DONT_FAKE_MONOTONIC=1\nFAKETIME_CACHE_DURATION=1\n' > /etc/environment
echo 'Defaults env_keep += "FAKETIME_DONT_FAKE_MONOTONIC FAKETIME_CACHE_DURATION"' > /etc/sudoers.d/clock
mkdir -p /etc/systemd/system/service.d
printf '[Service]\nEnvironment=FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1\n' \
  > /etc/systemd/system/service.d/clock.conf
ls /usr/lib/*/faketime/libfaketimeMT.so.1 > /etc/ld.so.preload
systemctl daemon-reload
systemctl restart ssh $(systemctl list-units --plain --no-legend --type=service --state=running \
  'millwright-*' nginx.service | cut -d' ' -f1)
"""


def prepare(floor: Floor, *names: str) -> None:
    """Processes that begin from now on hear our clock, which still tells the right time; services begin anew."""
    for name in names:
        floor.machines[name].inside("sh", "-c", _PREPARE)
        floor.hang_up(name)


def pass_days(floor: Floor, days: float, *names: str) -> None:
    """So many days are gone since the beginning."""
    for name in names:
        floor.machines[name].inside("sh", "-c", f"echo '+{days:g}d' > /etc/faketimerc")
