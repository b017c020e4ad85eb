"""One archive: a tar of plain files, the same bytes from the same content, with a signature inside and one beside it.

Inside: `wheels/`, `requirements.txt`, `debs/`, `sbom.cdx.json`, `SHA256SUMS` of all of these, and `SHA256SUMS.sig`.
Beside it: `NAME.tar.sig`, so that a host need not unpack what nobody signed.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from pathlib import Path

from cloud_hub.fleet.errors import RefusedError
from cloud_hub.fleet.sums import SIGNATURE, SUMS, read_sums, verify_signature

_MAX_MEMBERS = 5_000
_MAX_SUMS_BYTES = 2**20
_MAX_MEMBER_BYTES = 2**31
_BLOCK = 2**20


def write_tar(folder: Path, tar: Path, *, epoch: int) -> None:
    """Every file of a folder, sorted, with nothing in the headers that depends on who packs and when."""
    part = tar.with_name(tar.name + ".part")
    with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as out:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            member.mtime = epoch
            member.mode = 0o644
            with path.open("rb") as file:
                out.addfile(member, file)
    part.replace(tar)


def verify(tar: Path, signers: Path) -> dict[str, str]:
    """What is in an archive that is as it was signed: name to SHA-256. Refuses any other, and says which file differs.

    The signature inside is checked first, then every member against the signed sums, then the signature beside the tar.
    """
    digests, sums, signature = _read(tar)
    with tempfile.TemporaryDirectory() as work:
        text, mark = Path(work, SUMS), Path(work, SIGNATURE)
        text.write_bytes(sums)
        mark.write_bytes(signature)
        try:
            verify_signature(text, mark, signers)
        except RefusedError as error:
            raise RefusedError(f"{tar.name}: {error}", (SUMS,)) from error
    listed = read_sums(sums.decode("utf-8", "replace"), f"{tar.name}, {SUMS}")
    changed = sorted(name for name in listed.keys() & digests.keys() if listed[name] != digests[name])
    missing, extra = sorted(listed.keys() - digests.keys()), sorted(digests.keys() - listed.keys())
    told = [
        f"{what}: {', '.join(names)}"
        for what, names in (("not as signed", changed), ("missing", missing), ("never signed", extra))
        if names
    ]
    if told:
        raise RefusedError(f"{tar.name} is refused: {'; '.join(told)}", (*changed, *missing, *extra))
    verify_signature(tar, tar.with_name(tar.name + ".sig"), signers)
    return listed


def _read(tar: Path) -> tuple[dict[str, str], bytes, bytes]:
    """Digest of each member, the sums and their signature, without writing anything to disk."""
    digests: dict[str, str] = {}
    small: dict[str, bytes] = {SUMS: b"", SIGNATURE: b""}
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                if not member.isreg() or member.size > _MAX_MEMBER_BYTES or len(digests) >= _MAX_MEMBERS:
                    raise RefusedError(
                        f"{tar.name} is refused: {member.name!r} is no plain file, or too large, or too many"
                    )
                content = file.extractfile(member)
                if content is None or member.name in digests:
                    raise RefusedError(f"{tar.name} is refused: {member.name!r} is there twice", (member.name,))
                if member.name in small:
                    if member.size > _MAX_SUMS_BYTES or small[member.name]:
                        raise RefusedError(
                            f"{tar.name} is refused: {member.name} is too large, or twice", (member.name,)
                        )
                    small[member.name] = content.read()
                    continue
                digest = hashlib.sha256()
                while block := content.read(_BLOCK):
                    digest.update(block)
                digests[member.name] = digest.hexdigest()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise RefusedError(f"{tar} is no archive that can be read: {error}") from error
    if lacking := [name for name, content in small.items() if not content]:
        raise RefusedError(f"{tar.name} is refused: it has no {' and no '.join(lacking)}", tuple(lacking))
    return digests, small[SUMS], small[SIGNATURE]
