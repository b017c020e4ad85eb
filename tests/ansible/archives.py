"""Archives for tests: a small one made by hand, and the real one for gateways, built once and kept while it is current."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.fleet import sums
from cloud_hub.fleet.archive import write_tar
from cloud_hub.fleet.wheels import sha256_of

ROOT = Path(__file__).parent.parent.parent
FLEET = ROOT / ".venv-fleet" / "bin"
OUT = ROOT / "var" / "wheelhouse"
EPOCH = 1_700_000_000


@dataclass(frozen=True)
class Small:
    """An archive with two files. `folder`: what is in it, to be changed and packed again."""

    folder: Path
    tar: Path
    key: Path
    signers: Path

    def pack(self) -> None:
        """Pack what is in the folder now, and sign the tar alone."""
        write_tar(self.folder, self.tar, epoch=EPOCH)
        sums.sign(self.tar, self.key)

    def seal(self) -> None:
        """Write and sign the sums of what is in the folder now, and pack it."""
        for name in (sums.SUMS, sums.SIGNATURE):
            (self.folder / name).unlink(missing_ok=True)
        members = [(p.relative_to(self.folder).as_posix(), sha256_of(p)) for p in self.folder.rglob("*") if p.is_file()]
        (self.folder / sums.SUMS).write_text(sums.write_sums(members))
        sums.sign(self.folder / sums.SUMS, self.key)
        self.pack()


def small_archive(folder: Path) -> Small:
    content = folder / "content"
    (content / "wheels").mkdir(parents=True)
    (content / "wheels" / "numpy-2.0-py3-none-any.whl").write_bytes(b"a wheel" * 1000)
    (content / "requirements.txt").write_text("numpy==2.0\n")
    key = folder / "keys" / "signing"
    sums.make_key(key)
    signers = folder / "allowed_signers"
    signers.write_text(sums.allowed_signers(key))
    small = Small(content, folder / "small.tar", key, signers)
    small.seal()
    return small


def fleet_tool(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`python -m cloud_hub.fleet` in the environment that has what it needs."""
    python = FLEET / "python"
    assert python.exists(), "run `make test`: it makes the environment of the fleet's tools"
    command = [str(python), "-m", "cloud_hub.fleet", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done
