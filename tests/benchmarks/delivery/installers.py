"""The same file installed by Millwright, by RAUC and by SWUpdate: time, bytes, kills midway, a tampered file.

RAUC 1.8 and SWUpdate 2022.12 as Debian 12 ships them, without a bootloader: RAUC with `bootloader=noop`, its service on
a private D-Bus, a raw slot that is a file, bundles in `plain` format (they are mounted through a loop device, so this
needs root); SWUpdate with its rawfile handler and `atomic-install`. Keys and certificates are made for the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from tests.benchmarks.delivery.measure import bundle_of
from tests.simulators.trust import Fleet

ROUNDS = 5
KILLS = 20
AIMED = 10
_LIMIT_S = 60.0
_SBIN = os.environ | {"PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One installer. `after_kill`: what the place of installation held after kill -9: the old file, the new, or neither
    (half a file, or none); half of the kills are spread over the whole run, half aimed at the moment when that place begins
    to change. `recovered`: in how many of these the next run brought the new one. `why`: could not run.
    """

    tool: str
    shipped_bytes: int = 0
    payload_bytes: int = 0
    install_s: float = 0.0
    tampered: str = ""
    kills: int = 0
    after_kill: dict[str, int] = {}
    recovered: int = 0
    note: str = ""
    why: str | None = None


class Installer(ABC):
    """One tool in a folder of its own. `target` is where the installed file ends up."""

    tool = ""

    def __init__(self, folder: Path, payload: bytes) -> None:
        self.folder, self.payload = folder, payload
        self.target = folder / "target"
        self.shipped = self.prepare()

    @abstractmethod
    def prepare(self) -> Path:
        """Make keys and the file that travels."""

    @abstractmethod
    def start(self, shipped: Path) -> subprocess.Popen[bytes]:
        """Start to install, in a session of its own; what must be killed is in it."""

    @abstractmethod
    def damaged(self) -> Path:
        """The travelling file with a bit of its payload flipped."""

    def clean(self) -> None:  # noqa: B027 - most have nothing to do
        """What an administrator has to do after a kill before the next run."""

    def put_back(self, old: bytes) -> None:
        """The state before: `old` is installed."""
        self.target.write_bytes(old)

    def holds(self) -> bytes | None:
        """What is installed."""
        return self.target.read_bytes()[: len(self.payload)] if self.target.exists() else None

    def run(self, shipped: Path) -> tuple[int, str]:
        """Install. Returns: exit code, and what it said."""
        process = self.start(shipped)
        try:
            said, _ = process.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        return process.returncode, said.decode(errors="replace")

    def spawn(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """A process in a session of its own whose output is kept."""
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder,
            env=_SBIN | environment, start_new_session=True,
        )  # fmt: skip


def make_certificate(folder: Path) -> None:
    """A CA that signs for itself: ca.pem, key.pem."""
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem",
        "-out", "ca.pem", "-days", "400", "-subj", "/CN=bench", "-addext", "extendedKeyUsage=emailProtection,codeSigning",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def flip(path: Path, payload: bytes, to: Path) -> Path:
    """A copy with one bit of the payload flipped, in its middle. Raises: RuntimeError: it is not stored as it is."""
    data = bytearray(path.read_bytes())
    middle = payload[len(payload) // 2 : len(payload) // 2 + 64]
    at = data.find(middle)
    if at < 0:
        raise RuntimeError(f"{path.name}: expected the payload in it as it is")
    data[at] ^= 1
    to.write_bytes(data)
    return to


# --------------------------------------------------------------------------------------------------------- the tools


class Ours(Installer):
    """The agent's own path: a `.part` file, the trust worker, fsync, rename."""

    tool = "millwright"

    def prepare(self) -> Path:
        fleet = Fleet(self.folder, now_s=time.time())
        self.wanted = fleet.add(self.payload)
        (self.folder / "metadata").write_bytes(fleet.repository.metadata_bundle())
        (self.folder / "wanted").write_bytes(msgspec.json.encode(self.wanted))
        shipped = self.folder / "shipped.mwb"
        shipped.write_bytes(self.payload)
        self.bytes_more = (self.folder / "metadata").stat().st_size
        return shipped

    def start(self, shipped: Path) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[3])
        return self.spawn([sys.executable, "-c", _OURS, str(self.folder), str(shipped)], PYTHONPATH=root)

    def damaged(self) -> Path:
        return flip(self.shipped, self.payload, self.folder / "damaged.mwb")


_OURS = """
import shutil, sys, time
from pathlib import Path
import msgspec
from edge_agent.trust import TrustStore
from models.contract.messages import WantedBundle
folder, shipped = Path(sys.argv[1]), Path(sys.argv[2])
wanted = msgspec.json.decode((folder / "wanted").read_bytes(), type=WantedBundle)
part = folder / "target.part"
shutil.copyfile(shipped, part)
metadata = (folder / "metadata").read_bytes()
TrustStore(folder / "gateway").verify_bundle(metadata, wanted, part, folder / "target", time.time())
"""


class Rauc(Installer):
    """RAUC: the slot that is not booted, a raw file."""

    tool = "RAUC"

    def prepare(self) -> Path:
        make_certificate(self.folder)
        source = self.folder / "in"
        source.mkdir()
        (source / "model.img").write_bytes(self.payload)
        (source / "manifest.raucm").write_text(
            "[update]\ncompatible=bench\nversion=1\n[bundle]\nformat=plain\n[image.model]\nfilename=model.img\n"
        )
        slots = ""
        for group, boot in enumerate("AB"):
            for name in ("rootfs", "model"):
                path = self.folder / "target" if (name, group) == ("model", 1) else self.folder / f"{name}{group}"
                path.write_bytes(bytes(len(self.payload)))
                kind = f"bootname={boot}" if name == "rootfs" else f"parent=rootfs.{group}"
                slots += f"[slot.{name}.{group}]\ndevice={path}\ntype=raw\n{kind}\n"
        (self.folder / "mount").mkdir()
        (self.folder / "system.conf").write_text(
            f"[system]\ncompatible=bench\nbootloader=noop\nmountprefix={self.folder / 'mount'}\n"
            f"statusfile={self.folder / 'status'}\n[keyring]\npath={self.folder / 'ca.pem'}\n{slots}"
        )
        (self.folder / "bus.conf").write_text(
            f"<busconfig><type>system</type><listen>unix:path={self.folder / 'bus'}</listen><auth>EXTERNAL</auth>"
            '<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>'
            '<allow user="*"/></policy></busconfig>\n'
        )
        done = subprocess.run(
            ["rauc", "--cert", "ca.pem", "--key", "key.pem", "--keyring", "ca.pem", "bundle", "in", "m.raucb"],
            cwd=self.folder, env=_SBIN, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"rauc bundle: {done.stderr.strip()[-500:]}")
        return self.folder / "m.raucb"

    def start(self, shipped: Path) -> subprocess.Popen[bytes]:
        """Bus, service and client in one session: the time is that of the client, which the shell prints."""
        bus = self.folder / "bus"
        bus.unlink(missing_ok=True)
        script = f"""
            dbus-daemon --config-file=bus.conf --nofork --nopidfile 2>bus.log & bus=$!
            while [ ! -S {bus} ]; do sleep 0.01; done
            export DBUS_SYSTEM_BUS_ADDRESS=unix:path={bus}
            rauc --conf=system.conf --override-boot-slot=A service >service.log 2>&1 & service=$!
            while ! rauc --conf=system.conf status >/dev/null 2>&1; do sleep 0.02; done
            began=$(date +%s%N)
            rauc --conf=system.conf install {shipped} 2>&1; code=$?
            echo "took_ns $(($(date +%s%N) - began))"
            kill $service $bus; wait; exit $code"""
        return self.spawn(["bash", "-c", script])

    def damaged(self) -> Path:
        return flip(self.shipped, self.payload, self.folder / "damaged.raucb")

    def clean(self) -> None:
        """The mount and its loop device outlive a kill."""
        mount = self.folder / "mount" / "bundle"
        if os.path.ismount(mount):
            subprocess.run(["umount", str(mount)], check=True, capture_output=True)


class SwUpdate(Installer):
    """SWUpdate: a file, written beside its place and renamed."""

    tool = "SWUpdate"

    def prepare(self) -> Path:
        make_certificate(self.folder)
        digest = hashlib.sha256(self.payload).hexdigest()
        description = (
            'software = {\n version = "1.0.0";\n hardware-compatibility: ["1.0"];\n files: ({\n'
            f'  filename = "model.mwb"; path = "{self.target}"; sha256 = "{digest}";\n'
            '  properties = { atomic-install = "true"; };\n });\n};\n'
        )
        (self.folder / "sw-description").write_text(description)
        subprocess.run(
            ["openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", "ca.pem",
             "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary"],
            cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip
        shipped = self.folder / "m.swu"
        members = {name: (self.folder / name).read_bytes() for name in ("sw-description", "sw-description.sig")}
        shipped.write_bytes(cpio(members | {"model.mwb": self.payload}))
        return shipped

    def start(self, shipped: Path) -> subprocess.Popen[bytes]:
        temporary = str(self.folder)
        command = ["swupdate", "-k", "ca.pem", "-H", "bench:1.0", "-M", "-m", "-i", str(shipped)]
        return self.spawn(command, TMPDIR=temporary, RUNTIME_DIRECTORY=temporary)

    def damaged(self) -> Path:
        return flip(self.shipped, self.payload, self.folder / "damaged.swu")


def cpio(members: dict[str, bytes]) -> bytes:
    """An archive in the format that cpio calls crc, which SWUpdate wants."""
    out = bytearray()
    for inode, (name, data) in enumerate([*members.items(), ("TRAILER!!!", b"")], start=1):
        encoded = name.encode() + b"\0"
        checksum = int(np.frombuffer(data, np.uint8).sum(dtype=np.uint64)) & 0xFFFFFFFF if data else 0
        fields = (inode, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), checksum)
        out += b"070702" + b"".join(b"%08X" % field for field in fields) + encoded
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out) + bytes(-len(out) % 512)


# -------------------------------------------------------------------------------------------------------- measuring


def measure(kind: type[Installer], length: int = 8 * 2**20) -> Outcome:
    """Everything about one tool; a tool that cannot run here says why, in its own words."""
    payload, old = bundle_of(length), os.urandom(length)
    with tempfile.TemporaryDirectory(prefix="millwright-install-") as name:
        try:
            installer = kind(Path(name), payload)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", b"") or b""
            return Outcome(tool=kind.tool, why=f"{error} {words.decode(errors='replace')[-300:]}".strip())
        with _cleaned(installer):
            return _measure(installer, old)


@contextlib.contextmanager
def _cleaned(installer: Installer) -> Iterator[None]:
    try:
        yield
    finally:
        installer.clean()


def _measure(installer: Installer, old: bytes) -> Outcome:
    took, whole = [], []
    for _ in range(ROUNDS):
        installer.put_back(old)
        began = time.monotonic()
        code, said = installer.run(installer.shipped)
        whole.append(time.monotonic() - began)
        found = re.search(r"took_ns (\d+)", said)
        took.append(int(found[1]) / 1e9 if found else whole[-1])
        if code or installer.holds() != installer.payload:
            return Outcome(tool=installer.tool, why=f"ended with {code}: {said.strip()[-600:]}")
    kills: Counter[str] = Counter()
    recovered = stuck = 0
    spread = [("", float(at)) for at in np.linspace(0.05, 0.95, KILLS - AIMED) * max(whole)]
    for aim, moment in [*spread, *(("aimed", 0.002 * step) for step in range(AIMED))]:
        installer.put_back(old)
        kills[_after_kill(installer, old, moment, aimed=bool(aim))] += 1
        code, _ = installer.run(installer.shipped)
        if code or installer.holds() != installer.payload:
            stuck += 1
            installer.clean()
            code, _ = installer.run(installer.shipped)
        recovered += code == 0 and installer.holds() == installer.payload
        installer.clean()
    more = getattr(installer, "bytes_more", 0)
    return Outcome(
        tool=installer.tool, shipped_bytes=installer.shipped.stat().st_size + more, payload_bytes=len(installer.payload),
        install_s=float(np.median(took)), tampered=_tampered(installer, old), kills=KILLS, after_kill=dict(kills),
        recovered=recovered, note=f"{stuck} of {KILLS} needed cleaning up by hand first" if stuck else "",
    )  # fmt: skip


def _after_kill(installer: Installer, old: bytes, moment_s: float, *, aimed: bool) -> str:
    """Kill so long after the start, or, aimed, after the place of installation begins to change."""
    before = _stamp(installer.target)
    process = installer.start(installer.shipped)
    while aimed and process.poll() is None and _stamp(installer.target) == before:
        time.sleep(0.0002)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own: nobody else is in it
    process.communicate()
    time.sleep(0.05)
    held = installer.holds()
    return "old" if held == old[: len(installer.payload)] else "new" if held == installer.payload else "neither"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _tampered(installer: Installer, old: bytes) -> str:
    installer.put_back(old)
    code, said = installer.run(installer.damaged())
    installer.clean()
    held = installer.holds()
    left = (
        "place unchanged" if held == old[: len(installer.payload)]
        else "INSTALLED" if code == 0 else "place overwritten" if held is not None else "place empty"
    )  # fmt: skip
    words = [
        line for line in said.splitlines() if re.search(r"error|fail|verif|hash|digest|corrupt", line, re.IGNORECASE)
    ]
    return f"{'accepted' if code == 0 else 'refused'}, {left}: {(words or ['no word'])[-1].strip()[-120:]}"


def missing() -> list[str]:
    """Programs that are not here."""
    return [
        p
        for p in ("rauc", "swupdate", "dbus-daemon", "mksquashfs", "openssl")
        if not shutil.which(p, path=_SBIN["PATH"])
    ]


TOOLS: tuple[type[Installer], ...] = (Ours, Rauc, SwUpdate)
