"""Files and folders of the hub: are they there, and are secrets readable only by their owner."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from cloud_hub.doctor.finding import Finding, ok, problem, warning
from cloud_hub.settings import Settings

_FREE_BYTES = 2_000_000_000
_FREE_SHARE = 0.05


def look_at_home(settings: Settings) -> Iterator[Finding]:
    """The home folder and the disk under it."""
    home = settings.home
    if not home.is_dir():
        yield problem("home", f"{home}: no such folder", "run `cloud-hub serve` once, or name the folder with --home")
        return
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o002:
        yield problem("home", f"{home}: everybody may write ({mode:04o})", f"chmod o-w {home}")
    else:
        yield ok("home", f"{home} ({mode:04o})")
    disk = shutil.disk_usage(home)
    text = f"{disk.free / 1e9:.1f} GB free of {disk.total / 1e9:.1f} GB"
    if disk.free < _FREE_BYTES or disk.free < _FREE_SHARE * disk.total:
        yield warning("disk", text, "make room, or shorten what is kept; a full disk stops ingest, outboxes then fill")
    else:
        yield ok("disk", text)


def look_at_secrets(settings: Settings) -> Iterator[Finding]:
    """Keys and passwords belong to the hub's user alone."""
    named = (
        settings.broker_password_file,
        settings.broker_key_file,
        settings.keys_passphrase_file,
        settings.smtp_password_file,
    )
    files = [path for path in named if path is not None]
    for folder in (settings.keys_dir, settings.identity_dir):
        if folder.is_dir():
            files += sorted(p for p in folder.rglob("*") if p.is_file() and _is_secret(p))
    open_ones = []
    for path in files:
        if not path.exists():
            yield problem("secrets", f"{path}: no such file", "name the right file in hub.toml, or make it")
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            open_ones.append(path)
    for path in open_ones:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield problem("secrets", f"{path}: others may read it ({mode:04o})", f"chmod 0600 {path}")
    if not open_ones:
        yield ok("secrets", f"{len(files)} files, readable by their owner alone")


def _is_secret(path: Path) -> bool:
    """Certificates and lists of revocation are public; everything that holds a private key is not."""
    try:
        return b"PRIVATE KEY" in path.read_bytes()[:65536]
    except PermissionError:
        return True
