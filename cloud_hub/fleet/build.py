"""One archive from start to end."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.fleet import sums
from cloud_hub.fleet.archive import verify, write_tar
from cloud_hub.fleet.debian import Apt, build_repository, own_sources
from cloud_hub.fleet.errors import RefusedError
from cloud_hub.fleet.targets import Kind, Platform, read_os_release
from cloud_hub.fleet.wheels import (
    LOCK,
    TOOLS_LOCK,
    build_own,
    fetch,
    requirements,
    resolve,
    sha256_of,
    source_epoch,
    source_files,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What is to be built from what. `version`: another one than the sources say, for a rehearsal of an upgrade."""

    tree: Path
    out: Path
    key: Path
    os_release: str
    version: str | None = None
    if_changed: bool = False

    @property
    def cache(self) -> Path:
        """What was fetched before."""
        return self.out / "cache"

    @property
    def signers(self) -> Path:
        """Whose archives a host may take."""
        return self.out / "allowed_signers"


@contextmanager
def alone(order: Order) -> Iterator[None]:
    """Nobody else builds into this folder meanwhile; who comes second waits."""
    order.out.mkdir(parents=True, exist_ok=True)
    with (order.out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def own_wheel(order: Order) -> Path:
    """Our own wheel, which suits every platform. It is kept for as long as its sources stay the same."""
    epoch = source_epoch(order.tree)
    basis = hashlib.sha256(repr((order.version, epoch)).encode())
    for name in source_files(order.tree):
        basis.update(f"{name} {sha256_of(order.tree / name)}\n".encode())
    kept = order.cache / "own" / basis.hexdigest()
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=order.out, prefix=".building-") as work:
            made = Path(work, "own")
            made.mkdir()
            build_own(order.tree, made, version=order.version, epoch=epoch)
            made.rename(kept)
    (wheel,) = kept.glob("*.whl")
    return wheel


def build(order: Order, own: Path, kind: Kind, platform: Platform) -> Path:
    """Make one archive, sign it, verify it as a host does; its path."""
    version = own.name.split("-")[1]
    tar = order.out / f"millwright-{kind.name}-{version}-{platform.name}.tar"
    inputs = _inputs(order, kind, platform, own)
    mark = tar.with_name(tar.name + ".inputs")
    if order.if_changed and mark.exists() and mark.read_text("utf-8") == inputs and _sound(tar, order.signers):
        logger.info("%s is as it would be built now", tar.name)
        return tar
    mark.unlink(missing_ok=True)
    epoch = source_epoch(order.tree)
    with tempfile.TemporaryDirectory(dir=order.out, prefix=".building-") as work:
        content = Path(work, "content")
        _fill(content, own, order, kind, platform, epoch)
        sums.sign(content / sums.SUMS, order.key)
        write_tar(content, tar, epoch=epoch)
    sums.sign(tar, order.key)
    order.signers.write_text(sums.allowed_signers(order.key), "utf-8")
    verify(tar, order.signers)
    mark.write_text(inputs, "utf-8")
    return tar


def _fill(content: Path, own: Path, order: Order, kind: Kind, platform: Platform, epoch: int) -> None:
    from cloud_hub.fleet.sbom import make_sbom

    folder = content / "wheels"
    folder.mkdir(parents=True)
    wheels = {own.name: _place(own, folder)}
    lists = [("requirements.txt", kind.extras, LOCK)]
    lists += [(f"requirements-{extra}.txt", (extra,), TOOLS_LOCK) for extra in kind.beside]
    for name, extras, lock in lists:
        pins = resolve(order.tree, extras, platform, order.cache, lock=lock)
        found = fetch(pins, platform, order.cache / "wheels" / platform.name)
        (content / name).write_text(requirements(found, own, extras), "utf-8")
        wheels |= {path.name: _place(path, folder) for path in found if path.name not in wheels}
    logger.info("%s for %s: %d wheels", kind.name, platform.name, len(wheels))
    apt = Apt(order.cache / "apt" / platform.name, platform)
    apt.use(own_sources(platform, read_os_release(order.os_release).get("VERSION_CODENAME", "")))
    debs = build_repository(apt, kind.debs, content / "debs", epoch=epoch)
    logger.info("%s for %s: %d Debian packages", kind.name, platform.name, len(debs))
    sbom = make_sbom(list(wheels.values()), debs, kind=kind, platform=platform, epoch=epoch)
    (content / "sbom.cdx.json").write_text(sbom, "utf-8")
    members = [(path.relative_to(content).as_posix(), sha256_of(path)) for path in content.rglob("*") if path.is_file()]
    (content / sums.SUMS).write_text(sums.write_sums(members), "utf-8")


def _place(path: Path, folder: Path) -> Path:
    """A hard link where that is possible: some wheels are a quarter of a gigabyte."""
    target = folder / path.name
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    return target


def _inputs(order: Order, kind: Kind, platform: Platform, own: Path) -> str:
    """What an archive is made of, but for what Debian has on its mirrors today."""
    lock = b"".join((order.tree / name).read_bytes() for name in (LOCK, TOOLS_LOCK))
    signer = sums.allowed_signers(order.key)
    return (
        hashlib.sha256("\n".join([repr((kind, platform)), sha256_of(own), signer]).encode() + lock).hexdigest() + "\n"
    )


def _sound(tar: Path, signers: Path) -> bool:
    try:
        verify(tar, signers)
    except RefusedError as error:
        logger.warning("built anew: %s", error)
        return False
    return True
