"""One machine: a disk over the image, and a systemd of its own that boots from it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.fleet.image import USER
from tests.fleet.network import Network
from tests.fleet.processes import Process, wait_until

_CGROUPS = Path("/sys/fs/cgroup")
_BOOT_S = 180.0  # several boot at once, on two busy cores
_END_S = 30.0
# In a mount namespace of its own: the disk's mount ends with the machine, whoever kills it.
_SETUP = r"""
set -eu
lower=$1 disk=$2 groups=$3
shift 3
for group in $groups; do echo $$ > "$group/cgroup.procs"; done
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
if [ -e "$disk/seed.tar" ]; then
  tar -C "$disk/root" -xpf "$disk/seed.tar" --numeric-owner
  rm "$disk/seed.tar"
fi
exec "$@"
"""
_NETWORK_UNIT = """
[Match]
Name=host0
[Network]
Address={address}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


class MachineError(Exception):
    """A machine does not do what it should."""


class Machine:
    """A host by name. `folder` holds its disk, its console's log and the ids of its processes."""

    def __init__(self, name: str, address: str, folder: Path, image: Path, network: Network) -> None:
        self.name, self.address, self.folder, self._image, self._network = name, address, folder, image, network
        self._pids = folder / "pids"
        self.console = folder / "console.log"
        self._ours: subprocess.Popen[bytes] | None = None  # when this process started it

    # -------------------------------------------------------------------------------------------- its life

    def make(self, hosts: str, host_key: Path, authorized_key: str) -> None:
        """A fresh disk: nothing on it but the image, a name, an address and who may come in."""
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        with tarfile.open(self.folder / "seed.tar", "w") as seed:
            for path, text, mode, owner in (
                ("etc/hostname", f"{self.name}\n", 0o644, 0),
                ("etc/hosts", hosts, 0o644, 0),
                ("etc/resolv.conf", "", 0o644, 0),
                ("etc/systemd/network/10-floor.network", _NETWORK_UNIT.format(address=self.address), 0o644, 0),
                ("etc/ssh/ssh_host_ed25519_key", host_key.read_text("ascii"), 0o600, 0),
                ("etc/ssh/ssh_host_ed25519_key.pub", host_key.with_suffix(".pub").read_text("ascii"), 0o644, 0),
                (f"home/{USER}/.ssh/authorized_keys", authorized_key, 0o600, self._user_id()),
            ):
                member = tarfile.TarInfo(path)
                member.size, member.mode, member.uid, member.gid = len(text.encode()), mode, owner, owner
                seed.addfile(member, io.BytesIO(text.encode()))

    def _user_id(self) -> int:
        for line in (self._image / "etc/passwd").read_text("utf-8").splitlines():
            if line.startswith(f"{USER}:"):
                return int(line.split(":")[2])
        raise MachineError(f"{self._image}: has no user {USER}")

    def start(self) -> None:
        """Power on, and do not wait."""
        nspawn = [
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.folder / 'root'}", f"--machine={self.name}",
            "--register=no", "--keep-unit", f"--network-bridge={self._network.bridge}", "--console=read-only",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        ]  # fmt: skip
        setup = ["sh", "-c", _SETUP, "setup", str(self._image), str(self.folder)]
        command = [*self._network.enter(), "unshare", "--mount", "--propagation=private", *setup]
        if Path("/run/systemd/system").is_dir():  # a systemd rules here: it gives the machine its cgroup
            scope = ["systemd-run", "--quiet", "--scope", "--property=Delegate=yes"]
            command = [*scope, *command, "", *nspawn]
        else:
            for group in self._cgroups():
                group.mkdir(exist_ok=True)
            command = [*command, " ".join(map(str, self._cgroups())), *nspawn]
        with self.console.open("ab") as log:
            # A session of its own: Ctrl-C is for the one who drives, who then puts an end to us.
            self._ours = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._write([Process.of(self._ours.pid)])

    def wait(self) -> None:
        """Until everything that shall run after booting does.

        Raises: MachineError: it has ended. TimeIsUpError: it takes too long.
        """
        state = wait_until(f"{self.name} to boot (see {self.console})", self._booted, _BOOT_S)
        if state != "running":
            failed = self.inside("systemctl", "list-units", "--failed", "--no-legend", "--plain", check=False)
            raise MachineError(f"{self.name} is {state}: {failed.strip()}")

    def _booted(self) -> str | None:
        if not self.is_running:
            raise MachineError(f"{self.name} has ended; its console said:\n{self.console.read_text()[-2000:]}")
        payload = self._payload()
        if payload is None:
            return None
        asked = self.inside("systemctl", "is-system-running", check=False).strip()
        return asked if asked in {"running", "degraded"} else None

    def kill(self) -> None:
        """Power off without a word to anybody on it. The disk stays."""
        ours = self._read()
        nspawn = ours[0] if ours else None
        for process in [*(nspawn.children() if nspawn is not None and nspawn.is_alive else []), *ours[1:]]:
            process.kill()  # the init: the kernel ends everything else in there with it
        for process in ours:
            try:
                wait_until("", lambda p=process: not p.is_alive, _END_S, every_s=0.02)  # type: ignore[misc]
            finally:
                process.kill()
        self.reap()
        self._pids.unlink(missing_ok=True)
        for group in self._cgroups():
            for inner in sorted(group.rglob("*/"), reverse=True) if group.is_dir() else []:
                if inner.is_dir():
                    inner.rmdir()
            if group.is_dir():
                group.rmdir()

    def reap(self) -> None:
        """Take note that it has ended, whoever ended it; nothing when another process started it."""
        if self._ours is not None:
            self._ours.wait(_END_S)
            self._ours = None

    def erase(self) -> None:
        """What it was is gone, its disk too."""
        self.kill()
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------------------------------------ from outside

    @property
    def is_running(self) -> bool:
        ours = self._read()
        return bool(ours) and ours[0].is_alive

    def inside(self, *command: str, check: bool = True, timeout_s: float = 120.0) -> str:
        """A command run by root on the machine, past its network and its sshd; what it printed.

        Raises: MachineError: it failed.
        """
        payload = self._payload()
        if payload is None:
            raise MachineError(f"{self.name} does not run")
        done = subprocess.run(
            [*_enter(payload), *command],
            capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode != 0:
            said = (done.stdout[-1000:] + done.stderr[-1000:]).strip()
            raise MachineError(f"{self.name}: {' '.join(command)} ended with {done.returncode}: {said}")
        return done.stdout

    def carry(self, source: Path, target: str) -> None:
        """A file onto the machine without its network, as on a stick."""
        payload = self._payload()
        if payload is None:
            raise MachineError(f"{self.name} does not run")
        with source.open("rb") as content:
            subprocess.run(
                [*_enter(payload), "tee", target], stdin=content, stdout=subprocess.DEVNULL, check=True, timeout=120
            )

    def command_lines(self) -> list[str]:
        """Of every process on it, seen from out here."""
        payload = self._payload()
        return [] if payload is None else _command_lines(payload)

    def plug(self, *, into: bool) -> None:
        """Pull its cable, or put it back."""
        self._network.plug(self.name, into=into)

    # ------------------------------------------------------------------------------------------------ records

    def _payload(self) -> Process | None:
        """The machine's init. It is what nspawn started last; before that, its forerunner has another name."""
        ours = self._read()
        if len(ours) > 1:
            return ours[1] if ours[1].is_alive else None
        for child in ours[0].children() if ours else []:
            if Path(f"/proc/{child.pid}/comm").read_text().strip() == "systemd":
                self._write([ours[0], child])
                return child
        return None

    def _write(self, processes: Sequence[Process | None]) -> None:
        self._pids.write_text("".join(f"{one.pid} {one.started}\n" for one in processes if one is not None))

    def _read(self) -> list[Process]:
        if not self._pids.exists():
            return []
        return [Process(*map(int, line.split())) for line in self._pids.read_text().splitlines()]

    def _cgroups(self) -> list[Path]:
        """Its own, where no systemd gives one: two machines in one would be one to their inits."""
        tops = [_CGROUPS / "systemd", _CGROUPS / "unified", _CGROUPS]
        name = f"{self._network.name}-{self.name}"
        return [top / name for top in tops if os.access(top / "cgroup.procs", os.W_OK)]


def _enter(payload: Process) -> list[str]:
    """What stands before a command that root runs on the machine of this init."""
    return [
        "nsenter", "--target", str(payload.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root",
        "--wd=/", "--", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL=C.UTF-8",
    ]  # fmt: skip


def _command_lines(top: Process) -> list[str]:
    try:
        own = Path(f"/proc/{top.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [own, *(line for child in top.children() for line in _command_lines(child))]
