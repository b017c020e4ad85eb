"""The real archive for this machine's kind of gateway: built, and installed where there is no network at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud_hub.fleet.debian import Apt, read_stanzas
from cloud_hub.fleet.sums import SIGNATURE, SUMS
from cloud_hub.fleet.targets import Platform, own_platform, read_kinds
from cloud_hub.fleet.wheels import build_own, sha256_of, source_epoch
from tests.ansible.archives import OUT, ROOT, fleet_tool
from tests.edge_agent.kit import config_toml

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Built:
    tar: Path
    folder: Path
    platform: Platform


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Kept in var/ while sources and lock are the same: other tests want the same file."""
    told = fleet_tool("build", "--kinds", "gateway", "--out", OUT, "--if-changed").stdout
    (tar,) = re.findall(r"^(\S+\.tar)  \d+ MB$", told, re.MULTILINE)
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(tar) as file:
        file.extractall(folder, filter="data")
    return Built(Path(tar), folder, own_platform(Path("/etc/os-release").read_text()))


def without_network(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run where there is not even a loopback device that is up. Root needs no more; others need a user namespace. Nothing
    has a place to put what it would like to keep.
    """
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [*unshare, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_has_what_a_gateway_needs_and_no_more(built: Built) -> None:
    names = {path.name.split("-")[0].lower() for path in (built.folder / "wheels").iterdir()}
    assert {"millwright", "ai_edge_litert", "paho_mqtt", "tuf", "ansible_core"} <= names
    assert not names & {"tensorflow", "tensorflow_cpu", "scipy", "pyarrow", "fastapi", "sqlalchemy", "matplotlib"}
    assert built.tar.stat().st_size < 120e6
    listed = {line.split("  ")[1] for line in (built.folder / SUMS).read_text().splitlines()}
    there = {path.relative_to(built.folder).as_posix() for path in built.folder.rglob("*") if path.is_file()}
    assert there == listed | {SUMS, SIGNATURE}
    for line in (built.folder / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line)


def test_every_hash_is_of_the_lock_but_our_own(built: Built) -> None:
    locked = "".join((ROOT / "requirements" / name).read_text() for name in ("lock.txt", "lock-fleet.txt"))
    for wheel in (built.folder / "wheels").iterdir():
        assert (f"sha256:{sha256_of(wheel)}" in locked) != wheel.name.startswith("millwright-")


def test_our_own_wheel_is_the_same_bytes_when_it_is_built_again(built: Built, tmp_path: Path) -> None:
    again = build_own(ROOT, tmp_path, version=None, epoch=source_epoch(ROOT))
    assert again.read_bytes() == (built.folder / "wheels" / again.name).read_bytes()


def test_the_bill_of_materials_names_every_file(built: Built) -> None:
    sbom = json.loads((built.folder / "sbom.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    everything = [sbom["metadata"]["component"], *sbom["components"]]
    named = {one["hashes"][0]["content"] for one in everything}
    files = [*(built.folder / "wheels").iterdir(), *(built.folder / "debs").glob("*.deb")]
    assert named == {sha256_of(path) for path in files}
    assert sum("licenses" in one for one in everything if one["purl"].startswith("pkg:pypi/")) > 20
    needs = {one["ref"]: one.get("dependsOn", []) for one in sbom["dependencies"]}
    ours = needs[sbom["metadata"]["component"]["bom-ref"]]
    assert {ref.split(":")[1].split("@")[0] for ref in ours} >= {"numpy", "tuf", "ai-edge-litert", "mosquitto"}


def test_a_changed_byte_is_found_and_its_file_named(built: Built, tmp_path: Path) -> None:
    copy = tmp_path / built.tar.name
    shutil.copyfile(built.tar, copy)
    with tarfile.open(copy) as file:
        victim = max(file, key=lambda member: member.size)
    with copy.open("r+b") as file:
        file.seek(victim.offset_data + victim.size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    done = fleet_tool("verify", copy, "--signers", OUT / "allowed_signers", check=False)
    assert done.returncode == 4
    assert f"not as signed: {victim.name}" in done.stderr
    # And by what is on every Debian, as a host does it.
    keygen = ["ssh-keygen", "-Y", "verify", "-f", OUT / "allowed_signers", "-I", "millwright"]
    keygen += ["-n", "millwright-wheelhouse", "-s", f"{built.tar}.sig"]
    for tar, code in ((built.tar, 0), (copy, 255)):
        with tar.open("rb") as file:
            assert subprocess.run(keygen, stdin=file, capture_output=True, check=False).returncode == code


def test_it_installs_and_runs_without_a_network(built: Built, tmp_path: Path) -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == built.platform.python
    cut = without_network(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 1), 1)"], tmp_path
    )
    assert "Network is unreachable" in cut.stderr
    base = Path(sys.base_prefix) / "bin" / f"python{built.platform.python}"
    (installer,) = (built.folder / "wheels").glob("pip-*.whl")
    pip = [tmp_path / "venv" / "bin" / "python", "-I", installer / "pip"]
    steps: list[list[str | Path]] = [
        ["sha256sum", "--check", "--strict", "--quiet", "--", SUMS],
        [base, "-m", "venv", "--without-pip", tmp_path / "venv"],
        [
            *pip, "install", "--no-index", "--no-compile", "--find-links", "wheels",
            "--require-hashes", "--requirement", "requirements.txt",
        ],
        [*pip, "check"],
        [tmp_path / "venv" / "bin" / "edge-agent", "--help"],
        [tmp_path / "venv" / "bin" / "firmware-sim", "--help"],
    ]  # fmt: skip
    for step in steps:
        done = without_network(step, built.folder)
        assert done.returncode == 0, f"{step[0]}: {done.stderr}"
    config = tmp_path / "agent.toml"
    config.write_text(config_toml(tmp_path / "state", 1))
    test = without_network([tmp_path / "venv" / "bin" / "edge-agent", "--config", config, "selftest"], tmp_path)
    assert re.search(r"^ok +state folder", test.stdout, re.MULTILINE)
    assert re.search(r"^ok +runtime: .*litert", test.stdout, re.MULTILINE)
    assert re.search(r"^FAIL +broker", test.stdout, re.MULTILINE)  # there is none, and it says so
    assert test.returncode == 1


def test_debian_packages_are_a_whole_for_a_host_that_has_nothing(built: Built, tmp_path: Path) -> None:
    """All come from the flat repository alone."""
    apt = Apt(tmp_path / "apt", built.platform)
    repository = built.folder / "debs"
    (apt.folder / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    wanted = read_kinds()["gateway"].debs
    environment = {**os.environ, "APT_CONFIG": str(apt.folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
    for words in (["update", "--error-on=any"], ["--yes", "--download-only", "install", *wanted]):
        done = subprocess.run(
            ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "apt-get", *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    indexed = {f"{one['Package']}={one['Version']}" for one in read_stanzas((repository / "Packages").read_text())}
    assert set(apt.closure(wanted)) == indexed
    assert {"python3", "mosquitto", "openssh-client", "libc6"} <= {name.split("=")[0] for name in indexed}
