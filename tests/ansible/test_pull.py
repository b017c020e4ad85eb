"""What gateways pull: packed and signed once for all, and refused by the gateway when it is not what it should be."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

COLLECTION = Path(__file__).parents[2] / "ansible"
APPLY = COLLECTION / "playbooks" / "files" / "apply.sh"
NOW_S = 1_800_000_000.0


def load() -> ModuleType:
    """The module without Ansible, of which `make` needs nothing."""
    basic = ModuleType("ansible.module_utils.basic")
    basic.AnsibleModule = object  # type: ignore[attr-defined]
    fakes = {name: ModuleType(name) for name in ("ansible", "ansible.module_utils")} | {basic.__name__: basic}
    before = {name: sys.modules.get(name) for name in fakes}
    sys.modules |= fakes
    try:
        spec = importlib.util.spec_from_file_location("pull_bundle", COLLECTION / "plugins/modules/pull_bundle.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
    return module


pull = load()


class Desk:
    """A key to sign with, an archive, and a gateway's kept folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / "kept"
        self.key = self.new_key("signing")
        self.signers = self.signers_of("signing")
        self.archive = folder / "millwright-gateway-1.0.0-debian12-x86_64.tar"
        self.archive.write_bytes(b"an archive")
        self.archive.with_name(f"{self.archive.name}.sig").write_bytes(b"its signature")

    def new_key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def signers_of(self, name: str) -> Path:
        path = self.folder / f"{name}.signers"
        public = (self.folder / f"{name}.pub").read_text().split()[:2]
        path.write_text(f'millwright namespaces="millwright-wheelhouse,millwright-pull" {" ".join(public)}\n')
        return path

    def options(self, **changed: Any) -> dict[str, Any]:
        return {
            "dest": str(self.folder / "out" / "gw-7.tar"), "gateway": "gw-7", "groups": ["millwright_gateways"],
            "variables": {"edge_agent_broker_host": "broker.plant"}, "token": "", "archive": str(self.archive),
            "signers": str(self.signers), "key": str(self.key), "collection": str(COLLECTION),
        } | changed  # fmt: skip

    def apply(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(APPLY), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120,
            env=os.environ | {"MILLWRIGHT_PULL_DIR": str(self.kept)},
        )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def member(path: Path, name: str) -> Any:
    with tarfile.open(path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return json.load(file)


def test_a_bundle_holds_all_that_the_gateway_needs(desk: Desk) -> None:
    made = pull.make(desk.options(token="secret"), NOW_S)
    path = Path(desk.options()["dest"])
    assert made == {"changed": True, "serial": int(NOW_S)}
    assert path.stat().st_mode & 0o777 == 0o600, "there is a token in it"
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert "collections/ansible_collections/millwright/fleet/roles/edge_agent/tasks/main.yml" in names
    assert {f"wheelhouse/{desk.archive.name}", f"wheelhouse/{desk.archive.name}.sig"} <= set(names)
    hosts = member(path, "hosts.json")["all"]
    assert hosts["children"] == {"millwright_gateways": {"hosts": {"gw-7": {}}}}
    assert hosts["vars"]["ansible_connection"] == "local"
    assert hosts["vars"]["edge_agent_enrol_token"] == "secret"
    assert hosts["vars"]["edge_agent_broker_host"] == "broker.plant"


def test_a_second_time_changes_nothing_unless_something_did(desk: Desk) -> None:
    pull.make(desk.options(), NOW_S)
    path = Path(desk.options()["dest"])
    before = path.read_bytes()
    assert pull.make(desk.options(), NOW_S + 9) == {"changed": False, "serial": int(NOW_S)}
    assert path.read_bytes() == before
    other = desk.options(variables={"edge_agent_broker_host": "elsewhere"})
    assert pull.make(other, NOW_S - 9, really=False) == {"changed": True, "serial": int(NOW_S) + 1}
    assert path.read_bytes() == before, "check mode"
    assert pull.make(other, NOW_S - 9)["serial"] == int(NOW_S) + 1, "never lower than before, whatever the clock says"
    desk.archive.write_bytes(b"another archive")
    assert pull.make(other, NOW_S)["changed"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"archive": "nowhere.tar"}, "nowhere.tar: no such file"),
        ({"key": "nowhere"}, "nowhere: no such file"),
        ({"collection": "/"}, "expected the collection millwright.fleet"),
    ],
)
def test_what_cannot_be_packed(desk: Desk, changed: dict[str, str], said: str) -> None:
    with pytest.raises(pull.PackingError, match=said):
        pull.make(desk.options(**changed), NOW_S)


def test_an_archive_of_another_kind(desk: Desk) -> None:
    for name in ("millwright-hub-1.0.0-debian12-x86_64.tar", "millwright-hub-1.0.0-debian12-x86_64.tar.sig"):
        (desk.folder / name).write_bytes(b"x")
    with pytest.raises(pull.PackingError, match="expected one of kind gateway"):
        pull.make(desk.options(archive=str(desk.folder / "millwright-hub-1.0.0-debian12-x86_64.tar")), NOW_S)


class TestTheGatewayRefuses:
    """Each of these ends before anything of the bundle is used: nothing is unpacked where it would be run from."""

    @pytest.fixture
    def bundle(self, desk: Desk) -> Path:
        pull.make(desk.options(), NOW_S)
        return Path(desk.options()["dest"])

    def refused(self, desk: Desk, done: subprocess.CompletedProcess[str], said: str) -> None:
        assert (done.returncode, said in done.stderr) == (4, True), done.stdout + done.stderr
        assert not (desk.kept / "current").exists()
        assert not (desk.kept / "new").exists()

    def test_one_changed_byte(self, desk: Desk, bundle: Path) -> None:
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        bundle.write_bytes(data)
        self.refused(desk, desk.apply(bundle, desk.signers), "the signature is not good")

    def test_a_stranger_s_signature(self, desk: Desk, bundle: Path) -> None:
        desk.new_key("stranger")
        self.refused(desk, desk.apply(bundle, desk.signers_of("stranger")), "the signature is not good")

    def test_a_signature_for_something_else(self, desk: Desk, bundle: Path) -> None:
        bundle.with_name(f"{bundle.name}.sig").unlink()
        words = ["ssh-keygen", "-q", "-Y", "sign", "-n", "millwright-wheelhouse", "-f", desk.key, bundle]
        subprocess.run(words, check=True, capture_output=True)
        self.refused(desk, desk.apply(bundle, desk.signers), "the signature is not good")

    def test_an_older_bundle(self, desk: Desk, bundle: Path) -> None:
        desk.kept.mkdir()
        (desk.kept / "applied.json").write_text(json.dumps({"gateway": "gw-7", "serial": int(NOW_S) + 1}))
        self.refused(desk, desk.apply(bundle, desk.signers), "is older than what was applied")

    def test_another_gateway_s(self, desk: Desk, bundle: Path) -> None:
        desk.kept.mkdir()
        (desk.kept / "applied.json").write_text(json.dumps({"gateway": "gw-8", "serial": 1}))
        self.refused(desk, desk.apply(bundle, desk.signers), "this gateway is gw-8, the bundle is for gw-7")

    def test_other_signers_than_before(self, desk: Desk, bundle: Path) -> None:
        desk.kept.mkdir()
        desk.new_key("stranger")
        (desk.kept / "allowed_signers").write_bytes(desk.signers_of("stranger").read_bytes())
        self.refused(desk, desk.apply(bundle, desk.signers), "this gateway knows other signers")

    def test_an_archive_inside_that_nobody_signed(self, desk: Desk, bundle: Path) -> None:
        done = desk.apply(bundle, desk.signers)
        assert done.returncode == 4, done.stderr
        assert f"{desk.archive.name}: the signature is not good" in done.stderr
        assert not (desk.kept / "applied.json").exists()
        assert not (desk.kept / "current" / "python").exists()


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"], ["gw-7.tar"]])
def test_wrong_usage(desk: Desk, arguments: list[str]) -> None:
    assert desk.apply(*arguments).returncode == 2
