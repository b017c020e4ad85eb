"""Checksums and signatures: made here, verified here, on the controller and, by the same programs, on the host.

`ssh-keygen -Y` signs and verifies, because it is on every Debian before anything of ours is.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cloud_hub.fleet.commands import run
from cloud_hub.fleet.errors import RefusedError, WheelhouseError

NAMESPACE = "millwright-wheelhouse"
PULL_NAMESPACE = "millwright-pull"  # of bundles by the collection's module pull_bundle
PRINCIPAL = "millwright"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._+~%/-]*)")


def write_sums(members: Iterable[tuple[str, str]]) -> str:
    """The text of SHA256SUMS from names and digests, as `sha256sum -c` reads it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(members))


def read_sums(text: str, where: str) -> dict[str, str]:
    """Name to digest; refuses what `write_sums` would not have written."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or ".." in match[2].split("/") or match[2] in found:
            raise RefusedError(f"{where}, line {number}: expected a SHA-256, two spaces and a name; got {line[:80]!r}")
        found[match[2]] = match[1]
    return found


def make_key(path: Path) -> None:
    """A new key pair for signing, without a passphrase: keep it where only the builder can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", PRINCIPAL, "-f", path],
        why="no key for signing can be made", hint=" (package openssh-client)",
    )  # fmt: skip


def allowed_signers(key: Path) -> str:
    """The line by which hosts know this key, for archives and for what gateways pull, and for nothing else."""
    public = key.with_name(key.name + ".pub")
    if not public.exists():
        raise WheelhouseError(f"there is no {public} beside the key")
    kind, blob = public.read_text("utf-8").split()[:2]
    return f'{PRINCIPAL} namespaces="{NAMESPACE},{PULL_NAMESPACE}" {kind} {blob}\n'


def sign(path: Path, key: Path) -> Path:
    """Sign a file; the signature lies beside it, with `.sig`."""
    signature = path.with_name(path.name + ".sig")
    signature.unlink(missing_ok=True)
    run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, path],
        why=f"{path.name} cannot be signed with {key}", hint=" (package openssh-client)",
    )  # fmt: skip
    return signature


def verify_signature(path: Path, signature: Path, signers: Path) -> None:
    """Refuse a file that none of the signers signed."""
    for needed in (path, signature, signers):
        if not needed.is_file():
            raise RefusedError(f"there is no file {needed}")
    with path.open("rb") as file:
        done = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", PRINCIPAL, "-n", NAMESPACE, "-s", signature],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RefusedError(
            f"{path.name} was not signed by anyone in {signers}: {said[-1] if said else 'no reason given'}"
        )
