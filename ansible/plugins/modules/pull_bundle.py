#!/usr/bin/python
"""A signed file from which a gateway that cannot be reached brings itself up."""

from __future__ import annotations

DOCUMENTATION = """
module: pull_bundle
short_description: A signed file from which one gateway brings itself up
version_added: 0.1.0
description:
  - Packs this collection, one gateway's variables and the archive that it is installed from, and signs the file.
  - On the gateway C(apply.sh), which is written beside it, verifies the signature and runs C(millwright.fleet.site)
    with a local connection, from the archive's own packages.
  - A file that would hold the same, and no token, is left as it is.
options:
  dest:
    description: The file to write. Its signature stands beside it, with C(.sig) appended.
    type: path
    required: true
  gateway:
    description: The gateway's name in the inventory.
    type: str
    required: true
  groups:
    description: Groups of the inventory that it belongs to.
    type: list
    elements: str
    required: true
  variables:
    description: Its variables.
    type: dict
    required: true
  token:
    description: A single-use token to enrol with. Empty for a gateway that has a certificate.
    type: str
    default: ""
  archive:
    description: The archive of C(make wheelhouse) that fits the gateway.
    type: path
    required: true
  signers:
    description: Who may sign, as ssh-keygen's allowed_signers.
    type: path
    required: true
  key:
    description: The key to sign with.
    type: path
    required: true
  collection:
    description: The folder of this collection.
    type: path
    required: true
author:
  - Millwright (@millwright)
"""

EXAMPLES = """
- name: Pack what gw-7 needs
  millwright.fleet.pull_bundle:
    dest: pull/gw-7.tar
    gateway: gw-7
    groups: [millwright_gateways]
    variables: {edge_agent_broker_host: broker.plant}
    archive: wheelhouse/millwright-gateway-0.1.0-debian12-aarch64.tar
    signers: wheelhouse/allowed_signers
    key: wheelhouse/keys/signing
    collection: "{{ playbook_dir }}/.."
  delegate_to: localhost
"""

RETURN = """
serial:
  description: The bundle's number. A gateway refuses one with a lower number than it has applied.
  type: int
  returned: always
"""

import hashlib  # noqa: E402 - Ansible wants the documentation first
import io  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import tarfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

NAMESPACE = "millwright-pull"
HERE = "/var/lib/millwright/pull/current"  # where apply.sh unpacks it
_LEFT_OUT = {".ansible", "__pycache__", ".ruff_cache"}


class PackingError(Exception):
    """A bundle cannot be made of what was given."""


def collection_files(folder: Path) -> list[Path]:
    """The collection's files, in a lasting order. Raises: PackingError: it is none."""
    if not (folder / "playbooks" / "site.yml").is_file():
        raise PackingError(f"collection: expected the collection millwright.fleet, got {folder}")
    found = (p for p in folder.rglob("*") if p.is_file() and not _LEFT_OUT & set(p.relative_to(folder).parts))
    return sorted(p for p in found if p.suffix not in {".pyc", ".gz"})


def inventory(gateway: str, groups: list[str], variables: dict[str, Any], archive: Path) -> dict[str, Any]:
    """An inventory of this one host, reached without a network."""
    told = variables | {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "millwright_wheelhouse_dir": f"{HERE}/wheelhouse",
        "millwright_wheelhouse_signers": f"{HERE}/wheelhouse/allowed_signers",
    }
    if archive.suffix != ".tar" or not archive.name.startswith("millwright-gateway-"):
        raise PackingError(f"archive: expected one of kind gateway, millwright-gateway-*.tar, got {archive}")
    return {"all": {"children": {group: {"hosts": {gateway: {}}} for group in groups}, "vars": told}}


def inputs_of(document: dict[str, Any], collection: Path, files: list[Path], archive: Path, signers: Path) -> str:
    """SHA-256 of all that goes in, but for number and token."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name, path in [(str(p.relative_to(collection)), p) for p in files] + [(a.name, a) for a in (archive, signers)]:
        with path.open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def manifest_of(path: Path) -> dict[str, Any]:
    """What a bundle says of itself; nothing when there is none, or it is not whole."""
    try:
        with tarfile.open(path, "r:") as tar:
            member = tar.extractfile("manifest.json")
            return dict(json.load(member)) if member is not None else {}
    except (OSError, KeyError, ValueError, tarfile.TarError):
        return {}


def pack(
    path: Path,
    manifest: dict[str, Any],
    document: dict[str, Any],
    collection: Path,
    files: list[Path],
    archive: Path,
    signers: Path,
) -> None:
    """Write the bundle, whole or not at all, readable by its owner only: there may be a token in it."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _text(tar, "manifest.json", manifest)
            _text(tar, "hosts.json", document)
            for one in files:
                where = f"collections/ansible_collections/millwright/fleet/{one.relative_to(collection)}"
                _file(tar, where, one)
            _file(tar, f"wheelhouse/{archive.name}", archive)
            _file(tar, f"wheelhouse/{archive.name}.sig", archive.with_name(f"{archive.name}.sig"))
            _file(tar, "wheelhouse/allowed_signers", signers)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def _text(tar: tarfile.TarFile, name: str, document: dict[str, Any]) -> None:
    data = json.dumps(document, indent=1, sort_keys=True).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = path.stat().st_size, 0o644
    with path.open("rb") as file:
        tar.addfile(info, file)


def sign(path: Path, key: Path) -> None:
    """Put a signature beside it. Raises: PackingError: it cannot be signed."""
    path.with_name(f"{path.name}.sig").unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise PackingError(f"{path}: cannot be signed with {key}: {done.stderr.strip()}")


def make(options: dict[str, Any], now_s: float, *, really: bool = True) -> dict[str, Any]:
    """Make the bundle unless it is there. Returns: changed, serial. Raises: PackingError, OSError."""
    path, collection = Path(options["dest"]), Path(options["collection"]).resolve()
    archive, signers = Path(options["archive"]), Path(options["signers"])
    for needed in (archive, archive.with_name(f"{archive.name}.sig"), signers, Path(options["key"])):
        if not needed.is_file():
            raise PackingError(f"{needed}: no such file")
    files = collection_files(collection)
    document = inventory(options["gateway"], options["groups"], options["variables"], archive)
    inputs = inputs_of(document, collection, files, archive, signers)
    before = manifest_of(path)
    signed = path.with_name(f"{path.name}.sig").is_file()
    if signed and before.get("inputs") == inputs and not options["token"]:
        return {"changed": False, "serial": before["serial"]}
    serial = max(int(now_s), int(before.get("serial", 0)) + 1)
    if really:
        if options["token"]:
            document["all"]["vars"]["edge_agent_enrol_token"] = options["token"]
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {"format": 1, "gateway": options["gateway"], "serial": serial, "inputs": inputs}
        pack(path, manifest, document, collection, files, archive, signers)
        sign(path, Path(options["key"]))
    return {"changed": True, "serial": serial}


def main() -> None:
    """Run as Ansible runs modules."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "gateway": {"type": "str", "required": True},
            "groups": {"type": "list", "elements": "str", "required": True},
            "variables": {"type": "dict", "required": True},
            "token": {"type": "str", "default": "", "no_log": True},
            "archive": {"type": "path", "required": True},
            "signers": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            "collection": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = make(module.params, time.time(), really=not module.check_mode)
    except (PackingError, OSError) as error:
        module.fail_json(msg=f"pull_bundle: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
