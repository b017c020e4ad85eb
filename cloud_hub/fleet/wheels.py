"""The wheels of one archive: which ones, from where, and our own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cloud_hub.fleet.commands import run
from cloud_hub.fleet.errors import WheelhouseError
from cloud_hub.fleet.lock import Pin, normalised, pins_for, read_lock
from cloud_hub.fleet.targets import Platform

PROJECT = "millwright"
# uv knows no newer manylinux than this; wheels that need a newer glibc do not exist yet.
_NEWEST_FOR_UV = 40


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LOCK = "requirements/lock.txt"
_OWN = ("pyproject.toml", "README.md", "LICENSE", "models", "edge_agent", "cloud_hub", "firmware_sim")
TOOLS_LOCK = "requirements/lock-fleet.txt"


def resolve(tree: Path, extras: Sequence[str], platform: Platform, cache: Path, *, lock: str = LOCK) -> list[Pin]:
    """The exact packages that some of our extras need on a platform, as the lock has them.

    The lock is for all platforms at once; uv says which part of it is for this one. The answer is kept: it changes only
    with the lock and the list of dependencies.
    """
    locked = (tree / lock).read_bytes()
    basis = hashlib.sha256(
        b"\0".join([(tree / "pyproject.toml").read_bytes(), locked, repr((extras, platform)).encode()])
    ).hexdigest()
    kept = cache / "resolved" / f"{basis}.txt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        words = [word for extra in extras for word in ("--extra", extra)]
        glibc = min(platform.glibc, _NEWEST_FOR_UV)
        text = run(
            [
                sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", *words,
                "--constraint", tree / lock, "--python-version", platform.python,
                "--python-platform", f"{platform.machine}-manylinux_2_{glibc}",
                "--only-binary", ":all:", "--generate-hashes", "--no-header", "--no-annotate",
            ],
            why=f"{platform.name} has no set of wheels for {PROJECT}[{','.join(extras)}]", folder=tree,
        )  # fmt: skip
        part = kept.with_suffix(".part")
        part.write_text(text, "utf-8")
        part.replace(kept)
    return pins_for(kept.read_text("utf-8"), read_lock(locked.decode()), where=Path(lock), platform=platform.name)


def fetch(pins: Sequence[Pin], platform: Platform, cache: Path, *, pip_options: Sequence[str] = ()) -> list[Path]:
    """One wheel for each pin, whose SHA-256 is in the lock. What was fetched before is not asked for again."""
    cache.mkdir(parents=True, exist_ok=True)
    if missing := [pin for pin in pins if _cached(pin, cache) is None]:
        _download(missing, platform, cache, pip_options)
    found = []
    for pin in pins:
        wheel = _cached(pin, cache)
        if wheel is None:
            raise WheelhouseError(
                f"{pin.name} {pin.version} for {platform.name} came with a SHA-256 that is not locked"
            )
        found.append(wheel)
    return found


def _cached(pin: Pin, cache: Path) -> Path | None:
    for path in sorted(cache.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        if (normalised(name), version) == (pin.name, pin.version) and sha256_of(path) in pin.hashes:
            return path
    return None


def _download(pins: Sequence[Pin], platform: Platform, cache: Path, pip_options: Sequence[str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:
        for pin in pins:
            hashes = " ".join(f"--hash=sha256:{digest}" for digest in sorted(pin.hashes))
            wanted.write(f"{pin.name}=={pin.version} {hashes}\n")
        wanted.flush()
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary", ":all:", "--require-hashes", "--requirement", wanted.name, "--dest", str(cache),
            "--implementation", "cp", "--python-version", platform.python,
            *(word for abi in platform.abis for word in ("--abi", abi)),
            *(word for tag in platform.tags for word in ("--platform", tag)),
            *pip_options,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if lacking := re.search(r"No matching distribution found for (\S+)==(\S+)", done.stderr):
        raise WheelhouseError(
            f"{platform.name} cannot be built: there is no wheel of {lacking[1]} {lacking[2]} for CPython "
            f"{platform.python} on {platform.machine} with glibc 2.{platform.glibc}; lock a version that has one"
        )
    raise WheelhouseError(f"wheels for {platform.name} cannot be fetched:\n{done.stderr.strip()}")


def source_epoch(tree: Path) -> int:
    """When our own package last changed; the time that everything in an archive bears."""
    return int(run(["git", "log", "-1", "--format=%ct", "--", *_OWN], why="the sources have no commit", folder=tree))


def source_files(tree: Path) -> list[str]:
    """What our own package is made of: what git tracks, and has not been removed since."""
    names = run(["git", "ls-files", "-z", "--", *_OWN], why="the sources cannot be listed", folder=tree)
    return [name for name in names.split("\0") if name and (tree / name).is_file()]


def build_own(tree: Path, out: Path, *, version: str | None, epoch: int) -> Path:
    """Our own wheel: the same bytes from the same sources. `version`: another, for rehearsals."""
    with tempfile.TemporaryDirectory() as work:
        for name in source_files(tree):
            target = Path(work, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / name, target)
            target.chmod(0o644)
            os.utime(target, (epoch, epoch))
        if version is not None:
            _set_version(Path(work), version)
        run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
             "--disable-pip-version-check", "--wheel-dir", out, "."],
            why="our own wheel cannot be built", folder=Path(work), environment={"SOURCE_DATE_EPOCH": str(epoch)},
        )  # fmt: skip
    (wheel,) = out.glob(f"{PROJECT}-*.whl")
    return wheel


def _set_version(tree: Path, version: str) -> None:
    for name, pattern, text in (
        ("pyproject.toml", r'^version = ".*"$', f'version = "{version}"'),
        ("models/__init__.py", r'^__version__ = ".*"$', f'__version__ = "{version}"'),
    ):
        path = tree / name
        changed, times = re.subn(pattern, text, path.read_text("utf-8"), count=1, flags=re.MULTILINE)
        if times != 1:
            raise WheelhouseError(f"{name} has no line that says the version (expected {pattern})")
        path.write_text(changed, "utf-8")


def requirements(wheels: Sequence[Path], own: Path, extras: Sequence[str]) -> str:
    """The list that pip installs with `--require-hashes`: exactly files of this archive, ours last."""
    lines = []
    for path in sorted(wheels):
        name, version = path.name.split("-")[:2]
        lines.append(f"{normalised(name)}=={version} --hash=sha256:{sha256_of(path)}\n")
    version = own.name.split("-")[1]
    lines.append(f"{PROJECT}[{','.join(extras)}]=={version} --hash=sha256:{sha256_of(own)}\n")
    return "".join(lines)
