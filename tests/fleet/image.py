"""The disk that every machine begins with: Debian as debootstrap makes it, kept for the next run."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUITE = "bookworm"  # unless another is asked for
SUITES = (SUITE, "trixie")
# What somebody who unpacks a gateway finds on it: an init, a shell for Ansible over ssh, a way to become root.
PACKAGES = ("ca-certificates", "dbus", "iproute2", "openssh-server", "python3", "sudo", "systemd-sysv")
USER = "ops"
_PREPARE = f"""
set -eu
useradd --create-home --shell /bin/bash {USER}
install -d -m 0700 -o {USER} -g {USER} /home/{USER}/.ssh
echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}
chmod 0440 /etc/sudoers.d/{USER}
systemctl enable systemd-networkd.service
rm -f /etc/ssh/ssh_host_*_key* /etc/hostname
: > /etc/machine-id
apt-get clean
"""
_SSHD = "PasswordAuthentication no\nUseDNS no\n"


class ImageError(Exception):
    """The image cannot be made here."""


def mirror(suite: str = SUITE) -> str:
    """Where this machine's apt takes Debian from: that suite, or else its own, beside which the mirror has the others.

    Raises: ImageError: nowhere.
    """
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        release, component, uri = line.split(" ", 2)
        if component == "main":
            found.setdefault(release, uri)
    for known in (suite, *SUITES):
        if known in found:
            return found[known]
    raise ImageError(
        f"apt of this machine knows no source for Debian {suite}, main, nor for {' or '.join(SUITES)}: "
        f"expected one in its configuration, got {sorted(set(done.stdout.splitlines()))} (has `apt-get update` run?)"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_image(folder: Path, suite: str = SUITE) -> Path:
    """The image, made now unless an earlier run has left it in `folder`. One maker at a time.

    Raises: ImageError: it cannot be made here, or there is none of that suite.
    """
    if suite not in SUITES:
        raise ImageError(f"expected a suite of Debian, {' or '.join(SUITES)}, got {suite!r}")
    recipe = hashlib.sha256("\n".join((suite, *PACKAGES, _PREPARE, _SSHD)).encode()).hexdigest()[:12]
    image = folder / f"image-{suite}-{recipe}"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "image.lock"):
        if not image.is_dir():
            for stale in folder.glob(f"image-{suite}-*"):
                if stale.suffix in {".part", ".log"}:  # another recipe's image may have machines on it
                    shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            part = image.with_suffix(".part")
            _debootstrap(part, suite, image.with_suffix(".log"))
            part.rename(image)
    return image


def _debootstrap(root: Path, suite: str, log_file: Path) -> None:
    include = f"--include={','.join(PACKAGES)}"
    command = ["debootstrap", "--variant=minbase", include, suite, str(root), mirror(suite)]
    with log_file.open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        shutil.rmtree(root, ignore_errors=True)
        tail = "\n".join(log_file.read_text("utf-8", "replace").splitlines()[-15:])
        raise ImageError(f"debootstrap ended with {done.returncode}; the end of {log_file}:\n{tail}")
    (root / "etc/ssh/sshd_config.d/fleet.conf").write_text(_SSHD)
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    subprocess.run(["chroot", str(root), "sh", "-c", _PREPARE], check=True, env=clean, capture_output=True)
