"""The flat apt repository of one archive: Debian packages with all that they need, for a host that has nothing yet.

apt itself finds and fetches them, with a state of its own: an empty dpkg status, so the closure is whole whatever a
host already has (one installed from an older point release may need a newer library), the host's architecture, and
Debian's own archive key. Where Debian is mirrored is what this machine's apt configuration says; no address is written
down here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

from cloud_hub.fleet.commands import run
from cloud_hub.fleet.errors import WheelhouseError
from cloud_hub.fleet.targets import Platform
from cloud_hub.fleet.wheels import sha256_of

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEBIAN_ONLY = " (archives are made on a Debian machine)"
_SUITES = ("", "-updates", "-security")
# What apt says of a package and is not true of ours.
_NOT_OURS = ("Filename", "MD5sum", "SHA1", "SHA512", "Status", "APT-Manual-Installed", "Description-md5", "APT-Sources")


@dataclass(frozen=True)
class Deb:
    """One package of the repository, as its index describes it."""

    name: str
    version: str
    architecture: str
    sha256: str
    stanza: str


def read_stanzas(text: str) -> list[dict[str, str]]:
    """The paragraphs of an index, each field with its continuation lines."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        fields: dict[str, str] = {}
        last = ""
        for line in paragraph.splitlines():
            if line[:1].isspace() and last:
                fields[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                fields[last] = value.strip()
        if fields:
            found.append(fields)
    return found


def sources_for(targets: str, own_codename: str, codename: str) -> str:
    """A sources list for a release, from the mirrors that this machine uses for its own.

    `targets`: lines `address|suite|component` from `apt-get indextargets`.
    """
    lines = []
    for row in dict.fromkeys(targets.splitlines()):
        address, suite, component = row.split("|")
        if component == "main" and suite in {own_codename + ending for ending in _SUITES}:
            lines.append(f"deb [signed-by={KEYRING}] {address} {codename}{suite.removeprefix(own_codename)} main\n")
    if not any(f" {codename} main" in line for line in lines):
        raise WheelhouseError(
            f"this machine's apt names no mirror of Debian: expected a source with suite {own_codename!r} and "
            "component 'main' (look with `apt-get indextargets`)"
        )
    return "".join(lines)


class Apt:
    """apt with a state of its own under `folder`, for one platform; needs no root."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        self.folder = folder.absolute()
        self._platform = platform
        for name in ("lists/partial", "cache/archives/partial", "none"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").write_text("", "utf-8")
        (self.folder / "sources.list").touch()
        where = self.folder
        settings = {
            "APT::Architecture": platform.architecture,
            "APT::Architectures": platform.architecture,
            "APT::Get::List-Cleanup": "true",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Dir::Cache": f"{where}/cache",
            "Dir::Etc::PreferencesParts": f"{where}/none",
            "Dir::Etc::Preferences": f"{where}/none/preferences",
            "Dir::Etc::SourceList": f"{where}/sources.list",
            "Dir::Etc::SourceParts": f"{where}/none",
            "Dir::State": f"{where}",
            "Dir::State::Lists": f"{where}/lists",
            "Dir::State::Extended_States": f"{where}/extended_states",
            "Dir::State::Status": f"{where}/status",
            # Of this machine's settings only how it reaches its mirror: some images delete what was fetched.
            "Dir::Etc::Main": f"{where}/none/apt.conf",
            "Dir::Etc::Parts": f"{where}/none",
        }
        reach = run(["apt-config", "dump"], why="this machine's apt settings cannot be read", hint=_DEBIAN_ONLY)
        acquire = [f"{line}\n" for line in reach.splitlines() if line.startswith("Acquire::")]
        self._config = where / "apt.conf"
        self._config.write_text(
            "".join([*acquire, *(f'{key} "{value}";\n' for key, value in settings.items())]), "utf-8"
        )

    def get(self, *words: str, why: str, program: str = "apt-get") -> str:
        """Ask apt; `why` as for `commands.run`."""
        return run([program, *words], why=why, environment={"APT_CONFIG": str(self._config)})

    def use(self, sources: str) -> None:
        """Take these sources, and read their indexes."""
        (self.folder / "sources.list").write_text(sources, "utf-8")
        self.get("-q", "update", "--error-on=any", why=f"the package lists of {self._platform.name} cannot be read")

    def closure(self, names: Sequence[str]) -> list[str]:
        """`name=version` of everything that must be installed for these packages on a host that has nothing."""
        said = self.get(
            "-s", "-qq", "install", *names,
            why=f"{self._platform.name} cannot have {', '.join(names)}",
        )  # fmt: skip
        found = re.findall(r"^Inst (\S+) \((\S+) ", said, re.MULTILINE)
        return sorted(f"{name.split(':')[0]}={version}" for name, version in found)

    def describe(self, exact: Sequence[str]) -> list[dict[str, str]]:
        """The index entries of `name=version`s."""
        said = self.get("show", "--no-all-versions", *exact, program="apt-cache", why="packages cannot be described")
        found = read_stanzas(said)
        if len(found) != len(exact):
            raise WheelhouseError(f"apt describes {len(found)} packages where {len(exact)} were asked for")
        return found

    def fetch(self, exact: Sequence[str]) -> Path:
        """Fetch packages (apt checks them against the signed indexes); the folder they are in afterwards."""
        self.get(
            "-q", "-y", "--download-only", "install", *exact, why=f"packages of {self._platform.name} cannot be fetched"
        )
        return self.folder / "cache" / "archives"


def own_sources(platform: Platform, own_codename: str) -> str:
    """Where this machine's apt gets Debian from, for the given platform's release."""
    if not KEYRING.exists():
        raise WheelhouseError(f"there is no {KEYRING}: install the package debian-archive-keyring")
    targets = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"],
        why="this machine's apt sources cannot be read", hint=_DEBIAN_ONLY,
    )  # fmt: skip
    return sources_for(targets, own_codename, platform.codename)


def build_repository(apt: Apt, names: Sequence[str], out: Path, *, epoch: int) -> list[Deb]:
    """Write packages, `Packages` and `Release` into `out`."""
    exact = apt.closure(names)
    entries = apt.describe(exact)
    fetched = {_identity(path): path for path in apt.fetch(exact).glob("*.deb")}
    out.mkdir(parents=True)
    debs = []
    for fields in sorted(entries, key=lambda one: one["Package"]):
        identity = (fields["Package"], fields["Version"], fields["Architecture"])
        if identity not in fetched:
            raise WheelhouseError(f"apt did not bring {' '.join(identity)}")
        # Without the epoch, as on Debian's own mirrors: a colon or a percent sign in an address means something else.
        name = f"{identity[0]}_{identity[1].split(':')[-1]}_{identity[2]}.deb"
        copy = out / name
        shutil.copyfile(fetched[identity], copy)
        if (digest := sha256_of(copy)) != fields["SHA256"]:
            raise WheelhouseError(f"{name} has SHA-256 {digest}, its index says {fields['SHA256']}")
        kept = {key: value for key, value in fields.items() if key not in _NOT_OURS}
        kept["Filename"] = f"./{name}"
        stanza = "".join(f"{key}: {value}\n" for key, value in kept.items())
        debs.append(Deb(*identity, digest, stanza))
    packages = out / "Packages"
    packages.write_text("\n".join(deb.stanza for deb in debs), "utf-8")
    (out / "Release").write_text(
        "Origin: Millwright\nLabel: Millwright\nSuite: wheelhouse\nCodename: wheelhouse\n"
        f"Date: {formatdate(epoch, usegmt=True)}\nSHA256:\n {sha256_of(packages)} {packages.stat().st_size} Packages\n",
        "utf-8",
    )
    return debs


def _identity(path: Path) -> tuple[str, str, str]:
    name, version, architecture = path.stem.split("_")
    return name, unquote(version), architecture
